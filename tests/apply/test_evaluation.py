"""A body in a file is scored as its run is."""

import dataclasses
import json
from pathlib import Path

import pytest

from metabridge import evaluate_body, evaluate_run, export_body, load_body
from metabridge.build import Shapes
from tests.user_paths.calls import NUMBERS


@pytest.mark.extended
def test_on_the_tasks_of_its_run(run: Path, images: Path, tmp_path: Path) -> None:
    file, output = tmp_path / "body.safetensors", tmp_path / "result.json"
    export_body(run, file)
    given = {"shots": 1, "tasks": 30}
    found = evaluate_body(file, given, data_dir=images, output=output)
    expected = evaluate_run(run, given)
    assert [found[name] for name in NUMBERS] == [expected[name] for name in NUMBERS]
    assert (found["shots"], found["tasks"]) == (1, 30)
    assert json.loads(output.read_text()) == found


@pytest.mark.extended
def test_on_another_dataset(run: Path, images: Path, tmp_path: Path) -> None:
    file, name = tmp_path / "body.safetensors", f"folder:{images}"
    export_body(run, file)
    # Without its own data, the number of images that were seen is not known.
    found, expected = (
        call(place, {"tasks": 30}, dataset=name, normalise="dataset")
        for call, place in ((evaluate_body, file), (evaluate_run, run))
    )
    assert [found[name] for name in NUMBERS] == [expected[name] for name in NUMBERS]
    assert found["dataset"] == name
    assert found["mean"] == expected["mean"]
    assert "seen_in_training" not in found
    assert expected["seen_in_training"] == 0


def test_data_that_does_not_fit(run: Path, images: Path, tmp_path: Path) -> None:
    file = tmp_path / "body.safetensors"
    export_body(run, file)
    with pytest.raises(FileNotFoundError, match="--data-dir"):
        evaluate_body(file)
    body = dataclasses.replace(load_body(file), shapes=Shapes((16, 16, 3), 8))
    with pytest.raises(ValueError, match=r"but the body takes \[16, 16, 3\]"):
        evaluate_body(body, data_dir=images)
