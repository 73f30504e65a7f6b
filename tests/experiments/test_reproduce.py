"""Reproduction: which runs there are, what is made of them, and that they resume."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments import planned, recipes
from experiments.reproduce import accuracy
from experiments.reproduce import jobs as jobs_module
from experiments.reproduce.__main__ import Options, main
from experiments.reproduce.jobs import Job, config_of, jobs
from experiments.reproduce.runs import nearest_recipe, read
from metabridge import train
from metabridge.config import Config, ModelConfig, images_per_step
from metabridge.evaluation.intervals import OPEN
from metabridge.runs.evaluation import FILE
from tests.experiments.made_runs import test_result as made_result
from tests.experiments.made_runs import write_run
from tests.kept import keep_evaluations


def test_jobs_train_no_body_twice() -> None:
    """MTL's tasks depend on the shots of the test, those of RFS do not."""
    options = Options(algorithms=("mtl", "rfs"), seeds=(0, 1), datasets=("fc100",))
    found = jobs(options)
    assert [job.name for job in found] == [
        f"{run}-{seed}"
        for seed in (0, 1)
        for run in ("mtl-fc100-1shot", "mtl-fc100-5shot", "rfs-fc100-5shot")
    ]
    assert [job.other_shots for job in found[:3]] == [(), (), (1,)]


def test_jobs_of_several_budgets() -> None:
    options = Options(algorithms=("mtl_fast",), seeds=(3,), datasets=("cifar_fs",))
    found = jobs(dataclasses.replace(options, images=(100_000, 200_000)))
    assert [job.name for job in found] == [
        f"mtl_fast-cifar_fs-5shot-3-{images}images" for images in (100_000, 200_000)
    ]
    (timed,) = jobs(dataclasses.replace(options, minutes=(0.5,)))
    assert timed.name == "mtl_fast-cifar_fs-5shot-3-0.5min"
    with pytest.raises(ValueError, match="`images` or `minutes` as the budget"):
        jobs(dataclasses.replace(options, images=(100,), minutes=(1.0,)))


def test_the_recipe_is_what_is_run() -> None:
    job = Job("mtl", "cifar_fs", 5, 2)
    config = config_of(job, Options(data_dir=Path("d")))
    recipe = recipes.recipe("mtl", "cifar_fs", 5)
    assert config.learner == recipe.learner
    assert config.model.model == "resnet12"
    assert vars(config.train) == vars(recipe.train) | {"seed": 2}
    assert config.data.data_dir == Path("d").absolute()


def test_budgets() -> None:
    images = Job("mtl", "cifar_fs", 5, 0, images=400_000)
    config = config_of(images, Options())
    assert config.train.steps * images_per_step(config.train) == 399_900
    assert config.train.schedule == "plateau"
    minutes = Job("mtl", "fc100", 1, 0, minutes=2.0)
    config = config_of(minutes, Options(body="conv4"))
    assert (config.train.steps, config.train.minutes) == (0, 2.0)
    # With equal times MTL's rate falls as far as the others'.
    assert (config.train.schedule, config.train.early_stop) == ("cosine", None)
    assert (config.model.model, config.model.width) == ("conv4", 64)
    images = Job("mtl_fast", "cifar_fs", 5, 0, images=64_000)
    config = config_of(images, Options(body="conv4"))
    assert config.train.train_sizes == ()  # Conv4 has features by pixels
    assert nearest_recipe(config)[:2] == ("mtl_fast", ("model=conv4",))


