"""Each learner from its help to its report, by the real command line."""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import metabridge
from metabridge import registry
from metabridge.config import options_of
from metabridge.evaluation.intervals import CLOSED
from tests.own import pooled
from tests.user_paths.calls import NUMBERS, classify, command, features
from tests.user_paths.table import (
    FEW,
    HEADS,
    IMAGES,
    KINDS,
    LEARNERS,
    RUN,
    STEPS,
    WAYS,
    heads_of,
    training,
)

__all__ = ["pooled"]
Runs = Callable[[str], Path]


EXTENDED, SLOW = pytest.mark.extended, pytest.mark.slow


def by_tier(
    first: Sequence[str], second: Sequence[str] = tuple(LEARNERS)
) -> pytest.MarkDecorator:
    """Every learner, in the first tier, the extended tests, or the slow ones."""
    marks = {
        name: () if name in first else EXTENDED if name in second else SLOW
        for name in LEARNERS
    }
    rows = [pytest.param(name, marks=own) for name, own in marks.items()]
    return pytest.mark.parametrize("learner", rows)


few_or_extended = by_tier(FEW)
one_or_few = by_tier(["maml"], KINDS)
every = pytest.mark.parametrize("learner", LEARNERS)


def test_the_table_has_every_learner() -> None:
    assert set(LEARNERS) == set(registry.LEARNERS)


