"""A body of PyTorch's weights does what any other does: embed, export, classify."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metabridge
from metabridge.apply.importing import IMAGENET_MEAN, IMAGENET_STD
from tests import toy
from tests.weights import made, reference, torch_format

SIZES, WIDTHS = (2, 2, 2, 2), (64, 128, 256, 512)


@pytest.fixture(scope="module")
def arrays() -> made.Arrays:
    return made.resnet(SIZES, widths=WIDTHS)


@pytest.fixture(scope="module")
def weights(arrays: made.Arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "r18.pth"
    named = {f"module.{name}": array for name, array in arrays.items()}
    torch_format.write_zip(path, {"state_dict": named, "best_acc1": 69.7})
    return path


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.mark.extended
def test_features_are_numpys_of_unit_length(arrays: made.Arrays, weights: Path) -> None:
    body = metabridge.import_body(weights, "resnet18", image_size=32)
    images = (pixels() / 255 - IMAGENET_MEAN) / IMAGENET_STD
    expected = reference.resnet(images.transpose(0, 3, 1, 2), arrays, SIZES)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(body.embed(pixels()), expected, atol=1e-5)
    about = body.about["imported"]
    assert about["prefix"] == "state_dict.module."
    assert about["left_out"][0] == "state_dict.module.fc.weight"
    assert body.about["parameters"] == 11_176_512


@pytest.mark.extended
def test_it_is_exported_and_classified_with(weights: Path, tmp_path: Path) -> None:
    body = metabridge.import_body(weights, "resnet18", image_size=32)
    card = metabridge.export_body(body, tmp_path / "b.safetensors", licence="BSD-3")
    text = card.read_text(encoding="utf-8")
    for part in ("# resnet18, imported", "r18.pth", "BSD-3", "11,176,512", "(0.485"):
        assert part in text
    again = metabridge.load_body(tmp_path / "b.safetensors")
    np.testing.assert_array_equal(again.embed(pixels()), body.embed(pixels()))
    assert again.about["imported"] == body.about["imported"]
    data = toy.dataset(size=32, channels=3)
    classifier = metabridge.FewShotClassifier(again)
    classifier.fit(data.test.images[::2], data.test.labels[::2])
    assert classifier.score(data.test.images[1::2], data.test.labels[1::2]) > 0.5
    with pytest.raises(ValueError, match="was imported, without a dataset: pass `dat"):
        metabridge.evaluate_body(again, {"tasks": 4})


@pytest.mark.extended
def test_normalisation_is_the_users(weights: Path) -> None:
    half = (0.5, 0.5, 0.5)
    body = metabridge.import_body(
        weights, "resnet18", image_size=32, mean=half, std=half
    )
    assert (body.mean, body.std) == (half, half)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"mean": (0.5,)}, "mean"),
        ({"std": (0.5, 0.5, 0.0)}, "std"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": (32, 32, 3)}, "image_size"),
    ]
    for options, problem in wrong:
        with pytest.raises((ValueError, TypeError), match=problem):
            metabridge.import_body(weights, "resnet18", **options)


@pytest.mark.extended
def test_grey_weights_need_a_normalisation(tmp_path: Path) -> None:
    grey = made.resnet(SIZES, widths=WIDTHS, channels=1)
    torch_format.write_legacy(tmp_path / "grey.pt", grey)
    with pytest.raises(ValueError, match=r"its images are grey.*pass `mean` and `std`"):
        metabridge.import_body(tmp_path / "grey.pt", "resnet18", image_size=32)
    body = metabridge.import_body(
        tmp_path / "grey.pt", "resnet18", image_size=32, mean=(0.5,), std=(0.25,)
    )
    assert body.embed(pixels()[..., :1]).shape == (3, 512)


def test_a_body_without_names_in_pytorch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="`model` is 'conv4', but weights are read for"
    ):
        metabridge.import_body(tmp_path / "w.pt", "conv4")


@pytest.mark.extended
def test_weights_of_another_body_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch_format.write_zip(file, {"a": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match=r"w\.pt is no resnet12: it lacks layer1\.0"):
        metabridge.import_body(file, "resnet12", image_size=32)
