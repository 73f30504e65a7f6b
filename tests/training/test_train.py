"""The loop: resuming, divergence, plateaus, selection, devices."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from metabridge import build
from metabridge.config import MTLConfig, resolve
from metabridge.data import load_dataset
from metabridge.data.sampler import example_of
from metabridge.learners import State, variables_of
from metabridge.runs import folder as run_folder
from metabridge.runs.metrics import MetricsWriter, read_metrics
from metabridge.training import DivergenceError, RunError, train
from metabridge.training.checkpoint import Checkpoints, Progress
from metabridge.training.loop import plateau_rule
from metabridge.training.verify import verify
from tests import toy
from tests.training.conftest import Run
from tests.training.fake_run import assert_same_state, train_to_a_checkpoint


def restored(config, folder: Path, *, best: bool = False) -> tuple[Progress, State]:
    """The newest checkpoint of a run, or its best."""
    config = resolve(config)
    dataset = load_dataset(config.data.dataset)
    learner = build.learner(config, dataset)
    state = learner.init(jax.random.key(99), example_of(dataset))
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    found = checkpoints.restore(state, plateau_rule(config.train)[1], best=best)
    checkpoints.close()
    assert found is not None
    return found[0], found[1]


def test_a_run_learns_and_leaves_its_files(whole: Run) -> None:
    names = {path.name for path in whole.folder.iterdir()}
    assert names == {
        "config.json",
        "provenance.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "evaluation.npz",
        "result.json",
        "learning_curves.png",
        "test_task.png",
    }
    records = list(read_metrics(whole.folder, "train"))
    assert [record["step"] for record in records] == [2, 4, 6]
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    # Four tasks of 4 classes with 3 images each step.
    images = 6 * 4 * 4 * 3
    result = whole.result
    np.testing.assert_allclose(
        result["images_per_second"] * result["train_seconds"], images, rtol=1e-6
    )
    for name, in_result in (("seconds", "train_seconds"), ("cpu_seconds",) * 2):
        assert records[-1][name] == result[in_result]
    for kind in ("validation", "features"):
        steps = [record["step"] for record in read_metrics(whole.folder, kind)]
        assert steps == [2, 4, 6]
    of_test = {"test_cdnv", "test_cosine_same_class", "test_cosine_other_class"}
    assert result["features"].keys() == of_test


def test_a_resumed_run_equals_one_in_one_go(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self, step: int, kind: str, values) -> None:
        if (step, kind) == (6, "train"):
            raise KeyboardInterrupt
        write(self, step, kind, values)

    write = MetricsWriter.write
    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(whole.config, tmp_path / "run")
    assert restored(whole.config, tmp_path / "run")[0].step == 4
    result = train(whole.config, tmp_path / "run", resume=True)
    before, after = (
        restored(whole.config, folder) for folder in (whole.folder, tmp_path / "run")
    )
    assert before[0].step == after[0].step == 6
    for one, two in zip(*map(jax.tree.leaves, (before[1], after[1])), strict=True):
        np.testing.assert_array_equal(one, two)
    for name in ("accuracy", "ci95", "best_step", "validation_accuracy"):
        assert result[name] == whole.result[name]
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result == written | {"run_dir": str(tmp_path / "run")}
    assert len(list(read_metrics(tmp_path / "run", "features"))) == 3
    measured = {"train_cdnv", "validation_cosine_same_class", "head_norm_mean"}
    kinds = (("train", {"loss"}), ("validation", {"accuracy"}), ("features", measured))
    for kind, keys in kinds:
        one, two = (
            [{k: r[k] for k in keys} for r in read_metrics(folder, kind)]
            for folder in (whole.folder, tmp_path / "run")
        )
        assert one == two


@pytest.mark.extended
def test_a_run_is_the_same_without_measurements(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, function in (("train", "training"), ("scoring", "features")):
        module = sys.modules[f"metabridge.training.{name}"]
        monkeypatch.setattr(module, f"measure_{function}", lambda *_: lambda _: {})
    result = train(whole.config, tmp_path / "run")
    assert list(read_metrics(tmp_path / "run", "features")) == []
    for name in ("accuracy", "ci95", "best_step", "validation_accuracy"):
        assert result[name] == whole.result[name]
    folders = whole.folder, tmp_path / "run"
    assert_same_state(*(restored(whole.config, folder)[1] for folder in folders))


@pytest.mark.slow
def test_a_run_with_a_warm_up_and_averages_resumes_and_goes_on(
    images: Path, tmp_path: Path
) -> None:
    learner = MTLConfig(learn_scale=True, label_smoothing=0.1)
    options = {"warmup": 0.5, "average_decay": 0.9, "weight_decay": 0.1}
    config = resolve(toy.config(images, learner=learner, decay_all=False, **options))
    train(config, tmp_path / "whole")
    train_to_a_checkpoint(config, tmp_path / "run", step=2)
    assert restored(config, tmp_path / "run")[0].step == 2  # of 3 in the warm-up
    train(config, tmp_path / "run", resume=True)
    pair = [restored(config, tmp_path / name)[1] for name in ("whole", "run")]
    assert_same_state(*pair)
    means = variables_of(pair[0])["params"]["head"]["rows"]
    assert np.abs(means - pair[0].params["head"]["rows"]).max() > 1e-4
    longer = dataclasses.replace(config.train, steps=8)
    train(dataclasses.replace(config, train=longer), tmp_path / "run", resume=True)
    assert verify(tmp_path / "run", retrain=True)["reproduced"]


@pytest.mark.slow
def test_a_run_in_64_bit_mode_is_that_of_32(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    streamed = dataclasses.replace(whole.config.train, stream=True)
    jax.config.update("jax_enable_x64", True)  # of threads, too
    try:
        result = train(dataclasses.replace(whole.config, train=streamed), "run")
        assert jax.numpy.ones(1).dtype == jax.numpy.float64
    finally:
        jax.config.update("jax_enable_x64", False)
    for name in ("checkpoint", "dataset"):
        assert result["provenance"][name] == whole.result["provenance"][name]
    for name in ("accuracy", "pixel_centroid_accuracy", "validation_accuracy"):
        assert result[name] == whole.result[name]


def test_a_folder_that_holds_a_run_is_refused(whole: Run) -> None:
    files = {p: p.stat().st_mtime_ns for p in whole.folder.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"already holds a run: pass --resume"):
        train(whole.config, whole.folder)
    faster = dataclasses.replace(whole.config.train, learning_rate=0.5)
    other = dataclasses.replace(whole.config, train=faster)
    with pytest.raises(RunError, match=r"train\.learning_rate was 0\.01, is 0\.5"):
        train(other, whole.folder, resume=True)
    after = {p: p.stat().st_mtime_ns for p in whole.folder.rglob("*") if p.is_file()}
    assert after == files


def test_a_finished_run_is_not_run_again(
    whole: Run, caplog: pytest.LogCaptureFixture
) -> None:
    files = {p: p.stat().st_mtime_ns for p in whole.folder.rglob("*")}
    with jax.log_compiles():
        assert train(whole.config, whole.folder, resume=True) == whole.result
    assert not [r for r in caplog.records if "XLA compilation" in r.message]
    assert {p: p.stat().st_mtime_ns for p in whole.folder.rglob("*")} == files


def test_two_processes_in_a_folder_are_refused(whole: Run, tmp_path: Path) -> None:
    with (
        run_folder.locked(tmp_path / "run"),
        pytest.raises(RunError, match="another process is at work in"),
    ):
        train(whole.config, tmp_path / "run", resume=True)


@pytest.mark.extended
def test_divergence_stops_says_where_and_keeps_the_last_good_checkpoint(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = build.learner

    def broken(config, dataset, teacher):
        learner = make(config, dataset, teacher)

        def gradient(keys, state, batch):
            means = learner.gradient(keys, state, batch)
            loss = jax.numpy.where(state.step == 4, np.nan, means.loss)
            return means._replace(loss=loss)

        return learner._replace(gradient=gradient)

    monkeypatch.setattr(build, "learner", broken)
    with pytest.raises(DivergenceError, match=r"not finite at step 5; .*learning-rate"):
        train(whole.config, tmp_path / "run")
    monkeypatch.undo()
    progress, state = restored(whole.config, tmp_path / "run")
    assert progress.step == int(state.step) == 4
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.params))
    assert not (tmp_path / "run" / "result.json").exists()
    steps = [record["step"] for record in read_metrics(tmp_path / "run", "train")]
    assert steps == [2, 4]


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("evaluation", {"ways": 9}, "`ways` is 9, but split 'validation' of"),
        ("evaluation", {"queries": 7}, r"2 shots and 7 queries, 9 images.*has 8"),
        (
            "train",
            {"train_ways": 9},
            r"`train_ways` is 9, but split 'train' .* 8 classes",
        ),
        ("train", {"train_shots": 8}, r"8 shots and 1 queries, 9 images"),
        ("train", {"devices": 3}, r"`devices` is 3, .*divide `tasks_per_step` \(4\)"),
        ("model", {"model": "conv4"}, r"conv4 needs 16x16 .*has 8x8"),
        (
            "data",
            {"dataset": "mnist"},
            r"unknown dataset 'mnist'; known .*glyphs, .*omniglot",
        ),
        ("data", {"dataset": "folder:/no/such"}, r"/no/such"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    images: Path, tmp_path: Path, section: str, values: dict[str, Any], message: str
) -> None:
    config = toy.config(images)
    changed = dataclasses.replace(getattr(config, section), **values)
    config = dataclasses.replace(config, **{section: changed})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
