"""A fully connected body in NTK parametrisation, to meet the infinite-width theory.

Jacot, Gabriel, Hongler. Neural tangent kernel: Convergence and generalization in
neural networks. NeurIPS 2018, https://arxiv.org/abs/1806.07572.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class NTKDense(nn.Module):
    """``W_std / sqrt(fan_in) * x @ W + b_std * b`` with W and b standard normal.

    A `W_std` of sqrt(2) is the edge of chaos for ReLU; a `b_std` of 0 has no biases.
    """

    features: int
    W_std: float = 2.0**0.5
    b_std: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "N d"]) -> Float[Array, "N D"]:
        normal = nn.initializers.normal(1.0)
        kernel = self.param("kernel", normal, (x.shape[-1], self.features), x.dtype)
        y = x @ kernel * (self.W_std / x.shape[-1] ** 0.5)
        if self.b_std:
            bias = self.param("bias", normal, (self.features,), x.dtype)
            y = y + self.b_std * bias[None]
        return y


class MLP(nn.Module):
    """`depth` hidden layers of `width` units; the features are the last of them.

    The features carry the factor ``1 / sqrt(width)``, so that a linear head with
    standard normal weights on them is the last NTK layer with ``W_std = 1``.
    """

    width: int = 512
    depth: int = 3
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    W_std: float = 2.0**0.5
    b_std: float = 0.0

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "N *X"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute features ``[N, width]`` of inputs of any shape, which are flattened.

        `train`, which other bodies need, changes nothing.
        """
        del train
        x = inputs.reshape(inputs.shape[0], -1)
        for layer in range(self.depth):
            x = self.activation(NTKDense(self.width, self.W_std, self.b_std)(x))
            self.sow("intermediates", f"layer_{layer + 1}", x)
        return x / jnp.sqrt(jnp.asarray(self.width, x.dtype))
