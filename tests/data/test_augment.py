"""Augmentation against NumPy: normalising, cropping, jitter, flips, affine maps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.stats import chisquare, kstest

from metabridge.data import augment
from tests.tolerance import assert_close

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def noise(count: int, size: int, channels: int = 3) -> np.ndarray:
    generator = np.random.default_rng(0)
    shape = (count, size, size, channels)
    return generator.integers(1, 256, shape, dtype=np.uint8)


@functools.cache
def compiled(name: str, channels: int):
    return jax.jit(augment.augmentation(name, PLAIN[0][:channels], PLAIN[1][:channels]))


def changed(name: str, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Augmented pixels in [0, 1]."""
    augmented = compiled(name, images.shape[-1])
    return np.asarray(augmented(jax.random.key(seed), jnp.asarray(images)))


def test_normalising_equals_numpys() -> None:
    images = noise(3, 5)
    expected = (images.astype(np.float64) / 255 - MEAN) / STD
    assert_close(augment.normalise(jnp.asarray(images), MEAN, STD), expected)
    nothing = augment.augmentation("none", MEAN, STD)
    assert_close(nothing(jax.random.key(0), jnp.asarray(images)), expected)


@pytest.mark.parametrize(("size", "side"), [(8, 4), (8, 6), (32, 20), (5, 5)])
def test_smaller_images_have_the_means_of_areas(size: int, side: int) -> None:
    images = noise(2, size).astype(np.float64)
    # Each pixel is `side` x `side` equal ones, of which `size` x `size` make a new one.
    fine = images.repeat(side, axis=1).repeat(side, axis=2)
    expected = fine.reshape(2, side, size, side, size, 3).mean((2, 4))
    reduced = augment.reduce_size(jnp.asarray(images, jnp.float32), side)
    assert_close(reduced, expected, slack=3)


@pytest.mark.extended
def test_normalising_comes_after_the_change() -> None:
    images = noise(4, 8)
    for name in ("natural", "drawing"):
        pixels = changed(name, images).astype(np.float64)
        normalised = jax.jit(augment.augmentation(name, MEAN, STD))
        result = normalised(jax.random.key(0), jnp.asarray(images))
        assert_close(result, (pixels - MEAN) / STD, slack=3)


@pytest.mark.parametrize(
    ("name", "channels", "size", "padding"),
    [("natural", 1, 8, 4), ("crop_flip", 3, 8, 4), ("crop_flip", 3, 64, 8)],
)
def test_crops_and_flips(name: str, channels: int, size: int, padding: int) -> None:
    # Without colour there is no jitter, so each result is a crop of the padded image,
    # or the mirror image of one.
    one = noise(1, size, channels)
    images = np.repeat(one, 200, axis=0)
    results = np.round(changed(name, images) * 255).astype(np.uint8)
    padded = np.pad(one[0], ((padding, padding), (padding, padding), (0, 0)))
    crops = {}
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = padded[row : row + size, column : column + size]
            crops[crop.tobytes()] = (row, column, False)
            crops[crop[:, ::-1].tobytes()] = (row, column, True)
    found = {crops[result.tobytes()] for result in results}
    assert len(found) > 60  # each image draws for itself
    rows, columns, flips = zip(*found, strict=True)
    assert {0, 2 * padding} <= set(rows) & set(columns)
    assert 0.3 < np.mean(flips) < 0.7


