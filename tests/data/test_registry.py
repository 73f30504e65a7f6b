"""The registry, and the contract that every dataset keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data import Dataset, Split, dataset_names, describe, load_dataset
from metabridge.registry import DATASETS, register_dataset

# Decoding them takes up to a minute each.
LATER = [
    *(pytest.param(n, marks=pytest.mark.extended) for n in ("glyphs", "mini_imagenet")),
    *(
        pytest.param(n, marks=pytest.mark.slow)
        for n in ("omniglot", "cifar_fs", "fc100")
    ),
]


@pytest.fixture(params=LATER)
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return request.getfixturevalue(request.param)


def test_every_name_is_under_contract() -> None:
    # The others are the parameters above.
    ours = {"glyphs", "omniglot", "cifar_fs", "fc100", "mini_imagenet"}
    ours |= {"tiered_imagenet"}
    own = {"folder", "parquet", "hf", "npz", "features"}
    assert set(dataset_names()) == ours | {f"{name}:PATH" for name in own}


def test_contract(dataset: Dataset) -> None:
    names = [set(split.class_names) for _, split in dataset.splits()]
    assert sum(map(len, names)) == len(set().union(*names))
    for _, split in dataset.splits():
        assert split.images.dtype == np.uint8
        assert split.images.shape[1:] == dataset.image_shape
        assert split.labels.dtype == np.int32
        assert np.all(np.diff(split.labels) >= 0)
        assert split.images_per_class.min() >= 2
        assert isinstance(split.images, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0] = 0
    pixels = dataset.train.images[::3] / 255.0
    # CIFAR's published values are of all 100 classes, not of these, hence 0.02; and of
    # mini-ImageNet's 64 classes there are 14 here.
    atol = 0.04 if dataset.name == "mini_imagenet" else 0.02
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), atol=atol)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), atol=atol)


def test_descriptions_say_what_is_needed() -> None:
    needs = {d.name: d.needs_data_dir for d in describe()}
    assert needs == {
        "glyphs": False,
        "omniglot": True,
        "cifar_fs": True,
        "fc100": True,
        "mini_imagenet": True,
        "tiered_imagenet": True,
        "folder:PATH": False,
        "parquet:PATH": False,
        "hf:PATH": False,
        "npz:PATH": False,
        "features:PATH": False,
    }
    for description in describe():
        assert "\n" not in description.summary
        assert len(description.summary) < 90


def test_unknown_name_lists_the_known() -> None:
    known = "unknown dataset .cifar.*folder:PATH"
    with pytest.raises(ValueError, match=known):
        load_dataset("cifar")
    with pytest.raises(TypeError):
        load_dataset(None)  # type: ignore[arg-type]


def test_a_dataset_of_a_user_is_loaded_with_its_own_options() -> None:
    def loader(*, brightness: int = 1) -> Dataset:
        parts: dict[str, Any] = {
            name: Split(images * np.uint8(brightness), labels, (name, name.upper()))
            for name in ("train", "validation", "test")
        }
        return Dataset("mine", **parts, mean=(0.5,), std=(0.5,))

    images, labels = np.ones((4, 2, 2, 1), np.uint8), np.array([0, 0, 1, 1], np.int32)
    register_dataset("mine", loader, summary="a line")
    try:
        assert describe()[-1] == ("mine", "a line", False, ("brightness",))
        assert load_dataset("mine", brightness=7, seed=None).train.images[0, 0, 0] == 7
        with pytest.raises(ValueError, match="not take `seed`; it takes `brightness`"):
            load_dataset("mine", seed=3)
    finally:
        DATASETS.remove("mine")
    with pytest.raises(ValueError, match="a built-in dataset: take another"):
        register_dataset("glyphs", loader)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("glyphs", {"data_dir": "x"}),
        ("glyphs", {"image_size": 28}),
        ("glyphs", {"download": True}),
        ("omniglot", {"image_size": 28}),
        ("cifar_fs", {"seed": 1}),
        ("folder:x", {"data_dir": "x"}),
        ("folder:x", {"seed": 3}),
        ("cifar_fs", {"skip_corrupt": True}),
        ("mini_imagenet", {"image_size": 64}),
        ("mini_imagenet", {"allow_duplicates": True}),
        ("glyphs", {"background": "black"}),
        ("cifar_fs", {"white_level": 4095.0}),
        ("omniglot", {"max_pixels": 7}),
    ],
)
def test_options_of_other_datasets_are_refused(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    (option,) = options
    with pytest.raises(ValueError, match=f"does not take `{option}`; it takes"):
        load_dataset(name, cache_dir=tmp_path, **options)
