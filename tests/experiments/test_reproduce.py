"""Reproduction: which runs there are, what is made of them, and that they resume."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from experiments import recipes, reproduce
from experiments.reproduce import Job, Options
from metabridge import train
from metabridge.config import Config, ModelConfig


def test_jobs_of_the_main_table() -> None:
    options = Options(algorithms=("mtl", "rfs"), seeds=(0, 1))
    found = reproduce.jobs(options)
    assert len(found) == len({job.name for job in found}) == 2 * 2 * 2 * 2
    assert [job.seed for job in found] == [0] * 8 + [1] * 8
    assert found[0].name == "mtl-cifar_fs-1shot-0"


def test_jobs_of_the_efficiency_figure() -> None:
    found = reproduce.jobs(
        Options(table="efficiency", datasets=("cifar_fs",), seeds=(3,))
    )
    assert [job.algorithm for job in found] == ["metaoptnet"] + ["mtl"] * 5
    assert [job.share for job in found] == [None, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0]
    assert {job.shots for job in found} == {5}
    assert found[1].name == "mtl-cifar_fs-5shot-3-0.0625"
    # In one folder with the main table, whose MTL ends by another rule.
    whole = reproduce.jobs(Options(datasets=("cifar_fs",), seeds=(3,)))
    both = {job.name: job for job in found} | {job.name: job for job in whole}
    for job in (*found, *whole):
        a, b = (reproduce.config_of(j, Options()) for j in (job, both[job.name]))
        assert a == b


def test_the_recipe_is_what_is_run() -> None:
    job = Job("mtl", "cifar_fs", 5, 2)
    config = reproduce.config_of(job, Options(data_dir=Path("d")))
    recipe = recipes.recipe("mtl", "cifar_fs", 5)
    assert config.learner == recipe.learner
    assert config.model.model == "resnet12"
    assert vars(config.train) == vars(recipe.train) | {"seed": 2}
    assert config.data.data_dir == Path("d").absolute()


def test_budgets() -> None:
    quarter = Job("mtl", "cifar_fs", 5, 0, 0.25)
    options = Options(table="efficiency")
    config = reproduce.config_of(quarter, options).train
    whole = recipes.recipe("mtl", "cifar_fs", 5).train
    assert whole.steps is not None
    assert config.steps == round(whole.steps / 4)
    assert (config.schedule, config.early_stop) == ("cosine", None)
    timed = dataclasses.replace(options, minutes=8.0, body="conv4")
    config = reproduce.config_of(quarter, timed)
    assert (config.train.steps, config.train.minutes) == (0, 2.0)
    assert (config.model.model, config.model.width) == ("conv4", 64)
    # With equal times MTL's rate falls as far as the others'.
    main = dataclasses.replace(timed, table="main")
    config = reproduce.config_of(Job("mtl", "fc100", 1, 0), main)
    assert config.train.schedule == "cosine"


def told(accuracy: float, ci95: float, seconds: float) -> dict[str, Any]:
    return {
        "result": {"accuracy": accuracy, "ci95": ci95, "train_seconds": seconds},
    }


def test_a_cell_is_the_mean_over_seeds() -> None:
    found = reproduce.cell([told(0.8, 0.01, 60), told(0.84, 0.03, 180), {"error": "x"}])
    assert found is not None
    assert found["accuracy"] == pytest.approx(0.82)
    assert found["ci95"] == pytest.approx(0.02)
    assert found["std"] == pytest.approx(0.04 / 2**0.5)
    assert found["train_seconds"] == 120
    assert reproduce.cell([{"error": "x"}]) is None


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Runs of two steps of an MLP, in this process; their folders as they start."""
    started = []
    quick = recipes.quick

    def shorter(config: Config) -> Config:
        config = quick(config)
        pauses = {"steps": 2, "validate_every": 2, "validation_tasks": 4}
        return dataclasses.replace(
            config,
            model=ModelConfig("mlp", width=8, depth=1),
            data=dataclasses.replace(config.data, augmentation="none"),
            train=dataclasses.replace(config.train, **pauses),
            evaluation=dataclasses.replace(config.evaluation, tasks=8),
        )

    def here(config: Config, run_dir: Path) -> None:
        started.append(run_dir)
        train(config, run_dir, resume=True)

    monkeypatch.setattr(recipes, "quick", shorter)
    monkeypatch.setattr(reproduce, "train_in_a_process", here)
    return started


@pytest.mark.extended
def test_the_main_table_is_made_and_resumed(
    brief: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = Options(
        algorithms=("mtl",),
        datasets=("cifar_fs",),
        shots=(5,),
        seeds=(0,),
        folder=tmp_path,
        quick=True,
    )
    reproduce.main(options)
    table = capsys.readouterr().out
    assert "| mtl | cifar_fs | 5 | 84.1 ± 0.1 | " in table
    assert "these numbers mean nothing" in table
    assert (tmp_path / "main.md").read_text() == table.removesuffix("\n")
    (job,) = json.loads((tmp_path / "main.json").read_text())["jobs"]
    assert job["result"]["train_steps"] == 2
    # One more seed trains that one alone.
    reproduce.main(dataclasses.replace(options, seeds=(0, 1)))
    assert [path.name for path in brief] == [f"mtl-cifar_fs-5shot-{n}" for n in (0, 1)]
    accuracy = [
        json.loads((path / "result.json").read_text())["accuracy"] for path in brief
    ]
    assert f"| {50 * sum(accuracy):.2f} ± " in capsys.readouterr().out


@pytest.mark.slow
def test_the_efficiency_figure_is_drawn(brief: list[Path], tmp_path: Path) -> None:
    options = Options(
        table="efficiency", datasets=("fc100",), seeds=(0,), folder=tmp_path, quick=True
    )
    reproduce.main(options)
    assert len(brief) == 6
    assert (tmp_path / "efficiency.png").stat().st_size > 10_000
    text = (tmp_path / "efficiency.md").read_text()
    assert text.count("| mtl | fc100 |") == 5
    assert "| 0.0625 of the steps |" in text


def test_a_failed_run_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(reproduce, "train_in_a_process", lambda *_: "no memory")
    options = Options(
        algorithms=("mtl",),
        datasets=("fc100",),
        seeds=(0,),
        folder=tmp_path,
        quick=True,
    )
    with pytest.raises(SystemExit, match=r"2 run\(s\) failed: no memory"):
        reproduce.main(options)
    assert "| failed |" in capsys.readouterr().out
