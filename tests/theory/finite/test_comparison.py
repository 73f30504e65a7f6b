"""Distances between methods and between seeds, and their intervals."""

import math

import numpy as np
import pytest
import scipy.stats

from metabridge.theory.closeness.estimate import jackknife
from metabridge.theory.finite.comparison import between
from metabridge.theory.predictors.predictor import Predicted


def test_interval_of_a_mean_is_that_of_student() -> None:
    values = np.random.default_rng(0).standard_normal(5)
    found = jackknife({(i,): v for i, v in enumerate(values)}, 5)
    low, high = scipy.stats.t.interval(0.95, 4, values.mean(), scipy.stats.sem(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.half == pytest.approx((high - low) / 2)


def test_interval_of_pairs_leaves_out_a_seed_at_a_time() -> None:
    """Three seeds, by hand: without seed 0 the pair (1, 2) is left, and so on."""
    found = jackknife({(0, 1): 1.0, (0, 2): 2.0, (1, 2): 6.0}, 3)
    assert found.mean == 3.0
    variance = 2 / 3 * ((6 - 3) ** 2 + (2 - 3) ** 2 + (1 - 3) ** 2)
    quantile = scipy.stats.t.ppf(0.975, 2)
    assert found.half == pytest.approx(quantile * math.sqrt(variance))
    assert math.isnan(jackknife({(0, 1): 1.0}, 2).half)
    assert str(jackknife({(0,): 0.5}, 1)) == "0.5"


def test_distances_of_methods_and_seeds() -> None:
    rng = np.random.default_rng(1)
    predictions = rng.standard_normal((2, 3, 4, 6, 3))  # method, seed, task, query
    found = between(
        {
            name: [Predicted(list(f), [np.zeros((6, 3))] * 4) for f in own]
            for name, own in zip(("MTL", "MAML"), predictions, strict=True)
        }
    )
    mtl, maml = predictions

    def gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm((a - b).reshape(*a.shape[:-2], -1), axis=-1)

    pair = found.methods["MTL", "MAML"]
    assert pair.gap.mean == pytest.approx(gap(mtl, maml).mean())
    relative = gap(mtl, maml) / gap(maml, np.zeros_like(maml))
    assert pair.relative_gap.mean == pytest.approx(relative.mean())
    same = (mtl.argmax(-1) == maml.argmax(-1)).mean()
    assert pair.agreement.mean == pytest.approx(same)
    seeds = [gap(mtl[i], mtl[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.seeds["MTL"].gap.mean == pytest.approx(np.mean(seeds))
    header, *rows = str(found).splitlines()
    assert header.split() == ["gap", "relative", "gap", "agreement"]
    assert [row.split("  ")[0] for row in rows] == [
        "MTL, MAML", "MTL, two seeds", "MAML, two seeds",
    ]  # fmt: skip
