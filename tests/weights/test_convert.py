"""Converted bodies compute what NumPy does from the names of PyTorch's."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from metabridge.models import ResNet, ResNet12, VisionTransformer
from metabridge.weights import Converted, convert
from metabridge.weights.bicubic import resize
from tests.tolerance import assert_close
from tests.weights import made, reference

WIDTHS = (4, 6, 8, 10)
# Some twenty layers of rounding, each normalised by another's deviation.
_SLACK = 30


def small_vit(options: dict[str, Any]) -> nn.Module:
    return VisionTransformer(12, 2, 3, **options)


def check(
    arrays: made.Arrays,
    model: str,
    make: Callable[[dict[str, Any]], nn.Module],
    expected: Callable[[np.ndarray], np.ndarray],
    size: tuple[int, int],
    channels: int = 3,
) -> Converted:
    """Compare features of images of a size."""
    found = convert(made.entries(arrays), model, make, image_size=size)
    images = np.random.default_rng(1).normal(size=(2, channels, *size))
    body = make(found.options)
    rows = jnp.asarray(images.transpose(0, 2, 3, 1), jnp.float32)
    features = jax.jit(body.apply)(found.variables, rows)
    assert_close(features, expected(images), slack=_SLACK)
    return found


@pytest.mark.parametrize(
    ("bottleneck", "size"),
    [
        (False, (33, 20)),
        pytest.param(False, (32, 32), marks=pytest.mark.extended),
        pytest.param(True, (32, 32), marks=pytest.mark.extended),
        pytest.param(True, (33, 20), marks=pytest.mark.extended),
    ],
)
def test_resnets_equal_numpys(bottleneck: bool, size: tuple[int, int]) -> None:
    sizes = (1, 2, 1, 1)
    arrays = made.resnet(sizes, bottleneck=bottleneck)
    found = check(
        arrays,
        "resnet50" if bottleneck else "resnet18",
        lambda _: ResNet(sizes, bottleneck, WIDTHS),
        lambda images: reference.resnet(images, arrays, sizes),
        size,
    )
    assert found.left_out == ("fc.weight", "fc.bias")
    assert (found.prefix, found.channels) == ("", 3)


def test_grey_images_are_known_by_the_first_kernel() -> None:
    arrays = made.resnet((1, 1, 1, 1), channels=1)
    found = check(
        arrays,
        "resnet18",
        lambda _: ResNet((1, 1, 1, 1), widths=WIDTHS),
        lambda images: reference.resnet(images, arrays, (1, 1, 1, 1)),
        (16, 16),
        channels=1,
    )
    assert found.channels == 1


def test_resnet12_equals_numpys() -> None:
    arrays = made.resnet12()
    found = check(
        arrays,
        "resnet12",
        lambda _: ResNet12(WIDTHS),
        lambda images: reference.resnet12(images, arrays),
        (18, 16),
    )
    assert found.variables["batch_stats"]["DropBlock_2"] == {"calls": 0}


@pytest.mark.parametrize(
    ("registers", "named", "scales"),
    [
        (None, 1, False),
        ("reg_token", 0, True),
        pytest.param(None, 0, False, marks=pytest.mark.extended),
        pytest.param(None, 1, True, marks=pytest.mark.extended),
        pytest.param("reg_token", 1, False, marks=pytest.mark.extended),
        pytest.param("reg_token", 3, False, marks=pytest.mark.extended),
        pytest.param("register_tokens", 1, True, marks=pytest.mark.extended),
    ],
)
def test_vision_transformers_equal_numpys(
    registers: str | None, named: int, scales: bool
) -> None:
    arrays = made.vit(registers=registers, named=named, scales=scales)
    found = check(
        arrays,
        "vit_small",
        small_vit,
        lambda images: reference.vit(images, arrays, heads=3),
        (12, 12),
    )
    assert found.options == {"patch_size": 4, "registers": 2 if registers else 0}


@pytest.mark.parametrize(
    ("mask", "registers", "interpolation"),
    [
        (False, None, {"antialias": True}),
        (True, None, {"antialias": False, "offset": 0.1}),
        (True, "register_tokens", {"antialias": True}),
    ],
    ids=["timm", "dinov2", "dinov2 with registers"],
)
def test_positions_are_interpolated_as_their_code_does(
    mask: bool, registers: str | None, interpolation: dict[str, Any]
) -> None:
    arrays = made.vit(registers=registers)
    maps = arrays["pos_embed"][0, 1:].reshape(3, 3, 12).astype(np.float64)
    resized = resize(maps, (2, 5), **interpolation).reshape(1, 10, 12)
    fitting = {**arrays}
    fitting["pos_embed"] = np.concatenate([arrays["pos_embed"][:, :1], resized], axis=1)
    if mask:
        arrays["mask_token"] = np.zeros((1, 12), np.float32)
    check(
        arrays,
        "vit_small",
        small_vit,
        lambda images: reference.vit(images, fitting, heads=3),
        (8, 20),
    )


def test_half_precision_becomes_single() -> None:
    arrays = {k: v.astype(np.float16) for k, v in made.resnet12().items()}
    found = convert(
        made.entries(arrays),
        "resnet12",
        lambda _: ResNet12(WIDTHS),
        image_size=(16, 16),
    )
    kernel = found.variables["params"]["Conv_1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = arrays["layer1.0.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def refused(arrays: made.Arrays, match: str, **options: Any) -> None:
    options = {"image_size": (16, 16)} | options
    with pytest.raises(ValueError, match=match):
        convert(made.entries(arrays), "resnet12", lambda _: ResNet12(WIDTHS), **options)


def test_prefixes_are_found_and_what_is_outside_is_left_out() -> None:
    arrays = {f"params.encoder.{k}": v for k, v in made.resnet12().items()}
    arrays["params.slf_attn.w_qs.weight"] = np.ones(3, np.float32)
    found = convert(
        made.entries(arrays),
        "resnet12",
        lambda _: ResNet12(WIDTHS),
        image_size=(16, 16),
    )
    assert found.prefix == "params.encoder."
    assert found.left_out == ("params.slf_attn.w_qs.weight",)


def test_several_bodies_need_a_key() -> None:
    arrays = made.resnet12()
    both = {
        f"{k}.module.{n}": v for k in ("student", "teacher") for n, v in arrays.items()
    }
    refused(both, "several bodies: pass one of 'student.module', 'teacher.module' as")
    refused(both, "no body under the `key` 'coach'; known are 'student", key="coach")
    found = convert(
        made.entries(both),
        "resnet12",
        lambda _: ResNet12(WIDTHS),
        image_size=(16, 16),
        key="teacher",
    )
    assert found.prefix == "teacher.module."


def test_names_that_lack_or_are_too_much_are_listed_with_the_nearest() -> None:
    arrays = made.resnet12()
    arrays["layer2.0.conv2.wieght"] = arrays.pop("layer2.0.conv2.weight")
    arrays |= {f"se.{number}": np.ones(1, np.float32) for number in range(11)}
    refused(
        arrays,
        r"it lacks layer2\.0\.conv2\.weight \(nearest: 'layer2\.0\.conv2\.wieght'\); "
        r"it has 'layer2\.0\.conv2\.wieght', 'se\.0', .*'se\.8' and 2 more, which",
    )
    refused({"a.b": np.ones(2)}, r"it lacks layer1.* and 70 more; it has 'a\.b', which")


def test_shapes_and_types_are_named() -> None:
    arrays = made.resnet12()
    name = "layer3.0.bn1.running_var"
    refused(
        arrays | {name: np.ones(3, np.float32)},
        r"'layer3\.0\.bn1\.running_var' is \[3\], but resnet12 takes \[8\]",
    )
    refused(arrays | {name: np.full(8, np.nan)}, "running_var' holds numbers that are")
    refused(arrays | {name: np.full(8, 1e300)}, "not finite in float32")
    refused(arrays | {name: np.ones(8, np.int64)}, "is of int64, not of floats")
    flat = np.ones((4, 27), np.float32)
    refused(arrays | {"layer1.0.conv1.weight": flat}, "which is no convolution")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cls_token": None}, "lacks cls_token, pos_embed|lacks cls_token"),
        ({"fc_norm.weight": np.ones(12)}, "it has 'fc_norm.weight', which vit_small"),
        ({"pos_embed": np.ones((1, 9, 2, 3))}, "must be .1, number, width"),
        ({"pos_embed": np.ones((1, 12, 12))}, "12 tokens is no square"),
        ({"blocks.0.ls1.gamma": np.ones(3)}, "layer scale behind blocks.0.attn.proj"),
        ({"patch_embed.proj.weight": np.ones((12, 3, 4, 2))}, "no square patches"),
    ],
)
def test_other_vision_transformers_are_refused(change: dict, problem: str) -> None:
    arrays = made.vit() | change
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(ValueError, match=problem):
        convert(made.entries(arrays), "vit_small", small_vit, image_size=(12, 12))


def test_images_of_part_of_a_patch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"have 4 pixels: .* such as 12 or 16"):
        convert(made.entries(made.vit()), "vit_small", small_vit, image_size=(12, 14))
