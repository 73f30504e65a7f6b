"""Omniglot: ink on paper whatever decodes it, whole alphabets held out."""

from pathlib import Path

import numpy as np
import pytest

from metabridge.data import Dataset, tfds_source
from metabridge.data.datasets import omniglot as omniglot_module


def lanczos_weights(size: int, target: int) -> np.ndarray:
    """``[target, size]`` weights of an antialiased Lanczos-3 resize."""
    scale = size / target
    centres = (np.arange(target) + 0.5) * scale
    x = (np.arange(size) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.extended
def test_sizes_and_alphabets(omniglot: Dataset) -> None:
    assert omniglot.image_shape == (28, 28, 1)
    assert omniglot.augmentation == "drawing"
    assert [s.num_classes for _, s in omniglot.splits()] == [828, 136, 659]
    for _, split in omniglot.splits():
        assert set(split.images_per_class.tolist()) == {20}
    alphabets = [
        {name.split("/")[0] for name in s.class_names} for _, s in omniglot.splits()
    ]
    assert [len(names) for names in alphabets] == [25, 5, 20]
    assert len(set().union(*alphabets)) == 50
    assert alphabets[1] == set(omniglot_module.VALIDATION_ALPHABETS)


@pytest.mark.extended
def test_validation_is_the_authors_small_background_set(real_data: Path) -> None:
    source = tfds_source.find("omniglot", real_data / "tfds")
    names = tfds_source.class_names(source, "alphabet")
    found = {
        names[example["alphabet"]] for example in tfds_source.read(source, "small1")
    }
    assert found == set(omniglot_module.VALIDATION_ALPHABETS)


@pytest.mark.extended
def test_drawings_are_thin_ink_on_empty_paper(omniglot: Dataset) -> None:
    for _, split in omniglot.splits():
        border = np.concatenate([split.images[:, 0], split.images[:, -1]], axis=1)
        assert border.mean() < 12  # mostly paper
        assert 0.03 < split.images.mean() / 255 < 0.15
        assert split.images.max() == 255
    assert 0.03 < omniglot.mean[0] < 0.15


@pytest.mark.slow
def test_images_equal_a_numpy_resize(real_data: Path, omniglot: Dataset) -> None:
    source = tfds_source.find("omniglot", real_data / "tfds")
    alphabets = tfds_source.class_names(source, "alphabet")
    weights = lanczos_weights(105, 28)
    checked = 0
    for index, example in enumerate(tfds_source.read(source, "test")):
        if index % 601:
            continue
        ink = 255.0 * (example["image"][..., 0] == 0)
        # Columns first, to whole grey levels in between, as Pillow works.
        columns = np.clip(np.round(ink @ weights.T), 0, 255)
        expected = np.clip(weights @ columns, 0, 255)
        name = (
            f"{alphabets[example['alphabet']]}/"
            f"character{example['alphabet_char_id'] + 1:02d}"
        )
        row = omniglot.test.class_names.index(name)
        run = omniglot.test.images[row * 20 : row * 20 + 20, ..., 0].astype(float)
        assert np.abs(run - expected).max((1, 2)).min() <= 1
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("paper", [1, 255])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_ink_does_not_depend_on_the_decoder(paper: int, channels: int) -> None:
    mask = np.random.default_rng(0).random((105, 105)) < 0.06
    image = np.where(mask, 0, paper).astype(np.uint8)
    if channels:
        image = np.repeat(image[..., None], channels, axis=-1)
    np.testing.assert_array_equal(omniglot_module.ink(image), 255 * mask)


def test_images_other_than_black_and_white_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two values, paper and ink.*has 3"):
        omniglot_module.ink(np.array([[0, 128, 255]], np.uint8))
