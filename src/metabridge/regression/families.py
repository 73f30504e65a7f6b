"""Families of regression tasks that are drawn from a formula.

Sinusoids are those of Finn, Abbeel, Levine. Model-agnostic meta-learning for fast
adaptation of deep networks. ICML 2017, https://arxiv.org/abs/1703.03400, section 5.1;
harmonics of Lacoste, Oreshkin, Chung, Boquet, Rostamzadeh, Krueger. Uncertainty in
multitask transfer learning. 2018, https://arxiv.org/abs/1806.07528; the shared linear
representation of Tripuraneni, Jin, Jordan. Provable meta-learning of linear
representations. ICML 2021, https://arxiv.org/abs/2002.11684.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from metabridge.regression.tasks import SPLITS, Scale, SplitName, make_task
from metabridge.types import Task

Draw = Callable[[Key[Array, ""]], Any]
"""``draw(key)``: what makes a task, a pytree of arrays."""
Inputs = Callable[[Key[Array, ""], Any, int], Float[Array, "N d"]]
"""``inputs(key, made_of, count)``: points of a task."""
Targets = Callable[[Any, Float[Array, "N d"]], Float[Array, "N K"]]
"""``targets(made_of, inputs)``: without noise."""


@dataclasses.dataclass(frozen=True)
class Family:
    """Tasks ``y = f(x) + noise`` whose f is drawn anew for each task.

    Attributes:
      name: for messages and folders.
      draw, inputs_of, targets_of: of one task.
      num_inputs, num_outputs: d and K.
      scale: by which inputs and targets are normalised.
      noise: standard deviation of what is added to targets.
      subspace: orthonormal ``[d, r]``, if all tasks depend on ``subspace' x`` alone.
    """

    name: str
    draw: Draw
    inputs_of: Inputs
    targets_of: Targets
    num_inputs: int
    num_outputs: int
    scale: Scale
    noise: float = 0.0
    subspace: np.ndarray | None = dataclasses.field(default=None, compare=False)

    def count(self, split: SplitName) -> None:
        """No split has a last task."""
        del split

    def check(self, shots: int, queries: int) -> None:
        """Tasks of every size can be drawn."""
        del shots, queries

    def describe(self) -> dict[str, Any]:
        """What of it decides the tasks, as JSON values."""
        found: dict[str, Any] = {"name": self.name, "noise": self.noise}
        if self.subspace is not None:
            # To five places: another machine may round the rest in another way.
            rounded = np.round(np.asarray(self.subspace, np.float64), 5) + 0.0
            found["subspace"] = hashlib.blake2b(
                rounded.tobytes(), digest_size=16
            ).hexdigest()
        return found

    def task(
        self,
        split: SplitName,
        number: Int[Array, ""],
        key: Key[Array, ""],
        shots: int,
        queries: int,
    ) -> Task:
        """Points of a task, drawn by `key`; the same `number` is the same function."""
        key_task = jax.random.fold_in(jax.random.key(SPLITS.index(split)), number)
        key_inputs, key_noise = jax.random.split(key)
        made_of = self.draw(key_task)
        inputs = self.inputs_of(key_inputs, made_of, shots + queries)
        targets = self.targets_of(made_of, inputs)
        if self.noise:
            targets += self.noise * jax.random.normal(key_noise, targets.shape)
        return make_task(
            self.scale.inputs(inputs), self.scale.targets(targets), shots, number
        )


def sinusoids() -> Family:
    """``y = a sin(x - phase)``: a in [0.1, 5], phase in [0, pi], x in [-5, 5]."""

    def draw(key: Key[Array, ""]) -> Any:
        key_a, key_phase = jax.random.split(key)
        amplitude = jax.random.uniform(key_a, (), minval=0.1, maxval=5.0)
        return amplitude, jax.random.uniform(key_phase, (), maxval=jnp.pi)

    def targets(made_of: Any, x: Float[Array, "N 1"]) -> Float[Array, "N 1"]:
        amplitude, phase = made_of
        return amplitude * jnp.sin(x - phase)

    return Family("sinusoids", draw, _uniform(5.0), targets, 1, 1, _scale(5.0))


def lines() -> Family:
    """``y = a x + b``: a and b in [-3, 3], x in [-5, 5]."""

    def draw(key: Key[Array, ""]) -> Any:
        return jax.random.uniform(key, (2,), minval=-3.0, maxval=3.0)

    def targets(made_of: Any, x: Float[Array, "N 1"]) -> Float[Array, "N 1"]:
        return made_of[0] * x + made_of[1]

    return Family("lines", draw, _uniform(5.0), targets, 1, 1, _scale(5.0))


def harmonics() -> Family:
    """``y = a sin(w x + b) + a' sin(2 w x + b')`` with noise 0.1, near a point.

    a and a' are standard normal, b and b' in [0, 2 pi], w in [5, 7]; x is normal about
    a centre of the task in [-4, 4], with deviation 1.
    """

    def draw(key: Key[Array, ""]) -> Any:
        key_a, key_b, key_w, key_centre = jax.random.split(key, 4)
        return {
            "a": jax.random.normal(key_a, (2,)),
            "b": jax.random.uniform(key_b, (2,), maxval=2 * jnp.pi),
            "w": jax.random.uniform(key_w, (), minval=5.0, maxval=7.0),
            "centre": jax.random.uniform(key_centre, (), minval=-4.0, maxval=4.0),
        }

    def inputs(key: Key[Array, ""], made_of: Any, count: int) -> Float[Array, "N 1"]:
        return made_of["centre"] + jax.random.normal(key, (count, 1))

    def targets(made_of: Any, x: Float[Array, "N 1"]) -> Float[Array, "N 1"]:
        harmonic = jnp.arange(1, 3, dtype=x.dtype)[None]
        angles = x * made_of["w"] * harmonic + made_of["b"][None]
        return (made_of["a"][None] * jnp.sin(angles)).sum(-1, keepdims=True)

    # Var(x) = 8^2 / 12 + 1.
    scale = Scale.of((0.0,), (math.sqrt(64 / 12 + 1),), (0.0,), (1.0,))
    return Family("harmonics", draw, inputs, targets, 1, 1, scale, noise=0.1)


def shared_linear(
    inputs: int = 20, rank: int = 2, *, noise: float = 0.1, seed: int = 0
) -> Family:
    """``y = w' B' x + noise``: x and w standard normal, B of orthonormal columns.

    Args:
      inputs: d, the length of x.
      rank: r, the length of w.
      noise: standard deviation.
      seed: of ``B [d, r]``, which all tasks share.

    Raises:
      ValueError: a rank that is not from 1 to d, or a negative noise.
    """
    if not 1 <= rank <= inputs:
        raise ValueError(
            f"`rank` is {rank}, but must be from 1 to the number of inputs, {inputs}"
        )
    if not 0 <= noise < math.inf:
        raise ValueError(f"`noise` is {noise}, but must be 0 or more, and finite")
    gaussian = np.random.default_rng(seed).standard_normal((inputs, rank))
    subspace = np.linalg.qr(gaussian)[0]
    shared = subspace.astype(np.float32)

    def draw(key: Key[Array, ""]) -> Any:
        return jax.random.normal(key, (rank, 1))

    def points(key: Key[Array, ""], made_of: Any, count: int) -> Float[Array, "N d"]:
        del made_of
        return jax.random.normal(key, (count, inputs))

    def targets(made_of: Any, x: Float[Array, "N d"]) -> Float[Array, "N 1"]:
        return x @ shared @ made_of

    scale = Scale.of((0.0,) * inputs, (1.0,) * inputs, (0.0,), (1.0,))
    name = f"shared_linear-{inputs}-{rank}"
    return Family(
        name, draw, points, targets, inputs, 1, scale, noise=noise, subspace=subspace
    )


def _uniform(bound: float) -> Inputs:
    def inputs(key: Key[Array, ""], made_of: Any, count: int) -> Float[Array, "N 1"]:
        del made_of
        return jax.random.uniform(key, (count, 1), minval=-bound, maxval=bound)

    return inputs


def _scale(bound: float) -> Scale:
    """Of inputs uniform in ``+-bound``; the targets are left as they are."""
    return Scale.of((0.0,), (bound / math.sqrt(3.0),), (0.0,), (1.0,))


FAMILIES: dict[str, Callable[..., Family]] = {
    "sinusoids": sinusoids,
    "lines": lines,
    "harmonics": harmonics,
    "shared_linear": shared_linear,
}
"""Families by name."""
