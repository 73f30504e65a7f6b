"""The study of real networks: options, page and figure by hand, a resumed run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.agreement import options as agreement
from experiments.finite import page
from experiments.finite.measure import KERNELS, LIMIT, TRAINED, _settings
from experiments.finite.options import Options, completed, planned_runs
from tests.user_paths.processes import environment

WIDTHS = (4, 8)
SMALL = (
    "--widths", "8", "4", "--images", "2000", "--tasks", "2", "--unseen", "2",
    "--test-tasks", "20", "--shots", "1", "--queries", "2", "--seeds", "2",
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widths": (4, 4)}, "`widths` has a value twice"),
        ({"tasks": 1}, "`tasks` must be finite and at least 2"),
        ({"seeds": 0}, "`seeds` must be finite and at least 1"),
        ({"mtl_learning_rate": -1.0}, "`mtl_learning_rate` must be finite and at"),
        ({"time": -1.0}, "`time` must be finite and at least 0"),
        ({"output": Path(__file__)}, "`output` .* is not a folder"),
        ({"runs": Path(__file__)}, "`runs` .* is not a folder"),
    ],
)
def test_options_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        completed(Options(**given))


def test_runs_are_named_by_what_they_are() -> None:
    options = completed(Options(widths=(8, 4), images=10_000))
    planned = planned_runs(options)
    names = ["width-4/mtl-0.1-0", "width-4/mtl-0.1-1", "width-4/anil-0.1-0"]
    assert list(planned)[:3] == names
    assert {config.model.width for config in planned.values()} == {4, 8}
    assert len(planned) == 8


def test_trainings_are_those_of_the_study_of_agreement() -> None:
    rates: agreement.Rates = {(None, "mtl"): 0.1, (None, "anil"): 0.1}
    theirs = agreement.completed(agreement.Options(widths=(16, 32)))
    runs = agreement.planned_runs(theirs, rates)
    configs = {run.name: agreement.config_of(run, theirs) for run in runs}
    options = completed(Options(widths=(16, 32), seeds=3))
    ours = planned_runs(options)
    assert len(ours) == 12
    assert all(configs[name] == config for name, config in ours.items())
    assert options.trained == theirs.folder


def test_kernels_at_initialisation_stay_when_trainings_change() -> None:
    one, two = Options(images=10), Options(images=20, mtl_learning_rate=0.2)
    for name in (*KERNELS, LIMIT):
        trained = name.startswith("after")
        assert (_settings(one, name) != _settings(two, name)) is trained
    other = Options(images=10, mtl_learning_rate=0.2)
    changed = [n for n in KERNELS if _settings(one, n) != _settings(other, n)]
    assert changed == ["after MTL"]


def numbers() -> dict[str, Any]:
    """Two seeds whose values are easy to follow."""
    rows: list[dict[str, Any]] = [
        {
            "kernel": name, "width": width, "seed": seed,
            "relative_gap": 1 / width + 0.1 * seed, "agreement": 0.9,
            "mtl_accuracy": 0.5, "gbml_accuracy": 0.6, "untrained_accuracy": 0.4,
        }
        for name in KERNELS for width in WIDTHS for seed in (0, 1)
    ]  # fmt: skip
    for width in WIDTHS:
        rows.append({"kernel": f"{TRAINED}, other seeds", "width": width, "seed": 0})
        rows[-1]["agreement"] = 0.7
        for method, share in (("MTL", 0.75), ("ANIL", 0.65)):
            name = f"two seeds of {method}"
            rows.append({"kernel": name, "width": width, "seed": 0})
            rows[-1]["agreement"] = share
    rows.append({**rows[0], "kernel": LIMIT, "width": None, "seed": None})
    settings = {
        "images": 100, "dataset": "glyphs", "tasks": 2, "unseen": 3, "shots": 5,
        "test_tasks": 10, "seeds": 2, "widths": WIDTHS,
    }  # fmt: skip
    return {"settings": settings, "rows": rows}


def test_the_page_has_the_numbers() -> None:
    text = page.page(numbers())
    assert "| at initialisation | 4 | 0.300 (0.250 to 0.350) | 90.0 (90.0 to" in text
    assert "| infinite width |  | 0.250 | 90.0 |" in text
    assert "the relative gap falls from width 4 (0.30) to 8 (0.17)" in text
    assert "70.0 % of queries between MTL and ANIL" in text
    assert "75.0 % and 65.0 % between two seeds" in text


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    page.draw(numbers(), tmp_path / "finite.png")
    assert (tmp_path / "finite.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_study_is_made_and_taken_up_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.finite", *SMALL]
    command += ["--output", str(tmp_path), "--runs", str(tmp_path / "trained")]
    shown = subprocess.run(
        [*command, "--plan"], env=environment({}), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert shown.stdout.count("missing") == 8
    first = subprocess.run(
        command, env=environment({}), capture_output=True, text=True, check=True
    )
    assert "| after ANIL | 8 |" in first.stdout
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-0.json")}
    again = subprocess.run(
        command, env=environment({}), capture_output=True, text=True, check=True
    )
    assert again.stdout == first.stdout
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*-0.json")} == written
