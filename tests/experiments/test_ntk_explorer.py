"""The curves for the page of `metabridge report --theory`, against the predictors."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from experiments.closeness import data
from experiments.closeness.config import Compare
from experiments.closeness.explorer import SHOTS, UNSEEN, explore
from metabridge import theory

pytestmark = pytest.mark.extended
CONFIG = Compare(depths=(3, 1), times=(0.1, 0.0))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return explore(CONFIG)


def test_every_combination_once(found: dict[str, Any]) -> None:
    assert (found["depths"], found["times"]) == ([1, 3], [0.0, 0.1])
    places = [(c["depth"], c["time"], c["shots"], c["task"]) for c in found["cells"]]
    sizes = (2, 2, len(SHOTS), UNSEEN)
    assert sorted(places) == list(itertools.product(*map(range, sizes)))
    assert all(len(task["target"]) == len(found["angles"]) for task in found["tasks"])


def test_curves_and_gaps_are_those_of_the_predictors(found: dict[str, Any]) -> None:
    rng = np.random.default_rng([CONFIG.seed, 100])
    train, _ = data.sinusoids(rng, 8, supports=max(SHOTS))
    test, _ = data.sinusoids(rng, UNSEEN, supports=max(SHOTS))
    shots, depth = 2, 3

    def few(given: theory.Tasks) -> theory.Tasks:
        return theory.Tasks(
            given.support_x[:, :shots], given.support_y[:, :shots], given.query_x,
            given.query_y,
        )  # fmt: skip

    kernel = theory.relu_network(depth, last_W_std=2**0.5)
    inner = theory.gradient_flow("head", time=0.1)
    head = theory.gradient_flow("head", time=CONFIG.adaptation_time)
    expected = theory.compare(
        kernel, few(train), few(test), inner=inner, adaptation=head, time=1 / depth
    )
    mtl = theory.mtl_predictor(kernel, few(train), time=1 / depth)
    place = {"depth": 1, "time": 1, "shots": SHOTS.index(shots)}
    for task in range(UNSEEN):
        cell = next(
            cell for cell in found["cells"] if place | {"task": task} == {
                name: cell[name] for name in (*place, "task")
            }
        )  # fmt: skip
        gap, transfer = expected.gaps[task], expected.transfers[task]
        assert cell["gap"] == pytest.approx(gap, rel=1e-6)
        assert cell["relative_gap"] == pytest.approx(gap / transfer, rel=1e-6)
        curve = mtl(
            test.support_x[task, :shots], test.support_y[task, :shots],
            data.circle(np.asarray(found["angles"])), adaptation=head,
        )  # fmt: skip
        np.testing.assert_allclose(cell["mtl"], np.asarray(curve)[:, 0], atol=1e-4)


def test_the_circle_closes(found: dict[str, Any]) -> None:
    assert (
        found["angles"][0] == -found["angles"][-1] == pytest.approx(-math.pi, abs=1e-4)
    )
    for cell in found["cells"]:
        assert cell["mtl"][0] == pytest.approx(cell["mtl"][-1], abs=1e-4)
        assert cell["gbml"][0] == pytest.approx(cell["gbml"][-1], abs=1e-4)
