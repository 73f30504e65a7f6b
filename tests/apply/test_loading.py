"""Where a body is loaded from, and that it is loaded once."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge.apply.loading import cached, load_body


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
