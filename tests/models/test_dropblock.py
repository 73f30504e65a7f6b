"""What DropBlock drops."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import DropBlock


@functools.partial(jax.jit, static_argnums=0)
def _train(layer: DropBlock, x, calls, key) -> Any:
    return layer.apply(
        {"batch_stats": {"calls": calls}},
        x,
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )


def drop(layer: DropBlock, x: np.ndarray, *, calls: float = 0.0):
    """Output and call count of one training call after `calls` of them."""
    key = jax.random.key(0)
    output, updated = _train(layer, jnp.asarray(x), jnp.asarray(float(calls)), key)
    return np.asarray(output), float(updated["batch_stats"]["calls"])


@pytest.mark.parametrize(
    ("rate", "block_size"),
    [(0.1, 2), *(pytest.param(0.1, b, marks=pytest.mark.extended) for b in (1, 5))],
)
def test_share_of_dropped_values(rate: float, block_size: int) -> None:
    ones = np.ones((64, 10, 10, 40), np.float32)
    output, _ = drop(DropBlock(rate, block_size), ones)
    dropped = np.mean(output == 0)
    # By design each value is covered by `rate` seeds on average; blocks that overlap
    # drop fewer: 1 - exp(-rate) if seeds were spread evenly.
    assert 1 - np.exp(-rate) - 0.01 < dropped < rate + 0.005
    # What is left is scaled so that the mean stays what it was.
    np.testing.assert_allclose(output.mean(), 1.0, rtol=1e-4)
    assert len(np.unique(output)) == 2


def test_share_at_every_place_of_the_map() -> None:
    ones = np.ones((400, 6, 6, 50), np.float32)
    output, _ = drop(DropBlock(0.2, 3), ones)
    share = (output == 0).mean((0, 3))
    # A seed is drawn with probability 0.2 * 36 / 16 / 9 = 0.05 where a block fits; a
    # value is kept if none of the seeds that cover it is drawn.
    covers = [min(place, 3) - max(place - 2, 0) + 1 for place in range(6)]
    expected = 1 - 0.95 ** np.outer(covers, covers)
    np.testing.assert_allclose(share, expected, atol=0.012)  # 4 standard deviations


def test_blocks_are_whole_squares() -> None:
    output, _ = drop(DropBlock(0.05, 3), np.ones((40, 8, 8, 10), np.float32))
    zero = output == 0
    assert zero.any()
    for image, row, column, channel in np.argwhere(zero):
        covering = [
            zero[image, top : top + 3, left : left + 3, channel]
            for top in range(max(row - 2, 0), min(row, 5) + 1)
            for left in range(max(column - 2, 0), min(column, 5) + 1)
        ]
        assert any(square.all() for square in covering)


def test_the_rate_ramps_up_with_the_calls() -> None:
    ones = np.ones((64, 8, 8, 40), np.float32)
    layer = DropBlock(0.4, 1, ramp_steps=100)
    shares = []
    for calls in (0, 25, 50, 100, 1000):
        output, after = drop(layer, ones, calls=calls)
        assert after == calls + 1
        shares.append(np.mean(output == 0))
    np.testing.assert_allclose(shares, [0, 0.1, 0.2, 0.4, 0.4], atol=0.006)
    assert shares[0] == 0


def test_blocks_are_cut_to_the_map() -> None:
    output, _ = drop(DropBlock(0.3, 5), np.ones((50, 2, 3, 20), np.float32))
    columns = output.transpose(0, 3, 1, 2).reshape(-1, 2, 3)
    # A block of the whole height: columns go together.
    np.testing.assert_array_equal(columns[:, 0] == 0, columns[:, 1] == 0)
    assert 0.2 < np.mean(output == 0) < 0.35


def test_nothing_happens_in_inference() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    variables = {"batch_stats": {"calls": jnp.asarray(5.0)}}
    output, updated = DropBlock(0.5, 2).apply(
        variables, x, train=False, mutable=["batch_stats"]
    )  # and no key is needed
    np.testing.assert_array_equal(output, x)
    assert updated["batch_stats"]["calls"] == 5.0
