"""ResNet-18 and ResNet-50: their sizes, and statistics in training.

Their features against NumPy: `tests/weights/test_convert.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import ResNet
from metabridge.models.resnet import resnet18, resnet50
from tests import toy
from tests.tolerance import assert_close


@pytest.mark.parametrize(
    ("make", "features", "parameters"),
    [(resnet18, 512, 11_176_512), (resnet50, 2048, 23_508_032)],
)
@pytest.mark.extended
def test_sizes_are_torchvisions(make, features: int, parameters: int) -> None:
    """`torchvision.models` 0.29 without the classifier `fc`."""
    assert toy.num_parameters(make(), (1, 32, 32, 3)) == parameters
    shape = jax.eval_shape(
        lambda x: make().init_with_output(toy.keys(), x)[0],
        jax.ShapeDtypeStruct((2, 40, 72, 3), jnp.float32),
    ).shape
    assert shape == (2, features)


@pytest.mark.extended
def test_training_normalises_by_the_images_and_keeps_their_statistics() -> None:
    inputs = toy.images(4, 8, 3)
    model = ResNet((1, 1, 1, 1), widths=(3, 4, 5, 6))
    variables = toy.variables(model, inputs)

    @jax.jit
    def train(images):
        return model.apply(
            variables, images, train=True, mutable=["batch_stats", "intermediates"]
        )

    features, state = train(jnp.asarray(inputs))
    assert features.shape == (4, 6)
    # The first layer is linear in the images: its statistics are known.
    kernel = variables["params"]["conv1"]["kernel"]
    edges = ((3, 3), (3, 3))
    maps = jax.lax.conv_general_dilated(
        jnp.asarray(inputs),
        kernel,
        (2, 2),
        edges,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    maps = np.asarray(maps, np.float64)
    old, kept = variables["batch_stats"]["bn1"], state["batch_stats"]["bn1"]
    of_these = {"mean": maps.mean((0, 1, 2)), "var": maps.var((0, 1, 2))}
    for name, found in of_these.items():
        assert_close(kept[name], 0.9 * np.asarray(old[name]) + 0.1 * found, slack=10)
    assert sorted(state["intermediates"]) == [f"stage_{n}" for n in (1, 2, 3, 4)]
