"""Comparisons: equal budgets, checks before any training, processes, resuming."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import metabridge
from metabridge.comparison import run
from metabridge.config import (
    ANILConfig,
    Config,
    EvaluationConfig,
    LearnerOptions,
    MAMLConfig,
    MTLConfig,
    ResolvedConfig,
    TrainConfig,
    images_per_step,
    register,
    resolve,
    with_steps,
)
from metabridge.runs.folder import check_run, open_run
from metabridge.training import RunError
from metabridge.training.guards.preemption import Preempted
from tests import toy
from tests.comparison.fake import finished_run
from tests.own import OPTIONS, forgotten


def shared(images: Path, **train) -> Config:
    """What every learner can be trained and tested with on the toy images."""
    config = toy.config(images, **({"steps": None, "validate_every": None} | train))
    return dataclasses.replace(
        config, evaluation=EvaluationConfig(ways=4, shots=2, queries=3, tasks=12)
    )


def test_equal_minutes_by_default() -> None:
    configs = run.plan(list(OPTIONS), Config(), None)
    assert list(configs) == list(OPTIONS)
    assert all(config.algorithm == name for name, config in configs.items())
    budgets = {(c.train.minutes, c.train.steps) for c in configs.values()}
    assert budgets == {(1.0, 0)}
    longer = run.plan(["mtl"], Config(train=TrainConfig(minutes=3.0)), None)
    assert longer["mtl"].train.minutes == 3.0


def test_learners_have_options_of_their_own() -> None:
    configs = run.plan(["mtl", MAMLConfig(inner_lr=0.25)], Config(), None)
    assert configs["maml"].learner == MAMLConfig(inner_lr=0.25)
    assert configs["mtl"].learner == MTLConfig()


def test_learners_may_be_trained_in_ways_of_their_own() -> None:
    shared = TrainConfig(learning_rate=0.005, minutes=2.0)
    learners = ["mtl", (ANILConfig(inner_lr=0.25), {"learning_rate": 0.003})]
    mtl, anil = run.plan(learners, Config(train=shared), None).values()
    assert (mtl.train.learning_rate, anil.train.learning_rate) == (0.005, 0.003)
    assert (mtl.train.minutes, anil.train.minutes) == (2.0, 2.0)
    assert anil.learner == ANILConfig(inner_lr=0.25)
    sized = dataclasses.replace(shared, minutes=None)
    anil = run.plan(learners, Config(train=sized), 10_000)["anil"]
    assert (anil.train.minutes, anil.train.learning_rate) == (None, 0.003)


@pytest.mark.parametrize("field", run.COMMON)
def test_budget_and_validation_are_those_of_all(field: str) -> None:
    learners = ["mtl", (ANILConfig(), {"learning_rate": 0.01, field: 7})]
    with pytest.raises(ValueError, match=f"anil has `{field}` of its own, but"):
        run.plan(learners, Config(), None)


def test_an_unknown_field_of_training_is_named() -> None:
    with pytest.raises(ValueError, match=r"anil has \['rate'\], which no training has"):
        run.plan([(ANILConfig(), {"rate": 0.01})], Config(), None)


def test_equal_images() -> None:
    configs = run.plan(["mtl", "anil"], Config(), 10_000)
    for config in configs.values():
        step = images_per_step(config.train)
        assert 10_000 - step < (config.train.steps or 0) * step <= 10_000
        assert config.train.minutes is None
    assert len({config.train.steps for config in configs.values()}) == 2


@pytest.mark.parametrize(
    ("algorithms", "train", "images", "message"),
    [
        (["mtl", "maml++"], {}, None, r"unknown learner 'maml\+\+'; known are mtl"),
        (["mtl", "anil", "mtl"], {}, None, "'mtl, anil, mtl', but must be different"),
        (["maml", MAMLConfig(inner_lr=0.25)], {}, None, "'maml, maml', but must be"),
        ([], {}, None, "one at least"),
        (["mtl"], {"steps": 5}, None, "equal `minutes` or equal `images`"),
        (["mtl"], {"minutes": 1.0}, 500, "pass one of the two"),
        (["mtl"], {"minutes": -1.0}, None, r"`minutes` is -1\.0"),
        (["mtl"], {}, 0, "`images` is 0"),
    ],
)
def test_what_cannot_be_compared(
    algorithms: list, train: dict, images: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run.plan(algorithms, Config(train=TrainConfig(**train)), images)


@pytest.mark.extended
def test_runs_go_on_and_failures_are_kept(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def pretend(config: Config, run_dir: Path) -> str | None:
        started.append(config.algorithm)
        if config.algorithm == "maml":
            return "DivergenceError: too far"
        timed = dataclasses.replace(config, train=with_steps(config.train, 1))
        finished_run(run_dir, timed, 0.25, 0.5)
        return None

    monkeypatch.setattr(run, "train_in_a_process", pretend)
    config, folder = shared(images), tmp_path / "all"
    found = metabridge.compare(["maml", "mtl"], config, folder=folder)
    assert started == ["maml", "mtl"]
    errors = [entry["error"] for entry in found["runs"]]
    assert errors == [None, "DivergenceError: too far"]
    assert found["title"].endswith("4-way 2-shot, 1 min of training each")
    assert json.loads((folder / "compare.json").read_text()).items() <= found.items()
    assert "DivergenceError: too far" in (folder / "compare.md").read_text()
    assert (folder / "efficiency.png").exists()
    # Again, with one more: what is finished stays.
    metabridge.compare(["mtl", "anil", "maml"], config, folder=folder)
    assert started == ["maml", "mtl", "anil", "maml"]
    # Another budget in the same folder is refused before anything starts.
    other = shared(images, minutes=2.0)
    with pytest.raises(RunError, match=r"mtl holds .*minutes was 1\.0, is 2\.0"):
        metabridge.compare(["protonet", "mtl"], other, folder=folder)
    wide = dataclasses.replace(config, evaluation=EvaluationConfig(ways=9))
    with pytest.raises(ValueError, match="`ways` is 9"):
        metabridge.compare(["mtl"], wide, folder=tmp_path / "none")
    large = shared(images, train_sizes=((0.0, 99),))
    with pytest.raises(ValueError, match="must be at most 8, the pixels"):
        metabridge.compare(["mtl"], large, folder=tmp_path / "none")
    assert len(started) == 4
    assert not (tmp_path / "none").exists()


def test_a_half_done_comparison_of_equal_times_goes_on(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def pretend(config: ResolvedConfig, run_dir: Path) -> None:
        started.append(config.algorithm)
        steps = check_run(run_dir, config, resume=True).train.steps
        timed = dataclasses.replace(config, train=with_steps(config.train, 50))
        if not steps and config.algorithm == "maml":  # timed, and interrupted then
            open_run(run_dir, timed, resume=True)
            raise Preempted
        assert steps == (50 if config.algorithm == "maml" else 0)
        finished_run(run_dir, timed, 0.5)

    monkeypatch.setattr(run, "train_in_a_process", pretend)
    config, folder = shared(images), tmp_path / "all"
    with pytest.raises(Preempted):
        metabridge.compare(["mtl", "maml"], config, folder=folder)
    found = metabridge.compare(["mtl", "maml"], config, folder=folder)
    assert started == ["mtl", "maml", "maml"]
    assert [entry["error"] for entry in found["runs"]] == [None, None]


def test_a_dataset_of_arrays_is_saved_for_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.repeat(np.arange(12), 6)
    inputs = np.random.default_rng(0).standard_normal((72, 5)).astype(np.float32)
    split = np.repeat(["train", "validation", "test"], 24)
    dataset = metabridge.data.from_arrays(inputs, labels, split, name="mine")
    seen = []

    def pretend(config: ResolvedConfig, run_dir: Path) -> None:
        seen.append(metabridge.load_dataset(config.data.dataset).fingerprint())
        finished_run(run_dir, config, 0.5)

    monkeypatch.setattr(run, "train_in_a_process", pretend)
    evaluation = EvaluationConfig(ways=2, shots=2, queries=3, tasks=12)
    config = Config(train=TrainConfig(minutes=0.01), evaluation=evaluation)
    folder = tmp_path / "all"
    for _ in range(2):
        metabridge.compare(["mtl", "rfs"], config, folder=folder, dataset=dataset)
    assert seen == [dataset.fingerprint()] * 2
    other = metabridge.data.from_arrays(-inputs, labels, split, name="mine")
    with pytest.raises(ValueError, match=r"dataset\.npz holds another dataset"):
        metabridge.compare(["mtl", "rfs"], config, folder=folder, dataset=other)
    omniglot = dataclasses.replace(config, data=metabridge.DataConfig("omniglot"))
    with pytest.raises(ValueError, match="names the dataset 'omniglot'"):
        metabridge.compare(["mtl"], omniglot, folder=folder, dataset=dataset)


def die(config: Config, run_dir: Path) -> None:
    os._exit(9)


@pytest.mark.slow
def test_a_process_that_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_train", die)
    reason = run.train_in_a_process(resolve(Config()), Path("x"))
    assert reason == "the process was killed; perhaps the machine's memory ran out"
    configs = {"a": resolve(Config()), "b": resolve(Config())}
    reasons = dict(run.train_in_processes(configs, Path("x"), 1))
    assert reasons == {"a": reason, "b": reason}


@pytest.mark.extended
def test_a_process_of_its_own_trains(images: Path, tmp_path: Path) -> None:
    config = toy.config(images, steps=None, validate_every=None)
    planned = run.plan(["mtl"], config, 100)["mtl"]
    assert run.train_in_a_process(planned, tmp_path / "mtl") is None
    result = json.loads((tmp_path / "mtl" / "result.json").read_text())
    assert result["train_steps"] == 100 // images_per_step(planned.train)
    provenance = json.loads((tmp_path / "mtl" / "provenance.json").read_text())
    assert provenance["versions"]["jax"]


def test_the_reason_of_a_failure(images: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    reason = run._train(resolve(toy.config(images)), tmp_path)
    assert reason is not None
    assert reason.startswith("RunError: ")


_PARENT = """
import sys
from pathlib import Path
from jax._src import xla_bridge
from metabridge.comparison import run
from metabridge.config import Config, DataConfig, EvaluationConfig
from metabridge.config import ModelConfig, TrainConfig
from tests.own import OPTIONS

