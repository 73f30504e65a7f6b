"""Bodies for features that are good already: a linear map of them, or none."""

from flax import linen as nn
from jaxtyping import Array, Float


class Linear(nn.Module):
    """A learned linear map, without bias and non-linearity.

    It starts as a random map that keeps squared lengths in expectation (He et al.,
    ICCV 2015, without the factor for ReLU).
    """

    width: int = 256

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "N *X"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute features ``[N, width]`` of inputs of any shape, which are flattened.

        `train`, which other bodies need, changes nothing.
        """
        del train
        start = nn.initializers.variance_scaling(1.0, "fan_out", "normal")
        x = inputs.reshape(inputs.shape[0], -1)
        return nn.Dense(self.width, use_bias=False, kernel_init=start)(x)


class Identity(nn.Module):
    """The inputs as they are, flattened; nothing is learned but heads."""

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "N *X"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Flatten inputs ``[N, *X]`` of any shape."""
        del train
        return inputs.reshape(inputs.shape[0], -1)
