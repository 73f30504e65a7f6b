"""Kept evaluations: which one serves a head, and when one is made."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import metabridge
from metabridge.config import ResolvedEvaluation, to_json
from metabridge.files import write_text
from metabridge.runs.evaluation import FILE, read_evaluation, write_evaluation
from metabridge.runs.folder import RunError, read_config
from metabridge.similarity import kept
from metabridge.training.unseen import adaptation_of
from tests.kept import keep_evaluations
from tests.report import fake


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """A run that has chosen C = 10 for its test."""
    folder = fake.finished(tmp_path / "tuned")
    config = read_config(folder)
    evaluation = dataclasses.replace(config.evaluation, tune_head=True)
    config = dataclasses.replace(config, evaluation=evaluation)
    write_text(folder / "config.json", to_json(config))
    keep_evaluations(folder)
    found = read_evaluation(folder / FILE)
    about = found.about | adaptation_of(dataclasses.replace(evaluation, C=10.0))
    write_evaluation(folder / FILE, found._replace(about=about))
    return folder


def test_a_chosen_weight_is_read_and_no_head_for_all(
    tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    def evaluate(folder: Path, changes: dict[str, Any], *, output: Path, **_: Any):
        made.append(changes)
        keep_evaluations(output.parent, name=output.with_suffix(".npz").name)

    monkeypatch.setattr(kept, "evaluate_run", evaluate)
    (own,) = kept.read_kept([tuned])
    assert own.evaluation.about["C"] == 10.0
    assert not made
    kept.read_kept([tuned], "logistic")
    (changes,) = made
    assert changes["head"] == "logistic"
    assert (changes["C"], changes["tune_head"], changes["flips"]) == (3.0, False, False)
    assert (tuned / "evaluations" / "logistic.npz").is_file()


def test_an_evaluation_on_unequal_tasks_is_not_that_on_equal_ones(
    tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = adaptation_of(ResolvedEvaluation(head="ridge"))
    own = read_config(tuned).evaluation
    sizes = own.shape.as_json() | {"evaluation_seed": own.evaluation_seed}
    made: list[Path] = []

    def evaluate(folder: Path, changes: dict[str, Any], *, output: Path, **_: Any):
        made.append(output)
        output.parent.mkdir(exist_ok=True)
        keep_evaluations(output.parent, name=output.with_suffix(".npz").name)
        file = output.with_suffix(".npz")
        found = read_evaluation(file)
        about = found.about | wanted | sizes
        write_evaluation(file, found._replace(about=about))

    monkeypatch.setattr(kept, "evaluate_run", evaluate)
    for _ in range(2):
        kept.read_kept([tuned], "ridge")
    assert len(made) == 1  # and then kept
    file = tuned / "evaluations" / "ridge.npz"
    found = read_evaluation(file)
    unequal = found._replace(about=found.about | {"min_ways": 2, "min_shots": 1})
    write_evaluation(file, unequal)
    kept.read_kept([tuned], "ridge")
    assert len(made) == 2


def test_runs_of_a_time_are_of_one_method_whatever_their_steps(tuned: Path) -> None:
    config = read_config(tuned)
    runs = []
    for steps, minutes in ((812, 1.0), (797, 1.0), (812, None), (797, None)):
        train = dataclasses.replace(config.train, steps=steps, minutes=minutes)
        runs.append(dataclasses.replace(config, train=train))
    assert kept.name_methods(runs[:2]) == ["mtl", "mtl"]
    assert kept.name_methods(runs[2:]) == ["mtl steps=812", "mtl steps=797"]


@pytest.mark.parametrize("compare", [metabridge.agreement, metabridge.head_grid])
def test_heads_on_different_tasks_are_not_compared(
    compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_all = []
    for name in ("one", "two"):
        folder = fake.finished(tmp_path / name)
        keep_evaluations(folder)
        evaluation, config = read_evaluation(folder / FILE), read_config(folder)
        of_all.append(kept.Kept(name, folder, config, "mtl", evaluation))

    def read(folders: Any, head: str | None = None, **_: Any) -> list[kept.Kept]:
        found = of_all
        if head is not None:  # the runs' own tests are of other tasks
            about = {"split_digest": "of other images"}
            for_head = [run.evaluation._replace(about=about) for run in of_all]
            pairs = zip(of_all, for_head, strict=True)
            found = [run._replace(evaluation=own) for run, own in pairs]
        return found

    monkeypatch.setattr(kept, "read_kept", read)
    with pytest.raises(RunError, match="under learner and logistic on other tasks"):
        compare([tmp_path / "one", tmp_path / "two"], heads=["learner", "logistic"])


@pytest.mark.parametrize("compare", [metabridge.agreement, metabridge.head_grid])
def test_heads_that_are_none_or_twice_or_unknown_are_refused(compare: Any) -> None:
    for heads in ([], ["ridge", "ridge"]):
        with pytest.raises(ValueError, match="must be one or more, each once"):
            compare(heads=heads)
    with pytest.raises(ValueError, match="known are"):
        compare(heads=["best"])
