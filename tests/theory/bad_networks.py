"""Calls of `train_pair` with bad input, and what each must say."""

# pyright: reportArgumentType=false, reportCallIssue=false

import functools
from typing import Any

import flax.linen as nn
import jax
from flax import nnx

from metabridge import theory
from metabridge.models.mlp import MLP
from tests.theory.bad_calls import Case, case, head, tasks


class Map(nn.Module):
    """No features: ``[N, 4, 1]``."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(4)(x)[..., None]


steps = theory.gradient_steps("all", lr=0.05, steps=2)


def train(*says: str, error: str = "ValueError", **options: Any) -> Case:
    given = {"inner": steps, "steps": 2} | options
    call = functools.partial(theory.train_pair, tasks(), **given)
    return case(call, *says, error=error)


CASES = {
    "train: unknown method": train(
        "unknown method 'CAVIA'", "'BOIL'", methods=("MTL", "CAVIA")
    ),
    "train: no method": train("`methods` is empty", methods=()),
    "train: method twice": train("`methods` names MTL twice", methods=("MTL", "MTL")),
    "train: one name": train("`methods` must be a sequence", methods="MTL"),
    "train: no inner loop": train("MAML needs an inner loop", inner=None),
    "train: flow of all layers": train(
        "MAML cannot have the inner loop", "gradient_steps", inner=head
    ),
    "train: ridge": train(
        "MAML cannot have the inner loop", inner=theory.ridge("head", penalty=1.0)
    ),
    "train: flow of first order": train(
        "ANIL cannot have", "second-order", inner=head, methods=("ANIL",),
        first_order=True,
    ),
    "train: flow to the end": train(
        "ANIL cannot have", "finite", methods=("ANIL",),
        inner=theory.gradient_flow("head", time=float("inf")),
    ),
    "train: no features": train("features [N, D], but gave [5, 4, 1]", body=Map()),
    "train: NNX": train(
        "flax.nnx.bridge.to_linen", error="TypeError",
        body=nnx.Linear(6, 4, rngs=nnx.Rngs(0)),
    ),
    "train: body and depth": train("of the MLP", body=MLP(4), depth=2),
    "train: unknown loss": train("unknown loss 'hinge'", loss="hinge"),
    "train: not one-hot": train("one-hot", "task 0", loss="cross_entropy"),
    "train: momentum": train("`momentum` must be in [0, 1)", momentum=1.0),
    "train: learning rate": train("`lr` must be positive", lr=0.0),
    "train: no seeds": train("`seeds` must be a whole number", seeds=0),
    "train: unknown type": train("unknown dtype 'float16'", dtype="float16"),
    "train: time and inner loop": train("`time` is not for use with `inner`", time=1.0),
    "train: no tasks": case(
        lambda: theory.train_pair([1], inner=steps, steps=2), "theory.Tasks",
        error="TypeError",
    ),
}  # fmt: skip
