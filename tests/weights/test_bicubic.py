"""Bicubic interpolation is PyTorch's: recorded numbers, and JAX's with antialiasing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.weights.bicubic import resize
from tests.tolerance import assert_close

MAP = np.arange(12.0).reshape(3, 4, 1) ** 2
# `torch.nn.functional.interpolate` of PyTorch 2.14.1 in float32, mode="bicubic":
# scale_factor=((5 + 0.1) / 3, (2 + 0.1) / 4); size=(2, 7); size=(5, 2), antialias=True.
RECORDED = [
    (
        ((5, 2), False, 0.1),
        [[-1.6460237503051758, 2.5681002140045166],
         [3.7110071182250977, 14.578452110290527],
         [17.607145309448242, 39.43412399291992],
         [49.448402404785156, 82.82550811767578],
         [74.07743072509766, 114.68401336669922]],
    ),
    (
        ((2, 7), False, 0.0),
        [[1.6863592863082886, 2.5213427543640137, 4.114614963531494, 6.359375,
          9.583003044128418, 13.584429740905762, 16.179256439208984],
         [52.152767181396484, 57.88406753540039, 67.46427154541016, 77.515625,
          88.54586029052734, 100.5341796875, 108.0253677368164]],
    ),
    (
        ((5, 2), True, 0.0),
        [[-0.9585210084915161, 3.418058395385742],
         [5.5022807121276855, 15.452323913574219],
         [21.29751968383789, 41.388427734375],
         [56.4360466003418, 86.6678237915039],
         [77.96865844726562, 113.77388763427734]],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), RECORDED)
def test_numbers_of_pytorch(options, expected) -> None:
    size, antialias, offset = options
    found = resize(MAP, size, antialias=antialias, offset=offset)[..., 0]
    assert_close(found.astype(np.float32), np.array(expected, np.float32), slack=10)


@pytest.mark.parametrize("size", [(3, 4), (6, 3), (2, 9)])
def test_jax_agrees_with_antialiasing(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    found = jax.image.resize(jnp.asarray(maps), (*size, 2), "cubic")
    assert_close(found, resize(maps.astype(np.float64), size, antialias=True))
