"""PNet, the first network of MTCNN, by JAX and by PyTorch, from the same trained file.

Zhang, Zhang, Li, Qiao. Joint face detection and alignment using multitask cascaded
convolutional networks. 2016. https://arxiv.org/abs/1604.02878

Three convolutions without padding, each followed by a parametric ReLU, the first by a
pooling whose last window may be cut off, too; then two heads of 1x1: whether there is a
face, and its box. `python -m tests.weights.pnet` writes its outputs by
PyTorch, where that is installed, to ``files/pnet_outputs.npz``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_FILES = Path(__file__).with_name("files")
TRAINED, OUTPUTS = _FILES / "pnet.pt", _FILES / "pnet_outputs.npz"


def images() -> np.ndarray:
    """Waves, float32 ``[2, 3, 21, 28]`` in [-1, 1], which no generator changes."""
    numbers = np.arange(2 * 3 * 21 * 28, dtype=np.float64)
    return np.cos(numbers**1.3 / 7).astype(np.float32).reshape(2, 3, 21, 28)


def by_jax(arrays: Mapping[str, np.ndarray], x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[N, 2, h, w]`` and boxes ``[N, 4, h, w]``."""

    def convolve(x: Any, name: str) -> Any:
        kernel, bias = (
            jnp.asarray(arrays[f"{name}.{leaf}"]) for leaf in ("weight", "bias")
        )
        layout = ("NCHW", "OIHW", "NCHW")
        made = lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=layout
        )
        return made + bias[None, :, None, None]

    def prelu(x: Any, name: str) -> Any:
        slope = jnp.asarray(arrays[f"{name}.weight"])[None, :, None, None]
        return jnp.where(x > 0, x, slope * x)

    x = prelu(convolve(jnp.asarray(x), "conv1"), "prelu1")
    sides, window = [size % 2 for size in x.shape[2:]], (1, 1, 2, 2)
    padding = ((0, 0), (0, 0), *((0, side) for side in sides))
    x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, padding)
    x = prelu(convolve(x, "conv2"), "prelu2")
    x = prelu(convolve(x, "conv3"), "prelu3")
    faces = jax.nn.softmax(convolve(x, "conv4_1"), axis=1)
    return np.asarray(faces), np.asarray(convolve(x, "conv4_2"))


def by_pytorch(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, from the file as PyTorch itself reads it."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    arrays = torch.load(TRAINED, weights_only=True)

    def convolve(x: Any, name: str) -> Any:
        return functional.conv2d(x, arrays[f"{name}.weight"], arrays[f"{name}.bias"])

    def prelu(x: Any, name: str) -> Any:
        return functional.prelu(x, arrays[f"{name}.weight"])

    with torch.no_grad():
        y = prelu(convolve(torch.from_numpy(x), "conv1"), "prelu1")
        y = functional.max_pool2d(y, 2, 2, ceil_mode=True)
        y = prelu(convolve(y, "conv2"), "prelu2")
        y = prelu(convolve(y, "conv3"), "prelu3")
        faces = functional.softmax(convolve(y, "conv4_1"), dim=1)
        return faces.numpy(), convolve(y, "conv4_2").numpy()


if __name__ == "__main__":
    faces, boxes = by_pytorch(images())
    np.savez(OUTPUTS, faces=faces, boxes=boxes)
    print(f"{OUTPUTS}: {faces.shape}, {boxes.shape}")
