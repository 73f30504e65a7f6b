"""`python -m experiments.ntk_compare` on a small scale."""

import functools
import json
import re
from pathlib import Path

import pytest

from experiments.closeness import command, tables
from experiments.closeness.config import Compare

SMALL = (
    "--depths", "1", "4", "--times", "0", "0.1", "--tasks", "2", "--ways", "2",
    "--shots", "1", "--queries", "2", "--widths", "64", "--draws", "1",
    "--critical-depths", "1", "4", "--task-draws", "2", "--seed-width", "32",
)  # fmt: skip
main = functools.partial(command.main, Compare)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a small run writes."""
    output = tmp_path_factory.mktemp("ntk") / "new" / "folder"
    main([*SMALL, "--output-dir", str(output)])
    return output


@pytest.mark.slow
def test_results(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results["config"]["depths"] == [1, 4]
    anil = results["synthetic"]["anil"]
    assert len(anil) == 2
    for column, time in zip(anil, (0.0, 0.1), strict=True):
        for gap, depth in zip(column["gap"], (1, 4), strict=True):
            bound = results["synthetic"]["bound_constant"] * (time + 1 / depth)
            assert 0 < gap <= bound * (1 + 1e-12)
        # No depth of 64 or more to fit a slope to.
        assert column["gap_slope"] is None
    methods = {
        "MTL, joint", "MTL, queries", "MTL, independent heads", "ANIL", "MAML", "BOIL",
    }  # fmt: skip
    for column in results["accuracies"].values():
        assert column.keys() == methods
        assert all(0 <= score["accuracy"] <= 1 for score in column.values())
    assert results["kernel_widths"]["widths"] == [64]
    assert results["explorer"]["depths"] == [1, 4]
    assert results["explorer"]["times"] == [0.0, 0.1]


@pytest.mark.slow
def test_page_is_self_contained(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'<img alt="[^"]+" src="([^"]{30})', page)
    assert len(sources) == 7
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r'(src|href)="(?!data:|https://arxiv.org)', page)
    assert page.count("<table>") == 15
    assert page.count("<p>") == page.count("</p>")
    assert "nan" not in re.sub(r'"data:[^"]*"', "", page).lower().split()


@pytest.mark.slow
def test_figures(folder: Path) -> None:
    names = {path.name for path in folder.glob("*.png")}
    assert names == {
        "gap-synthetic.png", "gap-images.png", "gap-time.png", "predictions.png",
        "kernels.png", "finite-width.png", "scope.png",
    }  # fmt: skip


def test_table_forms() -> None:
    table = tables.Table("Title", ("a", "b"), (("1", "<2>"),))
    assert "<td>&lt;2&gt;</td>" in table.html()
    assert table.markdown() == "**Title**\n\n| a |   b |\n|---|-----|\n| 1 | <2> |"
