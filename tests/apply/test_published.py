"""Published bodies: found in their folders, and refused if another file is there."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from metabridge import FewShotClassifier, export_body, load_body, published_bodies
from metabridge.apply import published
from tests.apply import bodies

NAME = "toys-mlp"
DATA = bodies.dataset()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the repository in which one body is published."""
    folder = tmp_path / "checkout"
    (folder / "bodies").mkdir(parents=True)
    (folder / "setup.cfg").touch()
    file = folder / "bodies" / f"{NAME}.safetensors"
    export_body(bodies.body("mtl", DATA), file)
    content = file.read_bytes()
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    index = tmp_path / "published.json"
    index.write_text(json.dumps({NAME: entry}))
    monkeypatch.setattr(published, "INDEX", index)
    monkeypatch.setattr(published, "CHECKOUT", folder)
    monkeypatch.delenv("METABRIDGE_BODIES", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_all_that_is_published_is_in_the_repository() -> None:
    for name, entry in published_bodies().items():
        file = published.CHECKOUT / "bodies" / f"{name}.safetensors"
        assert published.digest(file) == entry
        assert entry.bytes < 25_000_000
        assert entry.sha256 in file.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.extended
@pytest.mark.parametrize("place", ["checkout", "working folder", "variable"])
def test_a_name_is_enough(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "working folder":
        monkeypatch.chdir(checkout)
        monkeypatch.setattr(published, "CHECKOUT", tmp_path)  # no repository
    if place == "variable":
        (checkout / "bodies").rename(tmp_path / "elsewhere")
        monkeypatch.setenv("METABRIDGE_BODIES", str(tmp_path / "elsewhere"))
    expected = bodies.body("mtl", DATA).embed(DATA.test.images)
    np.testing.assert_array_equal(load_body(NAME).embed(DATA.test.images), expected)
    images, labels = DATA.test.images, DATA.test.labels
    assert FewShotClassifier(NAME).fit(images, labels).predict(images).shape == (32,)


def test_a_file_that_is_not_the_one_published(checkout: Path) -> None:
    file = checkout / "bodies" / f"{NAME}.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # a valid body
    file.write_bytes(content)
    theirs = published_bodies()[NAME].sha256
    ours = hashlib.sha256(content).hexdigest()
    for path in (NAME, file, checkout / "bodies" / ".." / "bodies" / file.name):
        with pytest.raises(ValueError, match=f"SHA-256 {ours}.*SHA-256 {theirs}"):
            load_body(path)
    with pytest.raises(ValueError, match="is not the published body toys-mlp"):
        FewShotClassifier(NAME).fit(DATA.test.images, DATA.test.labels)
    elsewhere = file.rename(checkout / file.name)
    file.symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is not the published body toys-mlp"):
        load_body(NAME)
    assert load_body(elsewhere).shapes.input_shape == DATA.image_shape


def test_where_to_get_what_is_not_there(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = checkout / "bodies" / f"{NAME}.safetensors"
    file.unlink()
    entry = published_bodies()[NAME]
    with pytest.raises(ValueError, match="not part of the package") as caught:
        load_body(NAME)
    for text in (str(file), f"{entry.bytes:,} bytes", entry.sha256, "repository"):
        assert text in str(caught.value)
    monkeypatch.setenv("METABRIDGE_BODIES", "/nowhere")
    with pytest.raises(ValueError, match=f"there is no /nowhere/{file.name}: put"):
        load_body(NAME)


def test_what_is_not_published_is_not_promised(checkout: Path) -> None:
    (checkout / "bodies" / "other-mlp.safetensors").touch()
    with pytest.raises(ValueError, match="is neither a run's folder") as caught:
        load_body("other-mlp")
    assert NAME in str(caught.value)
    published.INDEX.write_text("{}")
    with pytest.raises(ValueError, match="is neither a run's folder") as caught:
        load_body(NAME)
    assert "published" not in str(caught.value)
