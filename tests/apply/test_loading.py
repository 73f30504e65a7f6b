"""Bodies from runs, files and the package: loaded once, licensed, accurate."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge import FewShotClassifier, load_dataset, pretrained_bodies
from metabridge.apply import Body
from metabridge.apply.loading import cached, load_body
from metabridge.data import Dataset

NAMES = ["cifar_fs-conv4", "omniglot-conv4"]


def test_a_run_is_loaded_once_until_it_changes(run: Path) -> None:
    body = cached(run, None)
    assert cached(str(run), None) is body
    assert cached(body, None) is body
    assert load_body(run) is not body
    (run / "result.json").touch()
    assert cached(run, None) is not body


def test_a_run_whose_images_have_moved(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(run.parent / "images", tmp_path / "moved")
    path = tmp_path / "run/config.json"
    text = path.read_text().replace(str(run.parent), str(tmp_path / "gone"))
    path.write_text(text)
    with pytest.raises(FileNotFoundError, match="`data_dir`"):
        load_body(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    body, before = load_body("run", data_dir="moved"), load_body(run)
    assert (body.mean, body.std) == (before.mean, before.std)
    assert body.config.data.dataset == f"folder:{tmp_path}/moved"


def test_included_bodies_are_read_in_64_bit_mode() -> None:
    with jax.enable_x64(True):
        body = load_body("omniglot-conv4")
    kinds = {leaf.dtype for leaf in jax.tree.leaves(body.variables)}
    assert kinds == {np.dtype(np.float32)}


def test_what_is_no_body(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is int, but must be a run's folder, a file"):
        cached(3, None)
    for place in (tmp_path, tmp_path / "nowhere", ""):
        with pytest.raises(
            ValueError, match=r"holds no run|is neither a run's folder nor a file"
        ):
            load_body(place)


def test_names_and_cards() -> None:
    assert list(pretrained_bodies()) == NAMES
    for name, file in pretrained_bodies().items():
        body = load_body(name)
        assert file.with_suffix(".md").read_text() == body.about["card"]
        assert body.about["licence"].startswith("MIT (data:")
        assert body.about["result"]["tasks"] >= 2000
        assert file.stat().st_size < 2_000_000


def test_what_is_on_the_disk_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAMES[0]).mkdir()
    with pytest.raises(ValueError, match="holds no run"):
        load_body(NAMES[0])
    with pytest.raises(ValueError, match="are included: cifar_fs-conv4, omniglot-"):
        load_body("cifar-fs")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_real_images(name: str, real_data: Path, cache_dir: Path) -> None:
    """Of tasks drawn here, with NumPy, through the classifier that users call."""
    body = load_body(name)
    stated = body.about["result"]
    dataset = load_dataset(
        name.split("-")[0], data_dir=real_data / "tfds", cache_dir=cache_dir
    )
    assert dataset.fingerprint() == body.about["dataset"]["fingerprint"]
    found = np.array(
        [
            _accuracy(body, dataset, stated["shots"], np.random.default_rng(seed))
            for seed in range(25)
        ]
    )
    # Four standard errors: one in ten thousand is further off.
    error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean() - stated["accuracy"]) < 4 * error


def _accuracy(
    body: Body, dataset: Dataset, shots: int, generator: np.random.Generator
) -> float:
    """On one 5-way task with 15 queries a class."""
    split = dataset.test
    classes = generator.choice(split.num_classes, 5, replace=False)
    chosen = [
        generator.choice(np.flatnonzero(split.labels == c), shots + 15, replace=False)
        for c in classes
    ]
    support = np.concatenate([index[:shots] for index in chosen])
    query = np.concatenate([index[shots:] for index in chosen])
    classifier = FewShotClassifier(body)
    classifier.fit(split.images[support], split.labels[support])
    return classifier.score(split.images[query], split.labels[query])
