"""Kept evaluations: which one serves a head, and when one is made."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import metabridge
from metabridge.config import ResolvedEvaluation, to_json
from metabridge.files import write_text
from metabridge.runs.evaluation import FILE, read_evaluation, write_evaluation
from metabridge.runs.folder import read_config
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


@pytest.mark.parametrize("compare", [metabridge.agreement, metabridge.head_grid])
def test_heads_that_are_none_or_twice_or_unknown_are_refused(compare: Any) -> None:
    for heads in ([], ["ridge", "ridge"]):
        with pytest.raises(ValueError, match="must be one or more, each once"):
            compare(heads=heads)
    with pytest.raises(ValueError, match="known are"):
        compare(heads=["best"])
