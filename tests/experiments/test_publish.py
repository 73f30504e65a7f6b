"""Publishing a run: file, card and index, the same each time, and what is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from experiments import publish
from experiments.publish import Options, main
from metabridge import evaluate_run, load_body
from metabridge.apply import published
from metabridge.files import write_json
from metabridge.runs.folder import read_result

NAME = "toys-mlp"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, and an index of its own."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "setup.cfg").touch()
    (tmp_path / "published.json").write_text("{}")
    monkeypatch.setattr(published, "INDEX", tmp_path / "published.json")
    monkeypatch.setattr(published, "CHECKOUT", folder)
    return folder


@pytest.mark.extended
def test_a_run_is_published(
    finished_run: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = Options(finished_run, NAME, licence="MIT")
    main(options)
    file = checkout / "bodies" / f"{NAME}.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    index = json.loads(published.INDEX.read_text())
    assert index == {NAME: {"bytes": file.stat().st_size, "sha256": digest}}
    card = file.with_suffix(".md").read_text()
    for text in (f"| SHA-256 | {digest} |", "| licence | MIT |", "rounded to float16"):
        assert text in card
    result = json.loads((finished_run / "result.json").read_text())
    stated = f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} %"
    out = capsys.readouterr().out
    assert out.count(stated) == 2  # of the run and of the file
    assert digest in out
    assert stated in card
    assert load_body(NAME).about["dtype"] == "float16"
    contents = {path: path.read_bytes() for path in (checkout / "bodies").iterdir()}
    assert len(contents) == 2
    main(options)
    assert contents == {p: p.read_bytes() for p in (checkout / "bodies").iterdir()}


@pytest.mark.extended
def test_a_run_with_mirror_images_is_held_against_them(
    finished_run: Path,
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flipped = shutil.copytree(finished_run, tmp_path / "flipped")
    config = json.loads((flipped / "config.json").read_text())
    config["evaluation"]["flips"] = True
    (flipped / "config.json").write_text(json.dumps(config))
    result = evaluate_run(flipped)
    write_json(flipped / "result.json", read_result(flipped) | result)
    plain = read_result(finished_run)["accuracy"]
    assert abs(result["accuracy"] - plain) > 0.0005  # else it shows nothing
    main(Options(flipped, NAME))
    assert NAME in published.published_bodies()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../toys-mlp", "must be as cifar_fs-resnet12 is"),
        ("toys", "must be as cifar_fs-resnet12 is"),
        ("cifar_fs-conv4", "a body of the package"),
    ],
)
def test_names_that_are_refused(
    finished_run: Path, checkout: Path, name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        main(Options(finished_run, name))
    assert not (checkout / "bodies").exists()


def test_what_is_not_published(
    finished_run: Path,
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="holds no result yet"):
        main(Options(tmp_path, NAME))
    worse = {"accuracy": 0.2, "ci95": 0.01}
    monkeypatch.setattr(publish, "evaluate_body", lambda *_, **__: worse)
    with pytest.raises(ValueError, match=r"points, but may by 0\.05: nothing is"):
        main(Options(finished_run, NAME))
    (checkout / "setup.cfg").unlink()
    with pytest.raises(ValueError, match="runs from no checkout"):
        main(Options(finished_run, NAME))
    assert not (checkout / "bodies").exists()
    assert published.INDEX.read_text() == "{}"