def cells(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_made_runs(tmp_path: Path) -> None:
    fast = {"images": 1_792_000, "model": {"precision": "bfloat16"}}
    for seed, reached in enumerate((0.84, 0.86)):
        run = write_run(
            tmp_path / f"fast-{seed}", **fast, accuracy=reached, train={"seed": seed}
        )
        (run / "evaluation-1shot.json").write_text(json.dumps(made_result(0.7, 1)))
    # A tenth of the images of MTL's recipe, stopped at half of its steps.
    write_run(tmp_path / "mtl", "mtl", images=798_000, cpu_seconds=None)
    write_run(
        tmp_path / "own",
        "rfs",
        images=3_840_000,
        accuracy=0.8,
        data={"augmentation": "none"},
    )
    found = accuracy.rows(read(tmp_path))
    assert [(row["shots"], len(row["runs"])) for row in found] == [
        (1, 2), (5, 1), (5, 2), (5, 1),
    ]  # fmt: skip
    text = accuracy.table(found)
    one, five = (
        cells(text, f"mtl_fast, precision=bfloat16 | cifar_fs | {n}") for n in (1, 5)
    )
    assert five[3:] == [
        "", "85.00 ± 0.30", "2 (± 1.41)", "1,792,000", "1", "finished",
        "fast-0, fast-1",
    ]  # fmt: skip
    assert one[4] == "70.00 ± 0.30"
    assert one[-1] == "fast-0, fast-1 (selected for 5 shots)"
    assert cells(text, "mtl")[3:] == [
        "84.1 ± 0.1", "60.00 ± 0.40 (validation, 400 tasks)", "1",
        "399,000 (5 % of the recipe's)", "not counted", "stopped at 50 %", "mtl",
    ]  # fmt: skip
    assert cells(text, "rfs, augmentation=none")[6] == "3,840,000"
    assert "not to be compared with the published" in text


def test_intervals_stand_where_runs_have_kept_their_tasks(tmp_path: Path) -> None:
    score = {"accuracy": 0.5, "ci95": 0.025, "tasks": 10}
    changes = {"model": {"model": "conv4"}, "images": 64_000}
    runs = {
        (recipe, seed): write_run(
            tmp_path / f"{recipe}-{seed}",
            recipe,
            accuracy=0.5,
            train={"seed": seed},
            **changes,
        )
        for recipe in ("mtl", "rfs")
        for seed in (0, 1)
    }
    text = accuracy.table(accuracy.rows(read(tmp_path)))
    assert "open" not in text
    assert "less mtl" not in text
    kept = dict(zip(runs, keep_evaluations(*runs.values()), strict=True))
    for run in runs.values():
        result = json.loads((run / "result.json").read_text()) | {"open": score}
        (run / "result.json").write_text(json.dumps(result))
    mtl, rfs = accuracy.rows(read(tmp_path))
    assert mtl["open"] == score
    assert mtl["difference"] is None
    over = mtl["over_seeds"]
    both = np.stack([kept["mtl", 0], kept["mtl", 1]])
    assert over["estimate"] == pytest.approx(both.mean())
    gaps = np.stack([kept["rfs", s] - kept["mtl", s] for s in (0, 1)]).mean(1)
    found = rfs["difference"]
    assert found["estimate"] == pytest.approx(gaps.mean())
    assert found["low"] < gaps.min() <= gaps.max() < found["high"]
    text = accuracy.table([mtl, rfs])
    assert OPEN in text
    cells_mtl = cells(text, mtl["recipe"])
    assert cells_mtl[5] == "50.00 ± 2.50"
    assert cells_mtl[6] == f"{100 * over['low']:.2f} to {100 * over['high']:.2f}"
    assert cells_mtl[7] == "–"
    assert cells(text, rfs["recipe"])[7].startswith(f"{100 * gaps.mean():+.2f} [")
    # One seed in common: 1.96 standard errors; runs on other tasks: nothing.
    (runs["rfs", 1] / FILE).unlink()
    _, rfs = accuracy.rows(read(tmp_path))
    gaps = np.float64(kept["rfs", 0]) - kept["mtl", 0]
    half = 1.96 * gaps.std(ddof=1) / math.sqrt(len(gaps))
    assert rfs["over_seeds"] is None
    assert rfs["difference"]["high"] == pytest.approx(gaps.mean() + half)
    keep_evaluations(runs["rfs", 0], seed=1)
    assert accuracy.rows(read(tmp_path))[1]["difference"] is None


def test_other_shots_of_another_checkpoint_or_split(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", accuracy=0.8)
    other = run / "evaluation-1shot.json"
    other.write_text(json.dumps(made_result(0.7, 1, best_step=6)))
    assert [row["shots"] for row in accuracy.rows(read(run))] == [5]
    # The run's own result is that for its own shots, with whatever head again.
    (run / "evaluation-5shot.json").write_text(json.dumps(made_result(0.1, 5)))
    assert [row["accuracy"] for row in accuracy.rows(read(run))] == [0.8]
    other.write_text(json.dumps(made_result(0.7, 1, split="validation")))
    with pytest.raises(ValueError, match="must be a result on the test split with 1"):
        read(run)


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    (row,) = accuracy.rows(read(tmp_path))
    assert (row["accuracy"], row["images"], row["core_hours"]) == (None, 0, 0)
    assert "| none yet |" in accuracy.table([row])


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no runs in"):
        main(Options(runs=tmp_path))
    with pytest.raises(ValueError, match="is no folder of runs"):
        main(Options(runs=tmp_path / "none"))


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
    monkeypatch.setattr(planned, "train_in_a_process", here)
    monkeypatch.setattr(jobs_module, "in_a_process", lambda f, *a: f(*a))
    return started


@pytest.mark.slow
def test_the_main_table_is_made_and_resumed(
    brief: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = Options(
        algorithms=("rfs",),
        datasets=("cifar_fs",),
        seeds=(0,),
        folder=tmp_path,
        quick=True,
    )
    main(options)
    table = capsys.readouterr().out
    assert "these numbers mean nothing" in table
    assert (tmp_path / "main.md").read_text() == table.removesuffix("\n")
    one, five = json.loads((tmp_path / "main.json").read_text())["rows"]
    assert [(row["shots"], row["trained_for_shots"]) for row in (one, five)] == [
        (1, 5), (5, 5),
    ]  # fmt: skip
    # One more seed trains that one alone.
    main(dataclasses.replace(options, seeds=(0, 1)))
    assert [path.name for path in brief] == [f"rfs-cifar_fs-5shot-{n}" for n in (0, 1)]
    reached = [
        json.loads((path / "result.json").read_text())["accuracy"] for path in brief
    ]
    assert f"| {50 * sum(reached):.2f} ± " in capsys.readouterr().out


def test_a_failed_run_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(planned, "_check_data", lambda _: None)
    monkeypatch.setattr(planned, "train_in_a_process", lambda *_: "no memory")
    options = Options(
        algorithms=("mtl",),
        datasets=("fc100",),
        seeds=(0,),
        folder=tmp_path,
        quick=True,
    )
    with pytest.raises(SystemExit, match=r"2 run\(s\) failed: no memory"):
        main(options)
    errors = json.loads((tmp_path / "main.json").read_text())["errors"]
    assert errors["mtl-fc100-5shot-0"] == "no memory"