@every
def test_help(learner: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", learner, "--help") == 0
    shown = set(re.findall(r"--([\w-]+)", capsys.readouterr().out))
    assert {name for name, _ in options_of(registry.LEARNERS[learner].traits)} <= shown
    assert {"run-dir", "C", "penalty", "steps", "dataset"} <= shown


@pytest.mark.extended
@one_or_few
def test_dry_run(learner: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*training(learner, f"dry/{learner}", "--dry-run")) == 0
    out = capsys.readouterr().out
    assert f'"algorithm": "{learner}"' in out
    assert "memory of a step" in out
    assert not Path(f"dry/{learner}").exists()


@few_or_extended
def test_training(learner: str, trained: Runs) -> None:
    run = trained(learner)
    config = json.loads((run / "config.json").read_text())
    given = LEARNERS[learner].options
    fields = dict(options_of(registry.LEARNERS[learner].traits))
    for option, value in zip(given[::2], given[1::2], strict=True):
        assert config["learner"][fields[option.removeprefix("--")]] == float(value)
    result = json.loads((run / "result.json").read_text())
    assert result["train_steps"] == STEPS
    assert result["head"] == ("learner" if LEARNERS[learner].own_head else "logistic")
    assert 0 <= result["accuracy"] <= 1
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (record,) = [r for r in map(json.loads, lines) if r["kind"] == "features"]
    assert ("head_norm_mean" in record) == (learner != "matching")  # it has no rows
    for measured, split in ((record, "validation"), (result["features"], "test")):
        assert measured[f"{split}_cdnv"] > 0
        assert -1 <= measured[f"{split}_cosine_other_class"] <= 1
    for name in ("learning_curves.png", "test_task.png", "metrics.jsonl"):
        assert (run / name).stat().st_size


@pytest.mark.extended
def test_training_with_the_options_of_a_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    options = ("--warmup", "0.3", "--average-decay", "0.9", "--label-smoothing", "0.1")
    options += ("--weight-decay", "1e-3", "--no-decay-all", "--resume")
    assert command(*training("mtl", run, *options)) == 0
    assert command(*training("mtl", run, *options, "--steps", "6")) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["train_steps"] == 6
    assert command("verify", run) == 0
    assert command(*training("mtl", run + "2", *options, "--average", "0.5")) == 2
    assert "only one mean of the parameters" in capsys.readouterr().err


@by_tier([], KINDS)
def test_evaluating_on_other_tasks(learner: str, trained: Runs, tmp_path: Path) -> None:
    row, output = LEARNERS[learner], tmp_path / "result.json"
    ways = 2 if row.any_ways else WAYS
    shape = ("--ways", str(ways), "--shots", "2", "--queries", "3", "--tasks", "5")
    run = str(trained(learner))
    assert command("evaluate", run, *shape, "--output", str(output)) == 0
    result = json.loads(output.read_text())
    found = [result[name] for name in ("ways", "shots", "queries", "tasks")]
    assert found == [ways, 2, 3, 5]
    with np.load(tmp_path / "result.npz") as kept:
        assert kept["closed_predicted"].shape == (5, 3 * ways)
    disjoint = ("--interval", "open", "--queries", "1", "--output", str(output))
    assert command("evaluate", run, *shape[:4], *disjoint) == 0
    assert json.loads(output.read_text())["interval"] == "open"


@pytest.mark.extended
@pytest.mark.parametrize(
    ("learner", "heads"),
    [
        ("mtl", heads_of("mtl")),
        ("maml", ["learner", "finetune"]),
        *(
            pytest.param(learner, heads_of(learner), marks=SLOW)
            for learner in LEARNERS
            if learner != "mtl"
        ),
    ],
)
def test_evaluating_with_every_head(
    learner: str,
    heads: list[str],
    trained: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, output = str(trained(learner)), tmp_path / "result.json"
    recorded = json.loads((trained(learner) / "result.json").read_text())
    for head in heads:
        assert command("evaluate", run, "--head", head, "--output", str(output)) == 0
        result = json.loads(output.read_text())
        assert result["head"] == head
        if head == recorded["head"]:
            assert [result[n] for n in NUMBERS] == [recorded[n] for n in NUMBERS]
    for head in set(HEADS) - set(heads_of(learner)):
        capsys.readouterr()
        assert command("evaluate", run, "--head", head) == 2
        assert "has no adaptation of its own" in capsys.readouterr().err


@pytest.mark.extended
@pytest.mark.usefixtures(pooled.__name__)
def test_training_on_small_images_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--train-sizes", "0", "4", "0.6", "8")
    assert command(*training("mtl", "sizes", *sizes, "--dry-run")) == 2
    assert "those of mlp do: 4x4 pixels give other" in capsys.readouterr().err
    run = tmp_path / "run"
    options = (*sizes, "--model", "pooled", "--flips")
    assert command(*training("mtl", str(run), *options)) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["train"]["train_sizes"] == [[0.0, 4], [0.6, 8]]
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert [r["step"] for r in records if r["kind"] == "train"] == [2, 3]
    assert json.loads((run / "result.json").read_text())["flips"] is True
    assert metabridge.load_body(str(run)).config.evaluation.flips is False


@pytest.mark.extended
def test_evaluating_with_mirror_images(
    trained: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mtl, output = ("evaluate", str(trained("mtl"))), tmp_path / "result.json"
    assert command(*mtl, "--flips", "True", "--output", str(output)) == 0
    assert json.loads(output.read_text())["flips"] is True
    assert command(*mtl, "--flips", "False", "--output", str(output)) == 0
    assert "flips" not in json.loads(output.read_text())
    capsys.readouterr()
    for arguments, message in (
        (
            (*mtl, "--flips", "True", "--head", "finetune"),
            "`head` is finetune, which trains",
        ),
        (
            ("evaluate", str(trained("maml")), "--flips", "True"),
            "maml adapts it to each task",
        ),
    ):
        assert command(*arguments) == 2
        assert message in capsys.readouterr().err


@few_or_extended
def test_exporting(learner: str, trained: Runs, tmp_path: Path) -> None:
    run, file = str(trained(learner)), str(tmp_path / "body.safetensors")
    assert command("export", run, file) == 0
    assert metabridge.load_body(file).config.algorithm == learner


@one_or_few
def test_classifying(learner: str, trained: Runs, tmp_path: Path) -> None:
    run, file = str(trained(learner)), str(tmp_path / "body.safetensors")
    metabridge.export_body(run, file)
    np.testing.assert_array_equal(features(file), features(run))
    assert classify(file) == classify(run)
    # The classes are far apart, even in the features of an untrained body.
    assert classify(run, head="centroid") == [name for name in "abc" for _ in range(3)]


@one_or_few
def test_verifying(
    learner: str, trained: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained(learner))
    assert command("verify", run) == 0
    assert f"{run} is reproduced" in capsys.readouterr().out


@pytest.mark.extended
def test_reporting_every_learner(trained: Runs, tmp_path: Path) -> None:
    page, runs = tmp_path / "page.html", [str(trained(name)) for name in LEARNERS]
    options = ("--output", str(page), "--examples", "0", "--tasks", "0")
    assert command("report", *runs, *options) == 0
    text = page.read_text(encoding="utf-8")
    for learner in LEARNERS:
        assert f">{learner}<" in text
    assert CLOSED in text
    assert 'id="agreement"' in text
    assert "On the same tasks it is " in text


@one_or_few
def test_reporting_with_example_tasks(
    learner: str, trained: Runs, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    options = ("--output", str(page), "--examples", "1", "--tasks", "2")
    assert command("report", str(trained(learner)), *options) == 0
    assert "Example tasks" in page.read_text(encoding="utf-8")


@pytest.mark.extended
def test_comparing_every_learner(
    copied: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their runs are there, trained on as many images, and taken as they are."""
    for learner in LEARNERS:
        copied(learner)
    named = [" ".join((name, *row.options)) for name, row in LEARNERS.items()]
    folder = tmp_path / "copies"
    options = ("--images", str(IMAGES), "--folder", str(folder))
    assert command("compare", "--algorithms", ",".join(named), *RUN, *options) == 0
    table = capsys.readouterr().out
    for learner in LEARNERS:
        assert f"| {learner} |" in table
        assert not (folder / learner / "result-3.json").exists()
    assert CLOSED in table
    found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    paired = [run for run in found["runs"] if run["algorithm"] != found["reference"]]
    assert all(math.isfinite(run["difference"]["ci95"]) for run in paired)


@pytest.mark.extended
def test_comparing_trains_in_processes_of_their_own(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METABRIDGE_PLUGINS", "")
    named = "metaoptnet --solver-C 0.2 --learning-rate 0.002,scaled"
    options = ("--images", str(IMAGES), "--folder", str(tmp_path / "both"))
    options += ("--plugin", "tests.user_paths.own_learner")
    assert command("compare", "--algorithms", named, *RUN, *options) == 0
    out = capsys.readouterr().out
    assert "| metaoptnet |" in out
    assert "| scaled |" in out
    of_all, own = (
        json.loads((tmp_path / "both" / name / "config.json").read_text("utf-8"))
        for name in ("scaled", "metaoptnet")
    )
    assert own["learner"]["C"] == 0.2
    assert own["train"]["learning_rate"] == 0.002
    assert of_all["train"]["learning_rate"] != 0.002
