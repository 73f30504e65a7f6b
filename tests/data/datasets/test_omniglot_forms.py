"""Omniglot from its authors' folders and archives, against arrays made here."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from metabridge.data import Dataset, load_dataset, tfds_source
from metabridge.data.datasets.omniglot import loading, original
from metabridge.data.forms import MissingDataError
from tests.data.datasets import written
from tests.data.datasets.test_omniglot import lanczos_weights

PER_CLASS = 3
CLASSES = {
    "images_background": (
        "Balinese/character01", "Braille/character01", "Braille/character02",
        "Japanese_(hiragana)/character01", "Greek/character10",
    ),
    "images_evaluation": ("Tibetan/character01", "Oriya/character41"),
}  # fmt: skip


@pytest.fixture
def inks(monkeypatch: pytest.MonkeyPatch) -> dict[str, written.Arrays]:
    """Masks of ink of a few characters of both sets."""
    monkeypatch.setattr(loading, "_IMAGES_PER_CLASS", PER_CLASS)
    monkeypatch.setattr(loading, "_BACKGROUND", 5)
    monkeypatch.setattr(loading, "_EVALUATION", 2)
    generator = np.random.default_rng(0)
    return {
        name: {n: generator.random((PER_CLASS, 105, 105)) < 0.06 for n in names}
        for name, names in CLASSES.items()
    }


def write(inks: dict[str, written.Arrays], root: Path, form: str) -> None:
    for number, (name, drawings) in enumerate(inks.items()):
        files = written.omniglot_files(drawings, name)
        if form == "zip" or (form == "both" and number):
            written.write_zip(root / f"{name}.zip", files)
        else:
            written.write_tree(root, files)


def load(root: Path) -> Dataset:
    return load_dataset("omniglot", data_dir=root, cache_dir=root / "cache")


def assert_is(dataset: Dataset, inks: dict[str, written.Arrays]) -> None:
    assert dataset.train.class_names == (
        "Braille/character01", "Braille/character02", "Japanese_(hiragana)/character01",
    )  # fmt: skip
    assert dataset.validation.class_names == (
        "Balinese/character01", "Greek/character10",
    )  # fmt: skip
    assert dataset.test.class_names == ("Oriya/character41", "Tibetan/character01")
    weights = lanczos_weights(105, 28)
    every = {**inks["images_background"], **inks["images_evaluation"]}
    for _, split in dataset.splits():
        assert split.images_per_class.tolist() == [PER_CLASS] * split.num_classes
        drawn = np.concatenate([every[name] for name in split.class_names])
        # Columns first, to whole grey levels in between, as Pillow works.
        columns = np.clip(np.round(255.0 * drawn @ weights.T), 0, 255)
        expected = np.clip(weights @ columns, 0, 255)
        assert np.abs(split.images[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("form", ["folder", "zip", "both"])
@pytest.mark.parametrize("place", [".", "omniglot-py", "omniglot/python"])
def test_folders_and_archives(
    inks: dict[str, written.Arrays], tmp_path: Path, form: str, place: str
) -> None:
    write(inks, tmp_path / place, form)
    assert_is(load(tmp_path), inks)


def test_what_lies_about_is_passed_over(
    inks: dict[str, written.Arrays], tmp_path: Path
) -> None:
    write(inks, tmp_path, "folder")
    alphabet = tmp_path / "images_background" / "Braille"
    (alphabet / "readme.txt").write_text("no drawing")
    (alphabet / "character01" / "0001_01.txt").write_text("no drawing")
    (alphabet.parent / ".DS_Store").write_bytes(b"")
    assert_is(load(tmp_path), inks)


def test_archive_with_other_files(
    inks: dict[str, written.Arrays], tmp_path: Path
) -> None:
    write(inks, tmp_path, "zip")
    with zipfile.ZipFile(tmp_path / "images_background.zip", "a") as archive:
        archive.writestr("__MACOSX/images_background/Greek/character10/._1.png", b"x")
        archive.writestr("../../outside.png", b"x")
        archive.writestr("images_background/../../../x.png", b"x")
    assert_is(load(tmp_path), inks)
    assert not (tmp_path.parent / "outside.png").exists()


def test_a_changed_drawing_is_read_again(
    inks: dict[str, written.Arrays], tmp_path: Path
) -> None:
    write(inks, tmp_path, "folder")
    before = load(tmp_path).fingerprint()
    assert load(tmp_path).fingerprint() == before
    inks["images_evaluation"]["Tibetan/character01"][1, 50:60, 50:60] = True
    shutil.rmtree(tmp_path / "images_evaluation")
    shutil.rmtree(tmp_path / "images_background")
    write(inks, tmp_path, "folder")
    assert load(tmp_path).fingerprint() != before


def test_half_of_it_is_named(inks: dict[str, written.Arrays], tmp_path: Path) -> None:
    write(inks, tmp_path, "zip")
    (tmp_path / "images_evaluation.zip").unlink()
    with pytest.raises(
        MissingDataError,
        match=r"has images_background\.zip, but neither images_evaluation/ nor",
    ):
        load(tmp_path)


def test_missing_drawings_are_noticed(
    inks: dict[str, written.Arrays], tmp_path: Path
) -> None:
    write(inks, tmp_path, "folder")
    (tmp_path / "images_background" / "Greek" / "character10" / "0003_02.png").unlink()
    with pytest.raises(ValueError, match=r"3 drawings of each of 5 .*holds 14 of 5"):
        load(tmp_path)


def test_a_damaged_drawing_is_named(
    inks: dict[str, written.Arrays], tmp_path: Path
) -> None:
    write(inks, tmp_path, "zip")
    files = written.omniglot_files(inks["images_evaluation"], "images_evaluation")
    name = next(iter(files))
    files[name] = b"no image"
    written.write_zip(tmp_path / "images_evaluation.zip", files)
    with pytest.raises(ValueError, match=f"cannot read the image {name}"):
        load(tmp_path)
    (tmp_path / "images_evaluation.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(ValueError, match=r"images_evaluation\.zip cannot be read"):
        load(tmp_path)


def test_a_link_that_leads_out_is_refused(
    inks: dict[str, written.Arrays], tmp_path: Path
) -> None:
    write(inks, tmp_path / "a", "folder")
    write(inks, tmp_path / "b", "folder")
    alphabet = tmp_path / "a" / "images_background" / "Greek"
    shutil.rmtree(alphabet)
    alphabet.symlink_to(tmp_path / "b" / "images_background" / "Greek")
    with pytest.raises(ValueError, match=r"is a link to .* outside of"):
        load(tmp_path / "a")


def test_missing_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="metabridge prepare omniglot --data-d"):
        load(tmp_path)


@pytest.mark.slow
def test_real_drawings(real_data: Path, omniglot: Dataset, tmp_path: Path) -> None:
    """All of them, in the order that TFDS has them: equal to the bit."""
    source = tfds_source.find("omniglot", real_data / "tfds")
    alphabets = tfds_source.class_names(source, "alphabet")
    for split, name in zip(("train", "test"), original.SETS, strict=True):
        drawings: dict[str, list[np.ndarray]] = {}
        for example in tfds_source.read(source, split):
            number = int(example["alphabet_char_id"]) + 1
            place = f"{alphabets[example['alphabet']]}/character{number:02d}"
            drawings.setdefault(place, []).append(example["image"][..., 0] == 0)
        files = written.omniglot_files(
            {n: np.stack(found) for n, found in drawings.items()}, name
        )
        written.write_tree(tmp_path / "a", files)
        written.write_zip(tmp_path / "b" / f"{name}.zip", files)
    for place in "ab":
        assert load(tmp_path / place).fingerprint() == omniglot.fingerprint()
