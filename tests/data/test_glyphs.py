"""Glyphs: the letters kept, and drawings that are deterministic, hard and legible."""

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from metabridge.data import Dataset, letters, load_dataset
from metabridge.data import glyphs as glyphs_module


@pytest.fixture(scope="module")
def faces() -> letters.Faces:
    return letters.Faces()


@pytest.fixture(scope="module")
def found(faces: letters.Faces) -> dict[str, list[letters.Letter]]:
    return letters.find(faces)


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


def test_sizes(glyphs: Dataset) -> None:
    assert glyphs.image_shape == (28, 28, 1)
    assert glyphs.augmentation == "drawing"
    # As `metabridge datasets` says; other fonts or Unicode tables change a few.
    sizes = np.array([s.num_classes for _, s in glyphs.splits()])
    assert np.all(np.abs(sizes / [703, 162, 199] - 1) < 0.02)
    for _, split in glyphs.splits():
        assert set(split.images_per_class.tolist()) == {20}


def test_scripts_are_whole_and_held_out(glyphs: Dataset) -> None:
    for name, split in glyphs.splits():
        scripts = [class_name.split("/")[0] for class_name in split.class_names]
        assert set(scripts) == set(letters.SCRIPTS[name])
        if name != "train":
            assert min(scripts.count(script) for script in set(scripts)) >= 20
    everywhere = list(itertools.chain(*letters.SCRIPTS.values()))
    assert len(set(everywhere)) == len(everywhere)
    assert glyphs.train.class_names[0] == "LATIN/U+0041 LATIN CAPITAL LETTER A"


def test_letters_are_base_letters_in_four_faces(
    found: dict[str, list[letters.Letter]],
) -> None:
    for letter in itertools.chain(*found.values()):
        assert unicodedata.category(letter.character) in ("Lu", "Ll", "Lo")
        assert not unicodedata.decomposition(letter.character)
        assert len(letter.faces) >= 4


def test_look_alikes_are_one_class(found: dict[str, list[letters.Letter]]) -> None:
    kept = {letter.character for letter in itertools.chain(*found.values())}
    # Latin, Greek, Cyrillic, Lisu: the Latin capital stands for all of each row.
    for row in ("A\u0391\u0410\ua4ee", "O\u039f\u041eo\u03bf\u043e", "CcСс", "XxΧХ"):
        assert kept & set(row) == {row[0]}


def test_no_held_out_letter_is_drawn_as_a_training_one(
    faces: letters.Faces, found: dict[str, list[letters.Letter]]
) -> None:
    def ink(letter: letters.Letter) -> np.ndarray:
        return (faces.render(letter.character, "DejaVuSans") > 127).ravel()

    sets = {
        split: np.stack([ink(x) for x in row if "DejaVuSans" in x.faces]).astype(float)
        for split, row in found.items()
    }
    pairs = (("train", "validation"), ("train", "test"), ("validation", "test"))
    for one, other in pairs:
        both = sets[one] @ sets[other].T
        either = sets[one].sum(1)[:, None] + sets[other].sum(1) - both
        assert np.max(both / either) < 0.9


def test_render_fills_its_box(faces: letters.Faces) -> None:
    for character, face in (
        ("A", "DejaVuSans"),
        ("\u1427", "DejaVuSans"),
        ("g", "cmti10"),
    ):
        rows, columns = np.nonzero(faces.render(character, face) > 64)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert abs(max(height, width) - letters.INK) <= 3
        for position in (rows, columns):
            centre = (position.min() + position.max() + 1) / 2
            assert abs(centre - letters.SIZE / 2) <= 1.5


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


def test_every_drawing_has_ink_and_paper(glyphs: Dataset) -> None:
    for _, split in glyphs.splits():
        ink = split.images.reshape(len(split.images), -1) / 255.0
        assert ink.max(1).min() > 0.5
        assert ink.mean(1).min() > 0.005
        assert ink.mean(1).max() < 0.7
        border = np.concatenate([split.images[:, 0], split.images[:, -1]], axis=1)
        assert border.mean() / 255 < 0.02  # letters stay inside, but for a few


def test_raw_pixels_find_it_hard_but_not_hopeless(glyphs: Dataset) -> None:
    assert 0.66 < accuracy(glyphs.test, num_tasks=300) < 0.76


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
