"""Bicubic interpolation as PyTorch does it, for embeddings of positions.

Keys. Cubic convolution interpolation for digital image processing. IEEE Transactions on
Acoustics, Speech, and Signal Processing, 1981.
"""

import numpy as np
from jaxtyping import Float


def resize(
    maps: Float[np.ndarray, "h w D"],
    size: tuple[int, int],
    *,
    antialias: bool,
    offset: float = 0.0,
) -> Float[np.ndarray, "H W D"]:
    """Resize as `torch.nn.functional.interpolate` with ``mode="bicubic"``.

    Args:
      maps: float64.
      size: ``(H, W)``.
      antialias: widen the kernel where it shrinks, with Keys' a = -0.5; else a = -0.75,
        and what is outside is as the edge.
      offset: added to H and W where the scale is taken, as DINOv2 has 0.1.
    """
    rows, columns = (
        _weights(old, new, antialias, offset)
        for old, new in zip(maps.shape[:2], size, strict=True)
    )
    return np.einsum("Hh,Ww,hwd->HWd", rows, columns, maps, optimize=True)


def _weights(
    old: int, new: int, antialias: bool, offset: float
) -> Float[np.ndarray, "new old"]:
    scale = old / (new + offset)
    centres = (np.arange(new) + 0.5) * scale - 0.5
    if antialias:
        width = max(scale, 1.0)
        weights = _cubic((np.arange(old)[None] - centres[:, None]) / width, -0.5)
        return weights / weights.sum(1, keepdims=True)
    weights = np.zeros((new, old))
    first = np.floor(centres).astype(int)
    for tap in range(-1, 3):
        places = np.clip(first + tap, 0, old - 1)
        np.add.at(
            weights, (np.arange(new), places), _cubic(first + tap - centres, -0.75)
        )
    return weights


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
