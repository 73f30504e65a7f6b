"""From a run to a file, and from the file to the same answers."""

from pathlib import Path

import numpy as np
import pytest

from metabridge import FewShotClassifier, export_body, load_body
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs


def test_the_file_answers_as_the_run_does(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "body.safetensors"
    card = export_body(run, file, licence="MIT")
    assert card == tmp_path / "body.md"
    body = load_body(file)
    assert body.about["card"] == card.read_text()
    assert body.about["licence"] == "MIT"
    assert file.stat().st_mode == card.stat().st_mode  # others may read both
    split = inputs.load_data(run_folder.read_config(run)).test
    images, labels = split.images, split.labels
    ours, theirs = (
        FewShotClassifier(place).fit(images[::2], labels[::2]) for place in (file, run)
    )
    assert np.array_equal(
        ours.decision_function(images), theirs.decision_function(images)
    )
    export_body(body, tmp_path / "copy.safetensors")
    assert load_body(tmp_path / "copy.safetensors").about["licence"] == "MIT"


@pytest.mark.parametrize(
    ("name", "licence", "message"),
    [
        ("body.pt", None, r"must end in \.safetensors"),
        ("no/body.safetensors", None, "its folder does not exist"),
        ("there.safetensors", None, "there already"),
        ("noted.safetensors", None, "noted.md is there already"),
        ("bo\ndy.safetensors", None, "can be printed"),
        ("body.safetensors", "two\nlines", "one line"),
    ],
)
def test_what_is_not_written(
    run: Path, tmp_path: Path, name: str, licence: str | None, message: str
) -> None:
    (tmp_path / "there.safetensors").touch()
    (tmp_path / "noted.md").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        export_body(run, tmp_path / name, licence=licence)
    with pytest.raises(ValueError, match="holds no run"):
        export_body(tmp_path, tmp_path / "new.safetensors")
    assert sorted(tmp_path.iterdir()) == before
