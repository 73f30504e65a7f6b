"""Rank correlation of heads against SciPy, and the interval of ties and orders."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from metabridge.similarity import grid


def test_tau_is_scipys_and_its_interval_holds_it() -> None:
    generator = np.random.default_rng(0)
    level = np.linspace(0.5, 0.9, 6)[:, None]
    first = level + 0.1 * generator.normal(size=(6, 200))
    second = level + 0.1 * generator.normal(size=(6, 200))
    found = grid.rank_correlation(first, second, draws=100)
    expected = kendalltau(first.mean(1), second.mean(1))[0]
    assert found["tau"] == pytest.approx(expected)
    assert found["low"] <= found["tau"] <= found["high"]
    reverse = grid.rank_correlation(first, -first, draws=100)
    assert reverse == pytest.approx({"tau": -1.0, "low": -1.0, "high": -1.0})
    noise = grid.rank_correlation(
        first - level, generator.normal(size=(6, 200)), draws=200
    )
    assert noise["high"] - noise["low"] > 0.5


def test_the_text_has_every_run_and_head() -> None:
    found = {
        "dataset": "glyphs", "ways": 5, "shots": 1, "tasks": 40,
        "runs": ["a", "b"], "heads": ["ridge", "svm"],
        "accuracy": [[0.5, 0.6], [0.7, 0.8]], "ci95": [[0.01, 0.02], [0.03, 0.04]],
        "kendall": [{"first": "ridge", "second": "svm", "tau": 1.0, "low": 0.5,
                     "high": 1.0}],
    }  # fmt: skip
    text = grid.grid_text(found)
    assert "| b | 70.00 ± 3.00 | 80.00 ± 4.00 |" in text
    assert "| ridge, svm | +1.00 [+0.50, +1.00] |" in text


def test_means_that_rounding_alone_tells_apart_tie() -> None:
    generator = np.random.default_rng(0)
    own = (generator.integers(26, size=600) / 25).astype(np.float32)
    tied = np.stack([generator.permutation(own) for _ in range(6)])
    other = generator.random((6, 600))
    assert np.isnan(grid.rank_correlation(tied, other, draws=10)["tau"])


def test_runs_that_tie_have_no_order(recwarn: pytest.WarningsRecorder) -> None:
    tied = np.full((2, 30), 0.5)
    found = grid.rank_correlation(tied, np.random.default_rng(0).random((2, 30)))
    assert np.isnan(list(found.values())).all()
    assert not recwarn.list
    table = {
        "dataset": "glyphs", "ways": 5, "shots": 1, "tasks": 30, "runs": ["a", "b"],
        "heads": ["ridge", "svm"], "accuracy": [[0.5, 0.6]] * 2,
        "ci95": [[0.01, 0.01]] * 2,
        "kendall": [{"first": "ridge", "second": "svm", **found}],
    }  # fmt: skip
    assert "| ridge, svm | none, as all runs tie under one of them |" in grid.grid_text(
        table
    )
