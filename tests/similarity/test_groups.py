"""Pairs of runs and methods: by hand, and intervals that hold the truth."""

import numpy as np
import pytest

from metabridge.evaluation import Tasks
from metabridge.evaluation.scores import Outcome
from metabridge.runs.evaluation import TaskRecords
from metabridge.similarity import groups, measures

WAYS, QUERIES = 5, 10
LABELS = np.repeat(np.arange(WAYS), QUERIES // WAYS)


def record(logits: np.ndarray, *, keep: bool = True) -> TaskRecords:
    count = len(logits)
    rows = np.zeros((count, WAYS, 2), np.int32)
    predicted = logits.argmax(-1)
    right = (predicted == LABELS).mean(1)
    tasks = Tasks(np.zeros((count, WAYS), np.int32), rows, rows)
    return TaskRecords(tasks, Outcome(right, predicted, logits if keep else None))


def draw(
    generator: np.random.Generator, tasks: int, methods: list[int], spread: float
) -> list[TaskRecords]:
    """Runs: the task's logits, a part of the method and a part of the seed."""
    size = (tasks, QUERIES, WAYS)
    common = generator.normal(size=size)
    of_method = spread * generator.normal(size=(max(methods) + 1, *size))
    return [
        record(common + of_method[m] + generator.normal(size=size)) for m in methods
    ]


def test_pairs_by_hand() -> None:
    runs = draw(np.random.default_rng(0), 6, [0, 0, 1], 1.0)
    found = groups.compare_pairs(groups.pair_table(runs))
    assert [pair[:2] for pair in found] == [(0, 1), (0, 2), (1, 2)]
    a, b = runs[0].outcome, runs[2].outcome
    same = (a.predicted == b.predicted).mean()
    assert found[1].same_class == pytest.approx(same)
    chance = a.accuracy.mean() * b.accuracy.mean()
    chance += (1 - a.accuracy.mean()) * (1 - b.accuracy.mean()) / 4
    assert found[1].kappa == pytest.approx((same - chance) / (1 - chance))
    assert found[1].divergence == measures.divergence(a.logits, b.logits).mean()
    gap = a.accuracy - b.accuracy
    assert found[1].accuracy.mean == pytest.approx(gap.mean())
    assert found[1].accuracy.ci95 == pytest.approx(1.96 * gap.std(ddof=1) / 6**0.5)


def test_a_run_agrees_with_itself() -> None:
    one = draw(np.random.default_rng(0), 6, [0], 1.0)[0]
    (found,) = groups.compare_pairs(groups.pair_table([one, one]))
    assert found[2:4] == pytest.approx((1.0, 1.0))
    assert found[4:6] == pytest.approx((0.0, 0.0), abs=1e-12)
    assert found.accuracy == (0.0, 0.0, 0.0)


def test_without_logits_two_measures_are_left() -> None:
    runs = draw(np.random.default_rng(0), 6, [0, 0], 1.0)
    bare = [run._replace(outcome=run.outcome._replace(logits=None)) for run in runs]
    (found,) = groups.compare_pairs(groups.pair_table([runs[0], bare[1]]))
    assert found.divergence is None
    assert found.logit_distance is None
    contrasts = groups.contrast_methods(
        groups.pair_table([*bare, *bare]), ["a", "a", "b", "b"], [0, 1, 0, 1], draws=50
    )
    assert {c.measure for c in contrasts} == {"same_class", "kappa"}


def test_means_within_and_between_by_hand() -> None:
    methods = [0, 0, 0, 1, 1]
    runs = draw(np.random.default_rng(1), 8, methods, 2.0)
    table = groups.pair_table(runs)
    found = groups.contrast_methods(
        table, [f"m{m}" for m in methods], [0, 1, 2, 1, 3], draws=200
    )

    def same(a: int, b: int) -> float:
        return (runs[a].outcome.predicted == runs[b].outcome.predicted).mean()

    inside = [np.mean([same(0, 1), same(0, 2), same(1, 2)]), same(3, 4)]
    across = np.mean(
        [same(a, b) for a in (0, 1, 2) for b in (3, 4) if (a, b) != (1, 3)]
    )
    assert found[0].measure == "same_class"
    assert found[0].within == pytest.approx(np.mean(inside))
    assert found[0].between == pytest.approx(across)
    assert found[0].same_seed == pytest.approx(same(1, 3))
    assert found[0].difference.estimate == pytest.approx(across - np.mean(inside))
    # Methods of their own: between them there is less agreement.
    assert found[0].difference.high < 0
    assert [c.measure for c in found] == list(groups.MEASURES)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_intervals_hold_the_difference(spread: float) -> None:
    """Of 60 studies of 2 methods, 4 seeds and 60 tasks each."""
    methods = [0] * 4 + [1] * 4
    names = [str(m) for m in methods]

    def contrast(seed: int, tasks: int) -> groups.Contrast:
        table = groups.pair_table(
            draw(np.random.default_rng(seed), tasks, methods, spread)
        )
        seeds = list(range(8))
        return groups.contrast_methods(table, names, seeds, draws=300)[0]

    truth = np.mean([contrast(seed, 500).difference.estimate for seed in range(8)])
    if not spread:
        assert abs(truth) < 0.003
        truth = 0.0
    found = [contrast(100 + seed, 60).difference for seed in range(60)]
    inside = sum(bool(each.low <= truth <= each.high) for each in found)
    assert inside >= 0.88 * 60


def test_one_seed_of_each_method_is_refused() -> None:
    table = groups.pair_table(draw(np.random.default_rng(0), 4, [0, 1], 1.0))
    with pytest.raises(
        ValueError, match=r"differ in their seed alone.*one of mtl, maml.*--seed 1"
    ):
        groups.contrast_methods(table, ["mtl", "maml"], [0, 0])
    table = groups.pair_table(draw(np.random.default_rng(0), 4, [0, 0, 1], 1.0))
    with pytest.raises(ValueError, match="there is one of maml: train another"):
        groups.contrast_methods(table, ["mtl", "mtl", "maml"], [0, 1, 0])


def test_two_runs_of_one_seed_are_no_pair_of_seeds() -> None:
    runs = draw(np.random.default_rng(0), 4, [0, 0, 1, 1], 1.0)
    with pytest.raises(ValueError, match=r"mtl has several runs of one seed.*leave"):
        groups.contrast_methods(
            groups.pair_table(runs), ["mtl", "mtl", "maml", "maml"], [0, 0, 0, 1]
        )
