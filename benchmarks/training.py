"""A run's compiled training step with its data, for benchmarks."""

import dataclasses
from typing import Any

import jax
import numpy as np

from metabridge import build
from metabridge.config import ResolvedConfig
from metabridge.data.dataset import Dataset
from metabridge.data.episodes import image_bank
from metabridge.data.sampler import example_of
from metabridge.parallel.mesh import mesh_of
from metabridge.runs.inputs import make_keys
from metabridge.training.step import jit_step, make_sampler


@dataclasses.dataclass
class Steps:
    """Steps of a run on one device, one a call.

    Attributes:
      config: resolved.
      dataset: with its images.
    """

    config: ResolvedConfig
    dataset: Dataset

    def __post_init__(self) -> None:
        self._keys = make_keys(self.config)
        learner = build.learner(self.config, self.dataset)
        self._sample = make_sampler(self.config, self.dataset, self._keys)
        self._step = jit_step(learner, self._sample, self.config, mesh_of(1))
        self._draw = jax.jit(self._sample)
        self._bank = image_bank(self.dataset.train)
        self.state = learner.init(self._keys.init, example_of(self.dataset))
        self.number = 0

    def __call__(self) -> float:
        """Take a step; its loss."""
        number = np.int32(self.number)
        self.state, info = self._step(self.state, self._bank, self._keys.train, number)
        self.number += 1
        return float(np.mean(jax.tree.leaves(info)[0]))

    def draw(self) -> None:
        """Draw and augment a batch alone."""
        drawn: Any = self._draw(self._keys.train, self._bank)
        jax.block_until_ready(drawn)
