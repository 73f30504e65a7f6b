"""The study of calibration and sets: its numbers, table and picture on a tiny body."""

import json
from pathlib import Path
from typing import Any

import pytest

import metabridge
from experiments import how_sure
from tests.apply import bodies

DATA = bodies.dataset()
BODY = bodies.body("mtl", DATA)


@pytest.mark.extended
def test_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(body: str, changes: dict[str, Any], **options: Any) -> dict[str, Any]:
        assert body == "tiny.safetensors"
        return evaluate_body(BODY, changes, **options)

    monkeypatch.setattr("metabridge.runs.inputs.load_data", lambda config: DATA)
    # Training, of which there is none, needs more classes.
    monkeypatch.setattr("metabridge.runs.inputs.check_shapes", lambda *given: None)
    evaluate_body = metabridge.evaluate_body
    monkeypatch.setattr("metabridge.evaluate_body", evaluate)
    monkeypatch.setattr("metabridge.load_body", lambda body: BODY)
    monkeypatch.setattr("metabridge.load_dataset", lambda name, data_dir: DATA)
    how_sure.main(
        how_sure.Options(
            tmp_path,
            tmp_path / "out",
            bodies=("tiny.safetensors",),
            shots=(1, 2),
            coverage=0.6,
            tasks=12,
            support_tasks=3,
        )
    )
    text = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert [each["shots"] for each in found] == [1, 2]
    assert "by_support" not in found[0]["lac"]["conformal"]
    sets = found[1]["aps"]["conformal"]["by_support"]
    assert sets["tasks"] == 3
    assert f"{100 * sets['coverage']:.2f} ±" in text
    assert text.count("queries of the task") == 2
    assert text.count("its support alone") == 1
    temperature = found[0]["lac"]["calibration"]["temperature"]
    assert f"| tiny.safetensors | 1 | {temperature:.3f} |" in text
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "tiny-2-aps.npz").is_file()


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`coverage` is 1.*must be in \(0, 1\)"):
        how_sure.main(how_sure.Options(tmp_path, coverage=1.0))
    with pytest.raises(ValueError, match="`tasks` must be finite and at least 2"):
        how_sure.main(how_sure.Options(tmp_path, tasks=1))