config = Config(
    data=DataConfig(dataset=f"folder:{sys.argv[1]}"),
    model=ModelConfig(model="mlp"),
    train=TrainConfig(train_ways=4, train_shots=2, train_queries=1),
    evaluation=EvaluationConfig(ways=4, shots=2, queries=3),
)
run._check(run.plan(list(OPTIONS), config, None), Path(sys.argv[2]))
assert not xla_bridge.backends_are_initialized()
"""


@pytest.mark.extended
def test_the_parent_leaves_the_devices_alone(images: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _PARENT, str(images), str(tmp_path / "all")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.usefixtures(forgotten.__name__)
def test_a_learner_defined_in_a_session_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defined = dataclasses.make_dataclass(
        "Mine", [], bases=(LearnerOptions,), frozen=True
    )
    defined.__module__ = "__main__"
    register("mine", defined, lambda model, optimizer: None)
    main = sys.modules["__main__"]  # a worker of pytest-xdist is a session itself
    monkeypatch.setattr(main, "__file__", "script.py", raising=False)
    run.plan(["mine"], Config(), None)  # a script is imported by its processes, too
    monkeypatch.delattr(main, "__file__")
    for algorithm in ("mine", defined()):
        with pytest.raises(ValueError, match=r"in a session.*into a module"):
            run.plan(["mtl", algorithm], Config(), None)
    run.plan(["mtl"], Config(), None)
