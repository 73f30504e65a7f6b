"""Bodies of the Hugging Face hub, from its library's cache and from a stand-in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from metabridge import export_body, load_body
from metabridge.apply import hub
from tests.apply import bodies

constants = pytest.importorskip("huggingface_hub.constants", reason="no extra hub")
DATA = bodies.dataset()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's cache with the repository user/body, and no network."""
    root = tmp_path / "cache" / "models--user--body"
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    export_body(bodies.body("mtl", DATA), snapshot / "body.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_names() -> None:
    assert hub.place_of("hf://user/body") == ("user/body", None)
    assert hub.place_of(Path("hf://user/body@v1")) == ("user/body", "v1")  # one slash
    for name in ("runs/first", "hf:user/data", "omniglot-conv4"):
        assert hub.place_of(name) is None
    for name in ("hf://user", "hf://user/a/b", "hf://../x/y", "hf://user/body@"):
        with pytest.raises(ValueError, match="must be hf://USER/NAME"):
            hub.place_of(name)


def test_from_the_cache(cache: Path) -> None:
    expected = bodies.body("mtl", DATA).embed(DATA.test.images)
    for name in ("hf://user/body", f"hf://user/body@{COMMIT}"):
        found = load_body(name).embed(DATA.test.images)
        np.testing.assert_array_equal(found, expected)


def test_what_is_not_there(cache: Path) -> None:
    with pytest.raises(
        ValueError, match=r"hf://user/other \(.*`hf download user/other"
    ):
        load_body("hf://user/other")
    with pytest.raises(ValueError, match="cannot get"):
        load_body("hf://user/body@v2")
    (cache / "body.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot get"):
        load_body("hf://user/body")


class Api:
    """A stand-in for the hub that remembers what it is given."""

    calls: list[tuple[Any, ...]]

    def create_repo(self, repository: str, **options: Any) -> str:
        self.calls.append((repository, options["exist_ok"]))
        return f"https://huggingface.co/{repository}"

    def upload_file(self, **options: Any) -> None:
        names = Path(options["path_or_fileobj"]).name, options["path_in_repo"]
        self.calls.append((options["repo_id"], *names))


def test_pushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Api.calls = []
    monkeypatch.setattr(hub, "import_hub", lambda: SimpleNamespace(HfApi=Api))
    place = hub.Place("user/body", None)
    found = hub.push(place, tmp_path / "a.safetensors", tmp_path / "a.md")
    assert found == "https://huggingface.co/user/body"
    assert Api.calls == [
        ("user/body", True),
        ("user/body", "a.safetensors", "body.safetensors"),
        ("user/body", "a.md", "README.md"),
    ]


def test_pushing_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"cannot write hf://user/body .*hf upload"):
        hub.push(hub.Place("user/body", None), tmp_path / "a", tmp_path / "b")
