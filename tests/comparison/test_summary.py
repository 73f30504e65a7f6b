"""The table of a comparison, from made-up runs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from metabridge.comparison.summary import summary, table
from metabridge.config import Config, TrainConfig, resolve
from metabridge.evaluation import score
from metabridge.evaluation.intervals import CLOSED, OPEN
from metabridge.runs.evaluation import FILE
from metabridge.runs.folder import RunError
from tests.comparison.fake import finished_run
from tests.kept import keep_evaluations
from tests.own import OPTIONS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accuracies = {"mtl": (0.5, 0.8, 0.9, 0.85), "anil": (0.3, 0.6, 0.4)}
    for name, values in accuracies.items():
        config = Config(OPTIONS[name](), train=TrainConfig(minutes=1.0))
        finished_run(tmp_path / name, resolve(config), *values)
    return tmp_path


def test_times_to_equal_accuracy(folder: Path) -> None:
    found = summary(folder, {"anil": None, "maml": "diverged", "mtl": None})
    assert found["reference"] == "anil"
    mtl, anil, maml = found["runs"]
    assert [mtl["algorithm"], anil["algorithm"]] == ["mtl", "anil"]  # the best first
    assert (mtl["best_validation"], mtl["seconds_to_best"]) == (0.9, 30.0)
    assert mtl["reference_seconds"] is None  # anil never is as good
    assert (anil["best_validation"], anil["seconds_to_best"]) == (0.6, 20.0)
    assert anil["reference_seconds"] == 20.0
    assert mtl["ms_per_step"] == 1e3 * 40 / 50
    assert len(mtl["validations"]) == 4
    assert maml == {"algorithm": "maml", "error": "diverged"}


def test_the_table(folder: Path) -> None:
    errors = {"mtl": None, "anil": None, "maml": "ValueError: a | b\n c"}
    text = table({"title": "glyphs", **summary(folder, errors)})
    title, _, head, _, mtl, anil, maml, _, intervals, _, note = text.splitlines()
    assert title == "glyphs"
    assert mtl == (
        "| mtl | 85.00 ± 1.23 | – | – | – | 40.0 s | 50 | 1000 | 800 | 2.0 min "
        "| 1.23 GB | 56 MB | 90.00 | 30.0 s | 30.0 s (1x) |"
    )
    assert anil.startswith("| anil | 40.00 ± 1.23 | – | – | – | 30.0 s | 50 |")
    assert anil.endswith("| 60.00 | 20.0 s | 20.0 s (1x) |")
    assert maml.startswith(r"| maml | failed: ValueError: a \| b c |")
    lines = [line.replace(r"\|", "") for line in (head, mtl, anil, maml)]
    assert {line.count("|") for line in lines} == {16}
    assert head.endswith("| mtl is as good after |")
    assert "until mtl first was as good" in note
    assert CLOSED in intervals
    assert OPEN in intervals


def test_differences_on_the_same_tasks(folder: Path) -> None:
    accuracies = keep_evaluations(folder / "mtl", folder / "anil")
    for name, values in zip(("mtl", "anil"), accuracies, strict=True):
        scores = {"closed": score(values)._asdict(), "open": {"ci95": 0.02, "tasks": 3}}
        path = folder / name / "result.json"
        result = json.loads(path.read_text()) | scores
        result["open"]["accuracy"] = 0.5
        path.write_text(json.dumps(result))
    found = summary(folder, {"mtl": None, "anil": None})
    mtl, anil = found["runs"]
    assert mtl["difference"] is None
    gaps = np.float64(accuracies[1]) - accuracies[0]
    error = math.sqrt(gaps.var(ddof=1) / len(gaps))
    assert anil["difference"]["mean"] == pytest.approx(gaps.mean())
    assert anil["difference"]["ci95"] == pytest.approx(1.96 * error)
    statistic = stats.ttest_rel(accuracies[1], accuracies[0]).statistic
    assert anil["difference"]["mean"] / error == pytest.approx(statistic)
    line = table({"title": "glyphs", **found}).splitlines()[5]
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2] == f"{100 * accuracies[1].mean():.2f} ± " + (
        f"{196 * accuracies[1].std(ddof=1) / math.sqrt(len(gaps)):.2f}"
    )
    assert cells[3] == "50.00 ± 2.00"
    assert cells[4] == f"{100 * gaps.mean():+.2f} ± {196 * error:.2f}"
    # A run of an earlier version has no kept file.
    (folder / "mtl" / FILE).unlink()
    assert summary(folder, {"mtl": None, "anil": None})["runs"][1]["difference"] is None


def test_a_damaged_kept_evaluation_is_named(folder: Path) -> None:
    keep_evaluations(folder / "mtl", folder / "anil")
    (folder / "anil" / FILE).write_bytes(b"PK")
    with pytest.raises(RunError, match=r"anil.*evaluation\.npz is damaged"):
        summary(folder, {"mtl": None, "anil": None})


def test_the_first_is_not_as_good_or_fails(folder: Path) -> None:
    found = {"title": "glyphs", **summary(folder, {"anil": None, "mtl": None})}
    assert "| 90.00 | 30.0 s | never |" in table(found)
    lost = {"title": "glyphs", **summary(folder, {"maml": "lost", "mtl": None})}
    assert "| 90.00 | 30.0 s | never |" in table(lost)


def test_all_have_failed(tmp_path: Path) -> None:
    found = summary(tmp_path, {"mtl": "lost", "anil": "lost"})
    assert found["reference"] == "mtl"
    assert table({"title": "glyphs", **found}).count("failed: lost") == 2
