"""Which letters there are: base letters, each look once, rendered to one size."""

import itertools
import unicodedata

import numpy as np
import pytest

from metabridge.data import Dataset
from metabridge.data.datasets import letters


@pytest.fixture(scope="module")
def faces() -> letters.Faces:
    return letters.Faces()


@pytest.fixture(scope="module")
def found(faces: letters.Faces, glyphs: Dataset) -> dict[str, list[letters.Letter]]:
    """The letters of the dataset, which has found them already."""
    coverage, found = faces.coverage(), {}
    for split, made in glyphs.splits():
        places = [name.split("/U+") for name in made.class_names]
        chosen = [(script, chr(int(rest.split()[0], 16))) for script, rest in places]
        found[split] = [letters.Letter(c, s, coverage[c]) for s, c in chosen]
    return found


@pytest.mark.slow
def test_letters_are_base_letters_in_four_faces(
    found: dict[str, list[letters.Letter]],
) -> None:
    for letter in itertools.chain(*found.values()):
        assert unicodedata.category(letter.character) in ("Lu", "Ll", "Lo")
        assert not unicodedata.decomposition(letter.character)
        assert len(letter.faces) >= 4


@pytest.mark.extended
def test_look_alikes_are_one_class(found: dict[str, list[letters.Letter]]) -> None:
    kept = {letter.character for letter in itertools.chain(*found.values())}
    # Latin, Greek, Cyrillic, Lisu: the Latin capital stands for all of each row.
    for row in ("A\u0391\u0410\ua4ee", "O\u039f\u041eo\u03bf\u043e", "CcСс", "XxΧХ"):
        assert kept & set(row) == {row[0]}


@pytest.mark.extended
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
            assert abs(centre - letters.SIDE / 2) <= 1.5
