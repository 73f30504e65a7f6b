"""The table of a comparison, from made-up runs."""

from pathlib import Path

import pytest

from metabridge.comparison.summary import summary, table
from metabridge.config import ALGORITHMS, Config, TrainConfig, resolve
from tests.comparison.fake import finished_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accuracies = {"mtl": (0.5, 0.8, 0.9, 0.85), "anil": (0.3, 0.6, 0.4)}
    for name, values in accuracies.items():
        config = Config(ALGORITHMS[name](), train=TrainConfig(minutes=1.0))
        finished_run(tmp_path / name, resolve(config), *values)
    return tmp_path


def test_times_to_what_all_reach(folder: Path) -> None:
    found = summary(folder, {"anil": None, "maml": "diverged", "mtl": None})
    assert (found["weakest"], found["reached_accuracy"]) == ("anil", 0.6)
    mtl, anil, maml = found["runs"]
    assert [mtl["algorithm"], anil["algorithm"]] == ["mtl", "anil"]  # the best first
    assert (mtl["seconds_to_reach"], anil["seconds_to_reach"]) == (20.0, 20.0)
    assert mtl["ms_per_step"] == 1e3 * 40 / 50
    assert len(mtl["validations"]) == 4
    assert maml == {"algorithm": "maml", "error": "diverged"}


def test_the_table(folder: Path) -> None:
    errors = {"mtl": None, "anil": None, "maml": "ValueError: a | b\n c"}
    text = table({"title": "glyphs", **summary(folder, errors)})
    title, _, head, _, mtl, anil, maml, _, note = text.splitlines()
    assert title == "glyphs"
    assert mtl == (
        "| mtl | 85.00 ± 1.23 | 40.0 s | 50 | 1000 | 800 | 2.0 min | 1.23 GB | 56 MB "
        "| 20.0 s |"
    )
    assert anil.startswith("| anil | 40.00 ± 1.23 | 30.0 s | 50 |")
    assert maml.startswith(r"| maml | failed: ValueError: a \| b c |")
    lines = [line.replace(r"\|", "") for line in (head, mtl, anil, maml)]
    assert {line.count("|") for line in lines} == {11}
    assert head.endswith("| to 60.00 % |")
    assert "validation accuracy first was 60.00 %" in note
    assert "the weakest (anil)" in note


def test_all_have_failed(tmp_path: Path) -> None:
    found = summary(tmp_path, {"mtl": "lost", "anil": "lost"})
    assert (found["weakest"], found["reached_accuracy"]) == (None, None)
    assert table({"title": "glyphs", **found}).count("failed: lost") == 2
