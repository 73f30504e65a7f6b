"""Omniglot: handwritten characters of 50 alphabets, 20 drawings of each.

Lake, Salakhutdinov, Tenenbaum. Human-level concept learning through probabilistic
program induction. Science 350, 2015. https://doi.org/10.1126/science.aab3050

Training uses the authors' background set less five alphabets, which are held out
whole for validation; test is their evaluation set. Much published work instead
mixes characters of all alphabets (Vinyals et al., 2016), or adds rotated copies as
classes; neither is done here, so that test alphabets are unseen.
"""

import os

import numpy as np

from metabridge.data import cache, tfds_source
from metabridge.data.dataset import Dataset, pixel_statistics, sorted_split
from metabridge.registry import DRAWINGS, register_dataset
from metabridge.untrusted import shown

VALIDATION_ALPHABETS = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
"""The alphabets of the authors' own reduced background set (TFDS ``small1``, 136 of
the 964 characters): chosen by them, not by us, to stand for the whole in a small
sample."""

_SIZE = 28
_IMAGES_PER_CLASS = 20


def load(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Dataset:
    """Load Omniglot from TFDS as 28x28x1 images with ink 255 on paper 0."""
    source = tfds_source.find("omniglot", data_dir, download=download)
    how = {"validation": VALIDATION_ALPHABETS, "size": _SIZE, "resize": "lanczos"}
    return cache.load_or_build(
        f"omniglot-{source.folder.name}",
        {"source": source.fingerprint, **how},
        lambda _: _build(source),
        cache_dir=cache_dir,
    )


def ink(image: np.ndarray) -> np.ndarray:
    """Ink mask of a drawing: uint8 ``[H, W]``, 255 where ink is.

    The files are 1-bit PNGs with paper 1 and ink 0. Decoders give {0, 1} or
    {0, 255}, so the ink is where the value is 0.
    """
    plane = image if image.ndim == 2 else image[..., 0]
    if np.any((plane != 0) & (plane != plane.max())):
        raise ValueError(
            f"a drawing needs two values, paper and ink; it has {len(np.unique(plane))}"
        )
    return np.where(plane == 0, 255, 0).astype(np.uint8)


def _build(source: tfds_source.Source) -> Dataset:
    alphabets = tfds_source.class_names(source, "alphabet")
    images, labels, names = _read(source, "train", alphabets, num_classes=964)
    kept, held_out = {}, {}
    for label, name in names.items():
        held = name.split("/")[0] in VALIDATION_ALPHABETS
        (held_out if held else kept)[label] = name
    train, validation = (sorted_split(images, labels, n) for n in (kept, held_out))
    test = sorted_split(*_read(source, "test", alphabets, num_classes=659))
    statistics = pixel_statistics(train.inputs)
    return Dataset("omniglot", train, validation, test, *statistics, "drawing")


def _read(
    source: tfds_source.Source, split: str, alphabets: list[str], *, num_classes: int
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Images, labels, and the name of each label in alphabetical order."""
    from PIL import Image

    images, labels, names = [], [], {}
    for example in tfds_source.read(source, split):
        # Lanczos, as in the code of MAML (Finn et al., 2017); thin strokes stay dark.
        drawing = Image.fromarray(ink(example["image"]))
        small = drawing.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)
        images.append(np.asarray(small))
        with tfds_source.damage_of(source):
            label = int(example["label"])
            labels.append(label)
            # TFDS counts characters from 0, the authors' folders from 1.
            number = int(example["alphabet_char_id"]) + 1
            names[label] = f"{alphabets[example['alphabet']]}/character{number:02d}"
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) != num_classes or np.any(counts != _IMAGES_PER_CLASS):
        raise ValueError(
            f"split {split!r} of Omniglot in {shown(source.folder)} must hold "
            f"{_IMAGES_PER_CLASS} drawings of each of {num_classes} characters, but "
            f"it holds {len(images)} of {len(counts)}; prepare it again"
        )
    ordered = dict(sorted(names.items(), key=lambda item: item[1]))
    return np.stack(images)[..., None], np.asarray(labels), ordered


register_dataset(
    "omniglot",
    load,
    summary="handwritten characters of 50 alphabets, 28x28, 828/136/659 classes of 20",
    needs_data_dir=True,
    recipe={**DRAWINGS, "images": 600_000},
)
