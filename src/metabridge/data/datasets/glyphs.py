"""Glyphs: drawings of letters, made here from the fonts that matplotlib brings.

The default dataset: nothing to download, and a few-shot problem of its own. A class
is a letter (see `letters`), a drawing one of its faces with a random stroke width,
affine map and elastic distortion; whole scripts are held out. The drawings depend on
`seed` alone, given the versions of the libraries that render.
"""

import math
import os
import unicodedata
from importlib import metadata
from typing import Any

import numpy as np

from metabridge.data import cache
from metabridge.data.dataset import Dataset, Split, pixel_statistics, run_labels
from metabridge.data.datasets import letters
from metabridge.data.datasets.letters import SIDE
from metabridge.registry import DRAWINGS, register_dataset

IMAGES_PER_CLASS = 20
_SIZE = 28
_VERSION = 2  # raise when a change here changes the drawings

# Ranges of the distortions, uniform unless stated. Lengths are pixels of the output.
_ROTATION = 0.44  # radians, either way: 25 degrees
_SHEAR = 0.3
_LOG_SCALE = (-0.2, 0.15)  # of the letter as a whole; 0 fills 20 of 28 pixels
_LOG_ASPECT = 0.25
_SHIFT = 1.4
_ELASTIC_STD = 0.8  # normal, at each node of a coarse grid
_ELASTIC_GRID = 5
_STROKE = (-0.25, 0.7)  # added to half the width of a stroke


def load(*, seed: int = 0, cache_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load the glyphs, drawing them on first use: 28x28x1, ink 255 on 0.

    `seed` is of the drawings; the classes and their splits are fixed.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"`seed` must be an integer, not {seed!r}")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, not {seed}")
    libraries = "matplotlib", "numpy", "pillow", "scipy"
    return cache.load_or_build(
        f"glyphs-{_VERSION}-seed{seed}",
        {
            "scripts": letters.SCRIPTS,
            "unicode": unicodedata.unidata_version,
            "libraries": {name: metadata.version(name) for name in libraries},
        },
        lambda _: _build(int(seed)),
        cache_dir=cache_dir,
    )


def draw(letter: letters.Letter, faces: letters.Faces, *, seed: int) -> np.ndarray:
    """Draw a letter `IMAGES_PER_CLASS` times, uint8 ``[20, 28, 28, 1]``.

    The random numbers come from `seed` and the letter's code point, so a letter's
    drawings do not depend on which others are drawn.
    """
    from scipy import ndimage

    generator = np.random.default_rng([seed, ord(letter.character)])
    chosen = _choose(generator, len(letter.faces))
    y, x = _source_points(generator)
    half_widths = generator.uniform(*_STROKE, size=IMAGES_PER_CLASS)
    ratio = SIDE / _SIZE  # pixels of the rendered letter to one of the output
    values = np.empty((IMAGES_PER_CLASS, _SIZE, _SIZE), np.float32)
    for face in np.unique(chosen):
        rows = chosen == face
        distance = _signed_distance(faces.render(letter.character, letter.faces[face]))
        places = [y[rows], x[rows]]
        sampled = ndimage.map_coordinates(distance, places, order=1, mode="nearest")
        values[rows] = sampled / ratio
    # The share of a pixel that a straight edge at that distance covers.
    cover = np.clip(values + half_widths[:, None, None] + 0.5, 0.0, 1.0)
    return np.round(255 * cover).astype(np.uint8)[..., None]


def _build(seed: int) -> Dataset:
    faces = letters.Faces()
    splits = {}
    for name, found in letters.find_letters(faces).items():
        images = np.concatenate([draw(letter, faces, seed=seed) for letter in found])
        labels = run_labels([IMAGES_PER_CLASS] * len(found))
        splits[name] = Split(images, labels, tuple(x.class_name for x in found))
    mean, std = pixel_statistics(splits["train"].images)
    return Dataset("glyphs", **splits, mean=mean, std=std, augmentation="drawing")


def _choose(generator: np.random.Generator, num_faces: int) -> np.ndarray:
    """A face for each drawing: each as often as the others, to within one."""
    rounds = math.ceil(IMAGES_PER_CLASS / num_faces)
    order = [generator.permutation(num_faces) for _ in range(rounds)]
    return np.concatenate(order)[:IMAGES_PER_CLASS]


def _source_points(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the rendered letter for each output pixel: ``[20, 28, 28]``.

    They are output coordinates about the centre, displaced by a smooth random field,
    shifted, and mapped by the inverse of a random affine map.
    """
    count = IMAGES_PER_CLASS
    angle = generator.uniform(-_ROTATION, _ROTATION, count)
    shear = generator.uniform(-_SHEAR, _SHEAR, count)
    scale = np.exp(generator.uniform(*_LOG_SCALE, count))
    aspect = np.exp(generator.uniform(-_LOG_ASPECT, _LOG_ASPECT, count) / 2)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([cos, -sin, sin, cos], -1).reshape(count, 2, 2)
    one, zero = np.ones(count), np.zeros(count)
    slant = np.stack([one, zero, shear, one], -1).reshape(count, 2, 2)
    stretch = np.stack([scale * aspect, zero, zero, scale / aspect], -1)
    inverse = np.linalg.inv(rotation @ slant @ stretch.reshape(count, 2, 2))

    nodes = generator.normal(0, _ELASTIC_STD, (2, count, _ELASTIC_GRID, _ELASTIC_GRID))
    # Weights of a smooth curve through equidistant nodes.
    position = np.linspace(0.0, _ELASTIC_GRID - 1, _SIZE)[:, None]
    bumps = np.exp(-0.5 * ((position - np.arange(_ELASTIC_GRID)) / 0.6) ** 2)
    spread = bumps / bumps.sum(1, keepdims=True)
    shift = generator.uniform(-_SHIFT, _SHIFT, (2, count, 1, 1))
    axis = np.arange(_SIZE) - (_SIZE - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"))[:, None]
    points = grid + shift + spread @ nodes @ spread.T
    mapped = np.einsum("nij,jnhw->inhw", inverse, points) * (SIDE / _SIZE)
    mapped += (SIDE - 1) / 2
    return mapped[0], mapped[1]


def _signed_distance(picture: np.ndarray) -> np.ndarray:
    """Distance to the edge of the ink in pixels, positive inside, float32."""
    from scipy import ndimage

    inside = picture > 127
    to_paper: Any = ndimage.distance_transform_edt(inside)
    to_ink: Any = ndimage.distance_transform_edt(~inside)
    # The edge lies half a pixel from the centres on both of its sides.
    return np.where(inside, to_paper - 0.5, 0.5 - to_ink).astype(np.float32)


register_dataset(
    "glyphs",
    load,
    summary="letters drawn from matplotlib's fonts, 28x28, 703/162/199 classes of 20",
    recipe=DRAWINGS,
)
