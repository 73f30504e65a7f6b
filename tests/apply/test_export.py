"""A run exported to a file gives the same answers; its card describes it."""

from pathlib import Path

import numpy as np
import pytest

from metabridge import FewShotClassifier, export_body, load_body
from metabridge.apply.body import from_run
from metabridge.apply.body_file import make_card
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs
from tests.apply import bodies


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


def test_what_a_reader_wants_to_know(run: Path) -> None:
    body = from_run(run).with_about(licence="CC BY 4.0")
    text = make_card(body, file_name="birds.safetensors")
    result = body.about["result"]
    assert f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} %" in text
    assert "3-way 2-shot, 40 unseen tasks, head centroid" in text
    for line in (
        "# mtl on folder:images",
        "| body | mlp width 16 |",
        "| images | 8 x 8, grey |",
        "| trained on | folder:images, 8 classes |",
        f"| fingerprint of the data | {body.about['dataset']['fingerprint']} |",
        "| training | 6 steps, tasks of 4 ways and 2 shots, 4 a step, seed 0 |",
        "| licence | CC BY 4.0 |",
        'FewShotClassifier("birds.safetensors")',
    ):
        assert line in text
    assert "metabridge 0" in text
    assert str(run.parent) not in text


def test_a_body_of_which_nothing_is_known() -> None:
    text = make_card(bodies.body("maml", bodies.dataset()), file_name="a.safetensors")
    assert "| accuracy | not measured |" in text
    assert "| licence | not stated |" in text
    hostile = bodies.body("maml", bodies.dataset()).with_about(licence="a|b\x1b[2J")
    assert "a\\|b\\x1b[2J" in make_card(hostile, file_name="a.safetensors")
