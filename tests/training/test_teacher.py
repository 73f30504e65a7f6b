"""Distillation from an earlier run: what is loaded, used, refused and not needed."""

import dataclasses
import importlib
import shutil
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from metabridge import build
from metabridge.config import (
    LearnerOptions,
    MTLConfig,
    ResolvedConfig,
    RFSConfig,
    resolve,
    with_data_dir,
)
from metabridge.data.sampler import example_of
from metabridge.evaluation import Score
from metabridge.files import write_json
from metabridge.learners import variables_of
from metabridge.runs import folder as run_folder
from metabridge.runs.inputs import load_data, make_keys
from metabridge.runs.metrics import read_metrics
from metabridge.training import RunError, train
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState
from metabridge.training.loop import plateau_rule
from metabridge.training.scoring import restore
from metabridge.training.teacher import load_teacher
from metabridge.training.unseen import LoadedRun
from metabridge.types import Variables
from tests import toy

train_module = importlib.import_module("metabridge.training.train")


def write_teacher(config: ResolvedConfig, folder: Path) -> Variables:
    """A run of RFS that has not learned anything yet, but has a checkpoint."""
    dataset = load_data(config)
    run_folder.open_run(folder, config, resume=False)
    init = jax.jit(build.learner(config, dataset).init)
    state = init(make_keys(config).init, example_of(dataset))
    checkpoints = Checkpoints(folder / "checkpoints")
    plateau = plateau_rule(config.train)[1]
    checkpoints.save(TrainState(Progress(1, 0.0, 0.5, 0.5, 0), state, plateau))
    checkpoints.close()
    return variables_of(state)


def taught_by(folder: Path, config: ResolvedConfig, **options) -> ResolvedConfig:
    learner = dataclasses.replace(config.learner, teacher=folder, **options)
    return dataclasses.replace(config, learner=learner)


@pytest.mark.extended
@pytest.mark.parametrize(
    "learner",
    [RFSConfig(), pytest.param(MTLConfig(row_norm=True), marks=pytest.mark.slow)],
)
def test_a_student_imitates_its_teacher_and_is_evaluated_without_it(
    learner: LearnerOptions,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = resolve(toy.config(images, learner=learner))
    variables = write_teacher(config, tmp_path / "teacher")
    student = taught_by(tmp_path / "teacher", config, distillation=1.0)
    loaded = load_teacher(student, load_data(config))
    chex.assert_trees_all_equal(loaded, variables)
    assert load_teacher(config, load_data(config)) is None
    # The seeds are the same, so the student starts as its teacher, where it rests.
    result = {"accuracy": 0.5, "ci95": 0.1}
    monkeypatch.setattr(train_module, "write_result", lambda *_: result)
    monkeypatch.setattr(
        train_module, "evaluator", lambda *_: lambda *_: Score(0.5, 0.1, 20)
    )
    train(student, tmp_path / "student")
    losses = [record["loss"] for record in read_metrics(tmp_path / "student", "train")]
    np.testing.assert_allclose(losses, 0.0, atol=1e-5)
    shutil.rmtree(tmp_path / "teacher")
    dataset = load_data(student)
    built = build.learner(student, dataset)
    run = LoadedRun(tmp_path / "student", student, dataset, built)
    assert restore(run).progress.step in (2, 4, 6)
    with pytest.raises(RunError, match="holds no run"):
        train(student, tmp_path / "another")


@pytest.mark.extended
def test_a_teacher_of_another_model_or_other_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    images, folder = toy.write_folder(tmp_path / "images"), tmp_path / "teacher"
    config = resolve(toy.config(images, learner=RFSConfig()))
    run_folder.open_run(folder, config, resume=False)
    student = taught_by(folder, config)
    with pytest.raises(RunError, match="teacher holds no checkpoint yet"):
        load_teacher(student, load_data(config))
    shutil.rmtree(folder)
    write_teacher(config, folder)
    other = dataclasses.replace(
        student,
        model=dataclasses.replace(config.model, width=17),
        data=dataclasses.replace(config.data, rotations=True),
    )
    with pytest.raises(RunError, match=r"model\.width is 16 .* 17 here; data\.rotat"):
        load_teacher(other, load_data(config))
    # The same images in another place are the same classes.
    fingerprint = load_data(config).fingerprint()
    made_by = {"provenance": {"dataset": {"fingerprint": fingerprint}}}
    shutil.copytree(images, tmp_path / "moved")
    moved = with_data_dir(student, tmp_path / "moved")
    with pytest.raises(RunError, match=r"data\.dataset is .*moved' here"):
        load_teacher(moved, load_data(moved))
    write_json(folder / "result.json", made_by)
    assert load_teacher(moved, load_data(moved)) is not None
    shutil.rmtree(images / "train" / "train_7")
    with pytest.raises(ValueError, match=r"holds \(8,\) for .*bias.* take \(7,\)"):
        load_teacher(student, load_data(config))


def test_a_teacher_with_other_heads_is_refused(images: Path, tmp_path: Path) -> None:
    config = resolve(toy.config(images, learner=MTLConfig()))
    write_teacher(config, tmp_path / "teacher")
    student = taught_by(tmp_path / "teacher", config, row_norm=True)
    with pytest.raises(RunError, match=r"learner\.row_norm is False there and True"):
        load_teacher(student, load_data(config))
