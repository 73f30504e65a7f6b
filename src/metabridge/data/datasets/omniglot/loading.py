"""Finding the form that is there, checking it, and reading it into the cache."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from metabridge.data import cache, forms, tfds_source
from metabridge.data.dataset import Dataset, pixel_statistics, sorted_split
from metabridge.data.datasets.omniglot import original
from metabridge.data.datasets.omniglot.original import Drawing
from metabridge.data.forms import Form
from metabridge.untrusted import shown

VALIDATION_ALPHABETS = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
"""The alphabets of the authors' own reduced background set (TFDS ``small1``, 136 of
the 964 characters): chosen by them, not by us, to stand for the whole in a small
sample."""

_SIZE = 28
_IMAGES_PER_CLASS = 20
_BACKGROUND, _EVALUATION = 964, 659  # characters
_FORMS = (
    "images_background/ and images_evaluation/ or their .zip archives, or omniglot/ as "
    "TFDS prepares it in the array_record format"
)


def load(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Dataset:
    """Load Omniglot as 28x28x1 images with ink 255 on paper 0.

    `data_dir` holds one of the forms that this package lists; with `download` the
    authors' archives are put there if none is.
    """
    root = tfds_source.default_root(data_dir)
    try:
        form = find(root)
    except forms.MissingDataError:
        if not download:
            raise
        from metabridge.data import downloads

        downloads.fetch(original.ARCHIVES, root)
        form = find(root)
    how = {"validation": VALIDATION_ALPHABETS, "size": _SIZE, "resize": "lanczos"}
    return cache.load_or_build(
        f"omniglot-{form.key}",
        {"source": form.fingerprint, **how},
        lambda _: _build(form),
        cache_dir=cache_dir,
    )


def find(root: Path) -> Form:
    """Find the first of the forms that is in `root`."""
    source, others = tfds_source.look("omniglot", root)
    if source is not None:
        return Form(
            source.folder.name,
            shown(source.folder),
            source.fingerprint,
            lambda name: _read_prepared(source, name),
        )
    form = original.find(root)
    if form is None:
        raise forms.missing("omniglot", root, _FORMS, others)
    return form


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


def _build(form: Form) -> Dataset:
    background, evaluation = original.SETS
    images, labels, names = _shrunk(form, background, num_classes=_BACKGROUND)
    kept, held_out = {}, {}
    for label, name in names.items():
        held = name.split("/")[0] in VALIDATION_ALPHABETS
        (held_out if held else kept)[label] = name
    train, validation = (sorted_split(images, labels, n) for n in (kept, held_out))
    test = sorted_split(*_shrunk(form, evaluation, num_classes=_EVALUATION))
    statistics = pixel_statistics(train.images)
    return Dataset("omniglot", train, validation, test, *statistics, "drawing")


def _read_prepared(source: tfds_source.Source, name: str) -> Iterator[Drawing]:
    alphabets = tfds_source.class_names(source, "alphabet")
    split = {"images_background": "train", "images_evaluation": "test"}[name]
    for example in tfds_source.read(source, split):
        with tfds_source.damage_of(source):
            # TFDS counts characters from 0, the authors' folders from 1.
            number = int(example["alphabet_char_id"]) + 1
            class_name = f"{alphabets[example['alphabet']]}/character{number:02d}"
        yield class_name, example["image"]


def _shrunk(
    form: Form, name: str, *, num_classes: int
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Images, labels, and the name of each label in alphabetical order."""
    from PIL import Image

    images, found = [], []
    drawings: Iterable[Drawing] = form.read(name)
    for class_name, pixels in drawings:
        # Lanczos, as in the code of MAML (Finn et al., 2017); thin strokes stay dark.
        drawing = Image.fromarray(ink(pixels))
        small = drawing.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)
        images.append(np.asarray(small))
        found.append(class_name)
    names, labels, counts = np.unique(found, return_inverse=True, return_counts=True)
    if len(counts) != num_classes or np.any(counts != _IMAGES_PER_CLASS):
        raise ValueError(
            f"{name} of Omniglot in {form.text} must hold {_IMAGES_PER_CLASS} drawings "
            f"of each of {num_classes} characters, but it holds {len(images)} of "
            f"{len(counts)}: get it again"
        )
    return np.stack(images)[..., None], labels, dict(enumerate(names.tolist()))
