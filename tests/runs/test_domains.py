"""A run on the unseen classes of another dataset."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabridge.data import Dataset
from metabridge.evaluation import features
from metabridge.learners.base import Embed
from metabridge.runs.domains import Domain, domain_of, load_domain
from metabridge.runs.inputs import load_data
from metabridge.training.scoring import evaluate_run, load_run
from tests.runs.conftest import whole as whole
from tests.training.conftest import Run


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of colour images of several sizes: four, three and four classes."""
    root, generator = tmp_path_factory.mktemp("colour"), np.random.default_rng(3)
    for split, count in {"train": 4, "validation": 3, "test": 4}.items():
        for number in range(count):
            folder = root / split / f"{split}{number}"
            folder.mkdir(parents=True)
            pattern = generator.uniform(60, 190, (6, 6, 3))
            for image in range(6):
                pixels = np.clip(
                    pattern + generator.normal(0, 20, pattern.shape), 0, 255
                )
                side = 10 + image
                picture = Image.fromarray(pixels.astype(np.uint8)).resize((side, 12))
                picture.save(folder / f"{image}.png")
    return root


@pytest.mark.extended
def test_own_data_named_as_another(whole: Run, tmp_path: Path) -> None:
    before = (whole.folder / "result.json").read_text()
    name, output = whole.config.data.dataset, tmp_path / "out.json"
    found = evaluate_run(whole.folder, dataset=name, output=output)
    for number in ("accuracy", "ci95", "pixel_centroid_accuracy"):
        assert found[number] == whole.result[number]
    assert found["dataset"] == found["trained_on"] == name
    assert found["normalise"] == "training"
    assert found["seen_in_training"] == 0
    assert json.loads(output.read_text()) == found
    assert (whole.folder / "result.json").read_text() == before


@pytest.mark.extended
def test_images_as_the_body_takes_them(whole: Run, colour: Path) -> None:
    own = load_data(whole.config)
    domain = Domain(f"folder:{colour}")
    _, found, about = load_domain(
        domain, whole.config, shape=(8, 8, 1), mean=own.mean, std=own.std
    )
    files = sorted((colour / "test").glob("*/*.png"))
    lanczos = Image.Resampling.LANCZOS
    expected = [  # colours first, as in the project's one reader of files
        np.asarray(Image.open(file).resize((8, 8), lanczos).convert("L"))
        for file in files
    ]
    difference = found.test.images[..., 0].astype(int) - np.stack(expected)
    assert np.abs(difference).max() <= 1  # RGB is resized first, and rounded
    assert (found.mean, found.std) == (own.mean, own.std)
    assert about["images"] == (
        "brought to 8x8 as they are read (Lanczos, aspect ratio not kept), "
        "colours made grey (ITU-R 601)"
    )
    domain = domain._replace(normalise="dataset")
    _, found, about = load_domain(
        domain, whole.config, shape=(8, 8, 1), mean=own.mean, std=own.std
    )
    pixels = found.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, pixels.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(about["std"], pixels.std((0, 1, 2)), atol=1e-4)


@pytest.mark.extended
def test_normalised_by_the_other_dataset(
    whole: Run, colour: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, embedding = [], features.embedding

    def watched(embed: Embed, dataset: Dataset):
        used.append((dataset.mean, dataset.std))
        return embedding(embed, dataset)

    monkeypatch.setattr(features, "embedding", watched)
    name = f"folder:{colour}"
    found = evaluate_run(whole.folder, dataset=name, normalise="dataset")
    own = load_data(whole.config)
    assert used == [(tuple(found["mean"]), tuple(found["std"]))]
    assert found["mean"] != list(own.mean)
    assert found["accuracy"] > 0.5  # chance is a third
    assert found["dataset"] == name
    assert found["trained_on"] == whole.config.data.dataset


@pytest.mark.extended
def test_images_of_the_training_are_counted(
    whole: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = Path(whole.config.data.dataset.removeprefix("folder:"))
    for split, source in (("train", "test"), ("validation",) * 2, ("test", "train")):
        shutil.copytree(images / source, tmp_path / split)
    found = evaluate_run(whole.folder, dataset=f"folder:{tmp_path}")
    assert found["seen_in_training"] == 8 * 8
    assert "64 of 64 images in split 'test'" in caplog.text


@pytest.mark.extended
def test_only_the_split_in_use_has_to_hold_the_tasks(whole: Run, colour: Path) -> None:
    name, given = f"folder:{colour}", {"ways": 4}
    found = evaluate_run(whole.folder, given, dataset=name)  # validation has three
    assert found["ways"] == 4
    with pytest.raises(ValueError, match=r"`ways` is 4, but split 'valid.* 3 classes"):
        evaluate_run(whole.folder, given, dataset=name, split="validation")


@pytest.mark.extended
def test_what_is_refused(whole: Run, colour: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`normalise` is dataset, but without"):
        evaluate_run(whole.folder, normalise="dataset")
    with pytest.raises(ValueError, match="must be training or dataset"):
        domain_of("glyphs", None, "own", "test")
    with pytest.raises(ValueError, match="unknown dataset 'glyph'"):
        evaluate_run(whole.folder, dataset="glyph")
    with pytest.raises(ValueError, match="does not take `data_dir`"):
        evaluate_run(whole.folder, dataset=f"folder:{colour}", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_run(whole.folder, domain=Domain(f"folder:{tmp_path}/none"))
