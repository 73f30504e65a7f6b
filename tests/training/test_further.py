"""A finished run, trained further."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from metabridge.config import ResolvedConfig, from_json, resolve
from metabridge.runs.metrics import read_metrics
from metabridge.training import RunError, further, train
from metabridge.training.verify import verify
from tests import toy
from tests.training.conftest import Run
from tests.training.test_train import restored


def longer(config: ResolvedConfig, **options: object) -> ResolvedConfig:
    """The same, resolved, with other training options."""
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, **options)
    )
    return resolve(config)


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Path:
    """A finished run of six steps that a test may change."""
    return Path(shutil.copytree(whole.folder, tmp_path / "run"))


@pytest.mark.extended
def test_more_steps_go_on_from_the_last_checkpoint(
    whole: Run, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = longer(whole.config, steps=8)
    result = train(config, run, resume=True)
    said = capsys.readouterr().err
    assert f"{run} has been trained for 6 steps and goes on to 8" in said
    rate = 0.01 * 0.5 * (1 + math.cos(math.pi * 6 / 8))
    assert f"the learning rate goes up from 0 to {rate:.3g}" in said
    assert result["train_steps"] == 8
    steps = [record["step"] for record in read_metrics(run, "train")]
    assert steps == [2, 4, 6, 8]
    assert from_json((run / "config.json").read_text()).train.steps == 8
    assert json.loads((run / "result-6.json").read_text())["train_steps"] == 6
    stage = {"steps": 6, "minutes": None, "validate_every": 2, "early_stop": None}
    assert result["provenance"]["stages"] == [stage]
    assert result["provenance"]["config"]["train"]["steps"] == 8
    decay = optax.tree.get(restored(config, run)[1].optimizer, "decay_steps")
    assert float(decay) == 8
    assert verify(run)["reproduced"]
    # The same command again takes the result as it is.
    again = train(config, run, resume=True)
    assert again["train_seconds"] == result["train_seconds"]
    with pytest.raises(RunError, match="run of 8 steps, and `steps` is 6: pass more"):
        train(whole.config, run, resume=True)


@pytest.mark.slow
def test_without_a_schedule_it_is_as_if_it_had_been_trained_for_as_many(
    images: Path, tmp_path: Path
) -> None:
    config = toy.config(images, learner=toy.FIXED_TASKS, schedule="constant")
    config = resolve(config)
    train(longer(config, steps=4), tmp_path / "stages")
    train(config, tmp_path / "stages", resume=True)
    train(config, tmp_path / "straight")
    pairs = [
        restored(config, tmp_path / name)[1].params for name in ("stages", "straight")
    ]
    for one, two in zip(*map(jax.tree.leaves, pairs), strict=True):
        np.testing.assert_array_equal(one, two)
    checks = verify(tmp_path / "stages", retrain=True)["checks"]
    assert all(check["outcome"] == "ok" for check in checks)


@pytest.mark.extended
def test_a_kill_between_the_files_is_no_obstacle(whole: Run, run: Path) -> None:
    config = longer(whole.config, steps=8)
    before = (run / "config.json").read_text()
    further.begin(run, config)
    assert further.is_further(run, config) is False  # an interrupted run of 8 steps
    (run / "config.json").write_text(before)
    assert further.is_further(run, config)
    further.begin(run, config)
    assert [stage["steps"] for stage in further.stages(run)] == [6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, "run of 6 steps, and `steps` is 3: pass more"),
        ({"steps": 9, "seed": 1}, "train.seed was 0, is 1"),
        ({"steps": 3, "seed": 1}, "train.seed was 0, is 1"),
    ],
)
def test_what_is_no_longer_run_of_the_same_is_refused(
    changes: dict, message: str, whole: Run, run: Path
) -> None:
    with pytest.raises(RunError, match=message):
        further.is_further(run, longer(whole.config, **changes))


def test_an_unfinished_run_is_finished_first(whole: Run, run: Path) -> None:
    (run / "result.json").unlink()
    with pytest.raises(RunError, match=r"not finished.*finish it with 6 first"):
        further.is_further(run, longer(whole.config, steps=9))


def test_one_that_would_stop_at_once_needs_more_patience(whole: Run, run: Path) -> None:
    lines = [
        json.dumps({"step": step, "kind": "validation", "accuracy": accuracy})
        for step, accuracy in ((2, 0.5), (4, 0.9), (5, 0.9), (6, 0.8))
    ]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=r"last 2 validations .*pass more than 2"):
        further.is_further(run, longer(whole.config, steps=9, early_stop=2))
    for patience in (3, None):
        assert further.is_further(
            run, longer(whole.config, steps=9, early_stop=patience)
        )


def test_the_steps_of_a_recipe_are_no_wish_to_train_further(
    images: Path, run: Path
) -> None:
    config = toy.config(images, learner=toy.FIXED_TASKS, steps=None)
    with pytest.raises(RunError, match=r"train\.steps was 6"):
        train(config, run, resume=True)
    assert (run / "result.json").exists()


def test_damaged_stages_are_said(run: Path) -> None:
    provenance = json.loads((run / "provenance.json").read_text())
    for stages in (3, ["x"], [{"steps": 6, "unknown": 1}]):
        text = json.dumps(provenance | {"stages": stages})
        (run / "provenance.json").write_text(text)
        with pytest.raises(RunError, match=r"`stages` in .* are damaged"):
            further.stages(run)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"schedule": "constant"}, "stays what it was"),
        ({"schedule": "plateau"}, "stays what it was"),
        (
            {"schedule": "staircase", "drops": ((0.5, 0.1), (0.75, 0.01))},
            "are at 4, 6 now",
        ),
        ({"schedule": "constant", "average": 0.25}, "averaged from step 6 on"),
        # Two thirds of the way from step 2 to 8, where the cosine of 2 pi / 3 is -1/2.
        ({"warmup": 0.25}, "up from 0 to 0.0025 and falls"),
        ({"warmup": 0.875}, "warmed up to step 7 now, and follows the schedule"),
        ({"train_sizes": ((0.0, 4), (0.5, 8))}, "are 4 at 0, 8 at 4 now"),
    ],
)
def test_what_each_schedule_does_is_said(options: dict, text: str, whole: Run) -> None:
    config = longer(whole.config, **(options | {"steps": 8}))
    assert text in further._describe_schedule(6, config.train)
