"""Folders of a configuration, from any working folder and after a move."""

import dataclasses
import os
from pathlib import Path

import pytest

from metabridge.config import Config, DataConfig, RFSConfig, resolve, with_data_dir
from metabridge.config.places import absolute, with_paths


def test_a_resolved_configuration_has_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = Config(RFSConfig(teacher=Path("runs/a")), DataConfig("folder:birds/"))
    resolved = resolve(own)
    assert resolved.data.dataset == f"folder:{tmp_path}/birds"
    assert resolved.learner == RFSConfig(teacher=tmp_path / "runs/a")
    monkeypatch.chdir(tmp_path.parent)
    assert resolve(resolved) == resolved
    named = resolve(Config(data=DataConfig("cifar_fs", data_dir=Path("~/tfds"))))
    assert named.data.data_dir == tmp_path / "home/tfds"
    assert named.data.dataset == "cifar_fs"
    # An empty path is not the working folder.
    assert resolve(Config(data=DataConfig("folder:"))).data.dataset == "folder:"


def test_parents_of_links_are_those_of_their_targets(tmp_path: Path) -> None:
    (tmp_path / "far/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/inner")
    assert absolute(tmp_path / "link/../birds") == tmp_path.resolve() / "far/birds"
    assert absolute(tmp_path / "link/birds") == tmp_path / "link/birds"


def test_data_that_has_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = Config(data=DataConfig("folder:/was/here"))
    assert with_data_dir(own, "now").data == DataConfig(f"folder:{tmp_path}/now")
    known = Config(data=DataConfig("cifar_fs", data_dir=Path("/was")))
    moved = with_data_dir(known, tmp_path / "now").data
    assert moved == DataConfig("cifar_fs", data_dir=tmp_path / "now")
    assert with_data_dir(known, None) is known
    assert os.fspath(absolute("now")) == f"{tmp_path}/now"


def test_places_of_a_union(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = Config(data=DataConfig("glyphs+folder:birds"))
    resolved = resolve(own)
    assert resolved.data.dataset == f"glyphs+folder:{tmp_path}/birds"
    assert resolve(resolved) == resolved
    moved = with_data_dir(resolved, "now").data.dataset
    assert moved == f"glyphs+folder:{tmp_path}/now"
    known = Config(data=DataConfig("omniglot+cifar_fs"))
    assert with_data_dir(known, "now").data.data_dir == tmp_path / "now"
    for several in ("omniglot+folder:a", "folder:a+folder:b"):
        with pytest.raises(ValueError, match="`data_dir` is one place"):
            with_data_dir(Config(data=DataConfig(several)), "now")
    # A folder whose name would be a union without the end of its path.
    odd = resolve(Config(data=DataConfig("folder:a+glyphs/")))
    assert odd.data.dataset == f"folder:{tmp_path}/a+glyphs/"
    assert resolve(odd) == odd


def test_paths_in_tuples_are_changed_too() -> None:
    @dataclasses.dataclass(frozen=True)
    class Options:
        one: Path
        several: tuple[Path, ...]
        text: str = "a/b"

    found = with_paths(Options(Path("a/b"), (Path("c/d"),)), lambda p: Path(p.name))
    assert found == Options(Path("b"), (Path("d"),))
