"""Glyphs: drawings that are deterministic, hard and legible."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from metabridge.data import Dataset, load_dataset
from metabridge.data.datasets import glyphs as glyphs_module
from metabridge.data.datasets import letters


@pytest.fixture(scope="module")
def faces() -> letters.Faces:
    return letters.Faces()


def accuracy(dataset_split, *, num_tasks: int, shots: int = 5) -> float:
    """5-way accuracy of nearest centroid on raw pixels, 15 queries a class."""
    generator = np.random.default_rng(0)
    count = dataset_split.num_classes
    pixels = dataset_split.images.reshape(count, 20, -1) / 255.0
    correct = []
    for _ in range(num_tasks):
        classes = generator.choice(count, 5, replace=False)
        order = np.stack([generator.permutation(20) for _ in classes])
        tasks = pixels[classes[:, None], order]
        centroids = tasks[:, :shots].mean(1)
        queries = tasks[:, 5:].reshape(75, -1)
        distances = ((queries[:, None] - centroids) ** 2).sum(-1)
        correct.append(distances.argmin(1) == np.repeat(np.arange(5), 15))
    return float(np.mean(correct))


@pytest.mark.extended
def test_sizes(glyphs: Dataset) -> None:
    assert glyphs.image_shape == (28, 28, 1)
    assert glyphs.augmentation == "drawing"
    # As `metabridge datasets` says; other fonts or Unicode tables change a few.
    sizes = np.array([s.num_classes for _, s in glyphs.splits()])
    assert np.all(np.abs(sizes / [703, 162, 199] - 1) < 0.02)
    for _, split in glyphs.splits():
        assert set(split.images_per_class.tolist()) == {20}


@pytest.mark.extended
def test_scripts_are_whole_and_held_out(glyphs: Dataset) -> None:
    for name, split in glyphs.splits():
        scripts = [class_name.split("/")[0] for class_name in split.class_names]
        assert set(scripts) == set(letters.SCRIPTS[name])
        if name != "train":
            assert min(scripts.count(script) for script in set(scripts)) >= 20
    everywhere = list(itertools.chain(*letters.SCRIPTS.values()))
    assert len(set(everywhere)) == len(everywhere)
    assert glyphs.train.class_names[0] == "LATIN/U+0041 LATIN CAPITAL LETTER A"


def test_drawings_depend_on_seed_and_letter_alone(faces: letters.Faces) -> None:
    one = letters.Letter("A", "LATIN", ("DejaVuSans", "DejaVuSerif", "cmr10", "cmtt10"))
    other = one._replace(character="B")
    first = glyphs_module.draw(one, faces, seed=3)
    glyphs_module.draw(other, faces, seed=3)
    np.testing.assert_array_equal(glyphs_module.draw(one, faces, seed=3), first)
    np.testing.assert_array_equal(
        glyphs_module.draw(one, letters.Faces(), seed=3), first
    )
    assert np.any(glyphs_module.draw(one, faces, seed=4) != first)
    assert len(np.unique(first, axis=0)) == len(first)


def test_every_face_is_drawn_equally_often() -> None:
    chosen = glyphs_module._choose(np.random.default_rng(0), 8)
    counts = np.bincount(chosen, minlength=8)
    assert len(chosen) == 20
    assert counts.max() - counts.min() <= 1


@pytest.mark.extended
def test_every_drawing_has_ink_and_paper(glyphs: Dataset) -> None:
    for _, split in glyphs.splits():
        ink = split.images.reshape(len(split.images), -1) / 255.0
        assert ink.max(1).min() > 0.5
        assert ink.mean(1).min() > 0.005
        assert ink.mean(1).max() < 0.7
        border = np.concatenate([split.images[:, 0], split.images[:, -1]], axis=1)
        assert border.mean() / 255 < 0.02  # letters stay inside, but for a few


@pytest.mark.extended
def test_raw_pixels_find_it_hard_but_not_hopeless(glyphs: Dataset) -> None:
    assert 0.66 < accuracy(glyphs.test, num_tasks=300) < 0.76


@pytest.mark.extended
def test_seeds_give_other_drawings_of_the_same_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        letters,
        "SCRIPTS",
        {"train": ("OLD ITALIC",), "validation": ("LAO",), "test": ("HEBREW",)},
    )
    one, again, two = (
        load_dataset("glyphs", seed=seed, cache_dir=tmp_path / place)
        for seed, place in ((0, "a"), (0, "b"), (1, "a"))
    )
    for name, split in one.splits():
        same, other = getattr(again, name), getattr(two, name)
        np.testing.assert_array_equal(split.images, same.images)
        assert split.class_names == other.class_names
        assert np.any(split.images != other.images)


def test_bad_seeds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`seed` must be at least 0, not -1"):
        load_dataset("glyphs", seed=-1, cache_dir=tmp_path)
    with pytest.raises(TypeError):
        load_dataset("glyphs", seed=1.5, cache_dir=tmp_path)  # type: ignore[arg-type]
