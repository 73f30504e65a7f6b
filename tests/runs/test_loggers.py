"""Loggers: what they are told, and that a run does not end for them."""

import dataclasses
import importlib
import importlib.util
import json
import logging
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from metabridge.config import resolve
from metabridge.runs import folder as run_folder
from metabridge.runs.loggers import (
    Loggers,
    MLflowLogger,
    WandbLogger,
    _find_logger,
    find_loggers,
)
from metabridge.training import DivergenceError, Logger, train
from tests import toy

train_module = importlib.import_module("metabridge.training.train")


class Own:
    """Keeps what it is told, and fails where it is asked to."""

    def __init__(self, *, fails_in: str | None = None) -> None:
        self.told: list[Any] = []
        self._fails_in = fails_in

    def open(self, config, run_dir) -> None:
        self._do("open", (config, run_dir))

    def log(self, step, kind, values) -> None:
        self._do("log", (step, kind, values))

    def close(self, *, failed) -> None:
        self._do("close", failed)

    def _do(self, name: str, what: Any) -> None:
        self.told.append((name, what))
        if name == self._fails_in:
            raise RuntimeError("no network")


class FakeWandb(types.ModuleType):
    """What is used of the package."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.calls: list[Any] = []
        self.id = "abc"

    def init(self, **options: Any) -> "FakeWandb":
        self.calls.append(("init", options))
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.calls.append(("define_metric", (name, step_metric)))

    def log(self, values: dict[str, float]) -> None:
        self.calls.append(("log", values))

    def finish(self, *, exit_code: int) -> None:
        self.calls.append(("finish", exit_code))


class FakeMLflow(types.ModuleType):
    """What is used of the package."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, *arguments, options))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

        return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.mark.extended
def test_a_run_tells_a_logger_everything(images: Path, tmp_path: Path) -> None:
    own, config = Own(), toy.config(images)
    assert isinstance(own, Logger)
    result = train(config, tmp_path / "run", loggers=[own])
    assert own.told[0] == ("open", (resolve(config), tmp_path / "run"))
    assert own.told[-1] == ("close", False)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    written = [json.loads(line) for line in lines]
    told = [what for name, what in own.told if name == "log"]
    assert [
        {"step": step, "kind": kind, **values} for step, kind, values in told[:-1]
    ] == written
    scored = {name: result[name] for name in ("accuracy", "ci95")}
    assert told[-1] == (6, "test", scored)


@pytest.mark.extended
def test_failing_loggers_are_left_out_and_the_run_goes_on(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = [Own(fails_in=name) for name in ("open", "log", "close")]
    with caplog.at_level(logging.WARNING, "metabridge"):
        result = train(toy.config(images), tmp_path / "run", loggers=failing)
    assert result["train_steps"] == 6
    warnings = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert (
        warnings
        == ["Own has failed and is left out from here on: no network (RuntimeError)"]
        * 3
    )
    assert [len(logger.told) for logger in failing[:2]] == [1, 2]


@pytest.mark.extended
def test_a_run_that_fails_says_so(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*arguments: Any, **options: Any) -> None:
        raise DivergenceError("lost")

    monkeypatch.setattr(train_module, "fit", diverged)
    own = Own()
    with pytest.raises(DivergenceError):
        train(toy.config(images), tmp_path / "run", loggers=[own])
    assert own.told[-1] == ("close", True)


def test_weights_and_biases(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    (logger,) = find_loggers(["wandb"])
    assert isinstance(logger, WandbLogger)
    logger.open(toy.config(Path("images")), folder)
    name, options = fake.calls[0]
    assert name == "init"
    assert (options["project"], options["name"]) == ("metabridge", "run")
    assert (options["id"], options["resume"]) == (None, None)
    assert options["config"]["train.steps"] == 6
    assert options["config"]["algorithm"] == "mtl"
    assert options["config"]["data.dataset"] == "folder:images"
    json.dumps(options["config"])
    assert fake.calls[1:] == [
        ("define_metric", ("step", None)),
        ("define_metric", ("*", "step")),
    ]
    logger.log(3, "train", {"loss": 0.5})
    logger.close(failed=True)
    assert fake.calls[-2:] == [("log", {"step": 3, "train/loss": 0.5}), ("finish", 1)]
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    WandbLogger().open(toy.config(Path("images")), folder)
    again = fake.calls[-3][1]
    assert (again["id"], again["resume"], again["project"]) == ("abc", "allow", "mine")


def test_mlflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    (logger,) = find_loggers(["mlflow"])
    assert isinstance(logger, MLflowLogger)
    logger.open(toy.config(Path("images")), folder)
    assert fake.calls[0] == ("set_experiment", "metabridge", {})
    assert fake.calls[1] == ("start_run", {"run_name": "run"})
    assert fake.calls[2][1]["train.steps"] == 6
    logger.log(3, "train", {"loss": 0.5})
    logger.close(failed=False)
    assert fake.calls[3:] == [
        ("log_metrics", {"train/loss": 0.5}, {"step": 3}),
        ("end_run", "FINISHED", {}),
    ]
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    MLflowLogger().open(toy.config(Path("images")), folder)
    assert fake.calls[5:] == [("start_run", {"run_id": "r1"})]


def test_both_keep_their_names_in_one_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb())
    monkeypatch.setitem(sys.modules, "mlflow", FakeMLflow())
    (folder / "loggers.json").write_text("{")  # damaged: begun anew
    with Loggers(find_loggers(["wandb", "mlflow", "wandb"])) as loggers:
        loggers.open(toy.config(Path("images")), folder)
    names = json.loads((folder / "loggers.json").read_text())
    assert names == {"wandb": "abc", "mlflow": "r1"}


@pytest.mark.extended
def test_a_resumed_run_may_have_other_loggers(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", FakeMLflow())
    config = toy.config(images)
    run_folder.open_run(tmp_path / "run", resolve(config), resume=False)
    train(config, tmp_path / "run", resume=True, loggers=["mlflow"])
    assert (tmp_path / "run" / "loggers.json").is_file()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_said_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda asked, *rest: None if asked == name else found(asked, *rest),
    )
    config = toy.config(tmp_path / "no images there")
    with pytest.raises(ImportError, match=rf"pip install '\.\[{name}\]'"):
        train(config, tmp_path / "run", loggers=[name])
    assert not (tmp_path / "run").exists()


def test_names_once_and_any_object_of_ones_own() -> None:
    @dataclasses.dataclass
    class Own:  # which cannot be hashed
        def open(self, *_: object) -> None: ...

        def log(self, *_: object) -> None: ...

        def close(self, *, failed: bool) -> None: ...

    own: Any = Own()
    assert find_loggers([own, own]) == [own]
    with pytest.raises(ValueError, match="unknown logger 'comet'"):
        find_loggers("comet")


def test_what_is_no_logger() -> None:
    with pytest.raises(ValueError, match="unknown logger 'comet'; known are wandb"):
        find_loggers(["comet"])
    lacking: Any = types.SimpleNamespace(log=print)
    with pytest.raises(TypeError, match="lacks `open`, `log` or `close`"):
        _find_logger(lacking)
