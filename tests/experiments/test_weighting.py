"""The study of weightings: runs and budget, table, resuming, what it refuses."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import weighting
from experiments.weighting import Options, completed, config_of, planned_runs
from metabridge.config import Config, MTLConfig, images_per_step
from metabridge.runs.evaluation import read_own
from metabridge.training import train
from tests import toy

SMALL = Options(images=3000, tasks=20, train_ways=4, tasks_per_step=3, pool=8)


def test_runs_differ_in_the_weighting_alone() -> None:
    runs = planned_runs(completed(SMALL))
    assert len(runs) == len({run.name for run in runs}) == 18
    assert [run.weighting for run in runs[:6]] == list(weighting.WEIGHTINGS)
    configs = [config_of(run, SMALL) for run in runs if run.seed == 0]
    for config in configs:
        assert dataclasses.replace(config, learner=MTLConfig()) == dataclasses.replace(
            configs[0], learner=MTLConfig()
        )
        assert config.train.steps * images_per_step(config.train) == 3000


def test_learning_rates_are_runs_of_their_own() -> None:
    options = dataclasses.replace(
        SMALL, weightings=("upgrad",), learning_rates=(0.01, 0.001), seeds=2
    )
    names = [run.name for run in planned_runs(completed(options))]
    assert names[:2] == ["uniform-0.01-0", "upgrad-0.01-0"]
    assert names[-1] == "upgrad-0.001-1"
    assert len(names) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "`seeds` is 1, which says nothing"),
        ({"weightings": ("mgda",)}, "unknown weighting 'mgda' .* known are uniform"),
        ({"weightings": ("uniform",)}, "has the mean alone"),
        ({"weightings": ("dwa", "dwa")}, "`weightings` has a value twice"),
        ({"tasks_per_step": 1}, "`tasks_per_step` must be finite and at least 2"),
        ({"learning_rates": (-0.1,)}, "`learning_rates` must be finite and at least 0"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        completed(dataclasses.replace(SMALL, **changes))


def _copied(finished: Path, folder: Path, accuracies: dict[str, float]) -> Options:
    """Runs of the study, all of them copies of one with another validation."""
    options = Options(
        output=folder, weightings=("pcgrad",), seeds=2, learning_rates=(0.1, 0.2)
    )
    for run in planned_runs(completed(options)):
        target = folder / run.name
        shutil.copytree(finished, target)
        record = {"step": 99, "kind": "validation", "seconds": 1.0, "ci95": 0.01}
        record["accuracy"] = accuracies[f"{run.weighting}-{run.rate:g}"]
        with (target / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    return completed(options)


def test_each_weighting_has_its_best_rate(finished_run: Path, tmp_path: Path) -> None:
    validations = {"uniform-0.1": 0.5, "uniform-0.2": 0.7}
    validations |= {"pcgrad-0.1": 0.9, "pcgrad-0.2": 0.8}
    options = _copied(finished_run, tmp_path / "study", validations)
    found = weighting.measure(options)
    assert [(name, row["rate"]) for name, row in found.items()] == [
        ("uniform", 0.2),
        ("pcgrad", 0.1),
    ]
    own = read_own(finished_run)
    assert own is not None
    accuracy = float(np.mean(own.closed.outcome.accuracy))
    assert found["pcgrad"]["accuracy"] == pytest.approx(accuracy)
    assert found["pcgrad"]["gain"] == [0.0, 0.0, 0.0]  # the same run
    text = weighting.table(found)
    row = f"| pcgrad, rate 0.1 | 2 | 90.00 | {100 * accuracy:.2f} | +0.00 [+0.00, +0.0"
    assert row in text
    # A weighting of which one run failed has one seed, too few.
    assert list(weighting.measure(options, {"pcgrad-0.1-0": "no memory"})) == [
        "uniform"
    ]


@pytest.mark.slow
def test_the_study_is_made_and_taken_up_again(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from experiments import planned

    started = []

    def here(config: Config, run_dir: Path) -> None:
        started.append(run_dir.name)
        train(config, run_dir)

    def small(run: weighting.Run, options: Options) -> Any:
        config = toy.config(images, learner=weighting.WEIGHTINGS[run.weighting])
        own = dataclasses.replace(config.train, task_pool=options.pool, seed=run.seed)
        return weighting.resolve(dataclasses.replace(config, train=own))

    monkeypatch.setattr(weighting, "config_of", small)
    monkeypatch.setattr(planned, "train_in_a_process", here)
    options = dataclasses.replace(SMALL, output=tmp_path / "x", seeds=2)
    weighting.main(options)
    text = capsys.readouterr().out
    assert len(started) == 12
    assert (tmp_path / "x" / "table.md").read_text() == text
    found = json.loads((tmp_path / "x" / "results.json").read_text())
    assert set(found) == set(weighting.WEIGHTINGS)
    measured = [name for name, row in found.items() if row["conflicts"]]
    assert measured == ["uniform", "pcgrad", "cagrad", "upgrad"]
    weighting.main(options)
    assert len(started) == 12
    assert capsys.readouterr().out == text