def jittered(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation as torchvision has them; float64."""
    weights = np.array([0.299, 0.587, 0.114])
    image = np.clip(image * factors[0], 0, 1)
    grey = (image @ weights).mean()
    image = np.clip(factors[1] * image + (1 - factors[1]) * grey, 0, 1)
    grey = (image @ weights)[..., None]
    return np.clip(factors[2] * image + (1 - factors[2]) * grey, 0, 1)


def test_jitter_equals_numpys_for_the_factors_drawn() -> None:
    image = noise(1, 12)[0] / 255.0
    for seed in range(5):
        key = jax.random.key(seed)
        factors = jax.random.uniform(key, (3,), minval=0.6, maxval=1.4)
        result = augment._jitter(key, jnp.asarray(image, jnp.float32))
        assert_close(result, jittered(image, np.asarray(factors, np.float64)), slack=3)


@pytest.mark.extended
def test_jitter_keeps_what_its_factors_cannot_change() -> None:
    grey = np.repeat(noise(50, 16, 1), 3, axis=3)
    results = changed("natural", grey)
    # Saturation leaves greys grey.
    np.testing.assert_allclose(results[..., 0], results[..., 2], atol=1e-6)
    black = changed("natural", np.zeros((5, 16, 16, 3), np.uint8))
    assert not black.any()


def test_drawing_equals_scipys_bilinear_sampling() -> None:
    image = noise(1, 14, 1)[0] / 255.0
    generator = np.random.default_rng(3)
    source = generator.uniform(-4, 18, (2, 300))
    source[:, :4] = [[0, 13, 13, -1], [0, 0, 13, 14]]  # corners, and just outside
    result = augment._bilinear(jnp.asarray(image, jnp.float32), jnp.asarray(source))
    # A border of zeros, into which values fade, as grid-constant has it.
    expected = map_coordinates(
        image[..., 0], source, order=1, mode="grid-constant", cval=0.0
    )
    assert_close(np.asarray(result)[:, 0], expected, slack=10)  # positions in float32


def test_drawing_turns_stretches_and_shifts_within_its_bounds() -> None:
    # A dot near the corner, then the centre of mass where it lands.
    size = 28
    images = np.zeros((400, size, size, 1), np.uint8)
    images[:, 12:16, 12:16] = 255
    results = changed("drawing", images)[..., 0]
    mass = results.sum((1, 2))
    grid = np.arange(size) - (size - 1) / 2
    shift_y = (results.sum(2) @ grid) / mass
    shift_x = (results.sum(1) @ grid) / mass
    # Shifts reach 2 pixels, before a stretch of up to 1 / 0.7 or so.
    for shift in (shift_x, shift_y):
        assert np.abs(shift).max() < 3.2
        assert np.abs(shift).max() > 1.7
        assert abs(shift.mean()) < 0.3
        assert 0.9 < shift.std() < 1.5
    # The area changes by the determinant of the map, about (1 +- 0.15)^2.
    area = mass / 16
    assert 0.7 < area.min() < 0.85
    assert 1.2 < area.max() < 1.5


def test_drawing_keeps_handedness_and_turns_little() -> None:
    # Three dots, a channel each, at the corners of a right angle.
    images = np.zeros((100, 28, 28, 3), np.uint8)
    for channel, (row, column) in enumerate([(9, 9), (9, 17), (17, 9)]):
        images[:, row : row + 2, column : column + 2, channel] = 255
    results = changed("drawing", images).astype(np.float64)
    rows, columns = np.indices((28, 28))
    mass = results.sum((1, 2))
    dots = np.stack(
        [np.einsum("nhwc,hw->nc", results, axis) / mass for axis in (rows, columns)], 2
    )
    right, down = dots[:, 1] - dots[:, 0], dots[:, 2] - dots[:, 0]
    area = right[:, 1] * down[:, 0] - right[:, 0] * down[:, 1]
    assert area.min() > 0.5 * 64  # a mirror image would have the other sign
    angle = np.rad2deg(np.arctan2(right[:, 0], right[:, 1]))
    # 12 degrees, and what a shear of 0.15 / 0.85 adds to that.
    assert np.abs(angle).max() < 24
    assert np.abs(angle).max() > 8


def test_augmentation_depends_on_its_key_alone() -> None:
    images = noise(6, 8)
    for name in augment.AUGMENTATIONS[:-1]:
        one, again, two = (changed(name, images, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - two).max() > 0.05


# A sound augmentation fails each test of a distribution for one seed in a thousand; the
# seeds are fixed.
FALSE_ALARM = 1e-3


@pytest.mark.extended
@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(1, 5, 7, 1), (2, 64, 64, 3)])
def test_shape_type_and_range_are_kept(name: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for extreme in (images, np.zeros_like(images), np.full_like(images, 255)):
        result = changed(name, extreme)
        assert result.shape == shape
        assert result.dtype == np.float32
        assert result.min() >= 0
        assert result.max() <= 1 + 1e-6  # bilinear weights are rounded
    assert np.abs(changed(name, images) - images / 255).max() < 1e-6 or name != "none"


@pytest.mark.extended
@pytest.mark.parametrize("size", [32, pytest.param(64, marks=pytest.mark.slow)])
def test_crops_and_flips_are_drawn_evenly(size: int) -> None:
    # A single bright dot in the middle tells where the crop began, and one beside it
    # in another channel, whether it was turned round.
    padding = 8 if size >= 64 else 4
    middle, places = size // 2, 2 * padding + 1
    images = np.zeros((10_000, size, size, 3), np.uint8)
    images[:, middle, middle, 0] = 255
    images[:, middle, middle + 1, 1] = 255
    results = changed("crop_flip", images, seed=2)
    rows, columns = np.unravel_index(
        results[..., 0].reshape(len(images), -1).argmax(1), (size, size)
    )
    beside = results[..., 1].reshape(len(images), -1).argmax(1) % size
    flips = beside < columns
    columns = np.where(flips, size - 1 - columns, columns)
    corner = np.stack([middle + padding - rows, middle + padding - columns])
    assert corner.min() == 0
    assert corner.max() == 2 * padding
    counts = np.zeros((places, places), int)
    np.add.at(counts, tuple(corner), 1)
    assert chisquare(counts.ravel()).pvalue > FALSE_ALARM
    assert chisquare(np.bincount(flips, minlength=2)).pvalue > FALSE_ALARM
    # Whether it is flipped has nothing to do with where it is cropped.
    flipped = np.stack([np.bincount(corner[1][flips == f]) for f in (False, True)])
    assert chisquare(flipped.ravel()).pvalue > FALSE_ALARM
    # Nor has an image with the next.
    pairs = np.zeros((places, places), int)
    np.add.at(pairs, (corner[0, :-1:2], corner[0, 1::2]), 1)
    assert chisquare(pairs.ravel()).pvalue > FALSE_ALARM


@pytest.mark.extended
def test_brightness_is_drawn_evenly() -> None:
    # Contrast and saturation leave a flat grey alone; its middle is never cropped off.
    flat = np.full((4000, 24, 24, 3), 100, np.uint8)
    ratio = changed("natural", flat, seed=3)[:, 12, 12, 0] / (100 / 255)
    # The padding is dark and in the crop, so contrast pulls the middle a little.
    low, high = np.quantile(ratio, [0.001, 0.999])
    assert 0.4 < low < 0.62
    assert 1.38 < high < 1.7
    assert len(np.unique(np.round(ratio, 4))) > 1000  # each image draws for itself
    plain = jax.vmap(lambda key: augment._jitter(key, jnp.full((2, 2, 3), 0.4)))
    values = np.asarray(plain(jax.random.split(jax.random.key(3), 4000)))[:, 0, 0, 0]
    assert kstest((values / 0.4 - 0.6) / 0.8, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_an_image_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    images = noise(6, 12)
    others = images.copy()
    others[[0, 1, 2, 4, 5]] = 255 - others[[0, 1, 2, 4, 5]]
    one, two = changed(name, images), changed(name, others)
    np.testing.assert_array_equal(one[3], two[3])
    assert np.abs(one[2] - two[2]).max() > 0.1


def test_unknown_augmentations() -> None:
    with pytest.raises(ValueError, match="unknown augmentation 'cut'; known are natur"):
        augment.augmentation("cut", MEAN, STD)
