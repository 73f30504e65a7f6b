"""The page that goes with a body."""

from pathlib import Path

from metabridge.apply.body import from_run
from metabridge.apply.card import card
from tests.apply import bodies


def test_what_a_reader_wants_to_know(run: Path) -> None:
    body = from_run(run).with_about(licence="CC BY 4.0")
    text = card(body, file_name="birds.safetensors")
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
    text = card(bodies.body("maml", bodies.dataset()), file_name="a.safetensors")
    assert "| accuracy | not measured |" in text
    assert "| licence | not stated |" in text
    hostile = bodies.body("maml", bodies.dataset()).with_about(licence="a|b\x1b[2J")
    assert "a\\|b\\x1b[2J" in card(hostile, file_name="a.safetensors")
