"""Finite networks trained on images by several methods, with a body of one's own."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

import metabridge
from metabridge import theory
from metabridge.theory.closeness import image_tasks
from metabridge.types import TaskShape

pytestmark = pytest.mark.extended


class Body(nn.Module):
    """A convolution and an average over pixels."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        maps = nn.tanh(nn.Conv(8, (3, 3), strides=2)(images))
        return maps.mean((1, 2)) / 8**0.5


def test_body_of_ones_own_on_images(capsys: pytest.CaptureFixture[str]) -> None:
    data, shape = metabridge.load_dataset("glyphs"), TaskShape(2, 1, 2)
    draw: Any = {"flat": False, "side": 8, "apart": True}
    tasks, _ = image_tasks.draw(data, data.train, shape, 2, seed=0, **draw)
    unseen, _ = image_tasks.draw(data, data.test, shape, 2, seed=1, **draw)

    steps = theory.gradient_steps("all", lr=0.1, steps=1)
    trained = theory.train_pair(
        tasks, body=Body(), inner=steps, methods=("MTL", "ANIL"), steps=5, seeds=2
    )
    print(trained.compare(unseen, adaptation=steps))

    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["gap", "relative", "gap", "agreement"]
    assert len(rows) == 1 + 2
    assert all(np.less(left, 1).all() for left in trained.left.values())
