"""Bodies for regression: dense layers, the mlp of the theory, or a linear map."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from metabridge.models.linear import Linear
from metabridge.models.mlp import MLP
from metabridge.regression.options import RegressionConfig


class Dense(nn.Module):
    """`depth` hidden ReLU layers of `width` units, in the usual parametrisation.

    Two of 40 are the network of Finn, Abbeel, Levine, ICML 2017, section 5.1. Weights
    are He et al.'s, ICCV 2015.
    """

    width: int = 40
    depth: int = 2

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "N d"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute features ``[N, width]``; `train` changes nothing."""
        del train
        x = inputs
        for _ in range(self.depth):
            x = nn.relu(
                nn.Dense(self.width, kernel_init=nn.initializers.he_normal())(x)
            )
        return x


class WithConstant(nn.Module):
    """Features of a body and a further one that is 1, for heads without intercept."""

    body: nn.Module

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "N d"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute features ``[N, D + 1]``."""
        features = self.body(inputs, train=train)
        return jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)


def make_body(config: RegressionConfig) -> nn.Module:
    """The body of a configuration.

    Of MTL and R2-D2, whose heads have no intercept, with a constant feature, unless it
    is linear: its tasks are linear, too.
    """
    width, depth = config.width, config.model.depth
    if config.model.model == "linear":
        return Linear(width)
    # Biases set the kinks of inputs of one dimension.
    body = (
        MLP(width, depth, b_std=1.0)
        if config.model.model == "mlp"
        else Dense(width, depth)
    )
    return WithConstant(body) if config.name in ("mtl", "r2d2") else body
