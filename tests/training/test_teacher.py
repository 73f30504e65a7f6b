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
    Config,
    LearnerConfig,
    MTLConfig,
    RFSConfig,
    resolve,
    with_data_dir,
)
from metabridge.data.sampler import example_of
from metabridge.evaluation import Score
from metabridge.learners import variables_of
from metabridge.runs import folder as run_folder
from metabridge.runs.metrics import read_metrics
from metabridge.training import RunError, setup, train
from metabridge.training.checkpoint.store import Checkpoints, Progress
from metabridge.training.scoring import best_variables
from metabridge.training.teacher import teacher_of
from metabridge.types import Variables
from tests import toy

loop = importlib.import_module("metabridge.training.train")


def write_teacher(config: Config, folder: Path) -> Variables:
    """A run of RFS that has not learned anything yet, but has a checkpoint."""
    dataset = setup.load(config)
    run_folder.open_run(folder, config, resume=False)
    init = jax.jit(build.learner(config, dataset).init)
    state = init(setup.keys_of(config).init, example_of(dataset))
    checkpoints = Checkpoints(folder / "checkpoints")
    plateau = setup.plateau_rule(config.train)[1]
    checkpoints.save(Progress(1, 0.0, 0.5, 0.5, 0), state, plateau)
    checkpoints.close()
    return variables_of(state)


def taught_by(folder: Path, config: Config, **options) -> Config:
    learner = dataclasses.replace(config.learner, teacher=folder, **options)
    return dataclasses.replace(config, learner=learner)


@pytest.mark.parametrize("learner", [RFSConfig(), MTLConfig(row_norm=True)])
def test_a_student_imitates_its_teacher_and_is_evaluated_without_it(
    learner: LearnerConfig,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = resolve(toy.config(images, learner=learner))
    variables = write_teacher(config, tmp_path / "teacher")
    student = taught_by(tmp_path / "teacher", config, distillation=1.0)
    loaded = teacher_of(student, setup.load(config))
    chex.assert_trees_all_equal(loaded, variables)
    assert teacher_of(config, setup.load(config)) is None
    # The seeds are the same, so the student starts as its teacher, where it rests.
    monkeypatch.setattr(loop, "finish", lambda *_: {})
    monkeypatch.setattr(loop, "evaluator", lambda *_: lambda *_: Score(0.5, 0.1, 20))
    train(student, tmp_path / "student")
    losses = [record["loss"] for record in read_metrics(tmp_path / "student", "train")]
    np.testing.assert_allclose(losses, 0.0, atol=1e-5)
    shutil.rmtree(tmp_path / "teacher")
    dataset = setup.load(student)
    built = build.learner(student, dataset)
    progress = best_variables(student, dataset, built, tmp_path / "student")[1]
    assert progress.step in (2, 4, 6)
    with pytest.raises(RunError, match="holds no run"):
        train(student, tmp_path / "another")


def test_a_teacher_of_another_model_or_other_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    images, folder = toy.write_folder(tmp_path / "images"), tmp_path / "teacher"
    config = resolve(toy.config(images, learner=RFSConfig()))
    run_folder.open_run(folder, config, resume=False)
    student = taught_by(folder, config)
    with pytest.raises(RunError, match="teacher holds no checkpoint yet"):
        teacher_of(student, setup.load(config))
    shutil.rmtree(folder)
    write_teacher(config, folder)
    other = dataclasses.replace(
        student,
        model=dataclasses.replace(config.model, width=17),
        data=dataclasses.replace(config.data, rotations=True),
    )
    with pytest.raises(RunError, match=r"model\.width is 16 .* 17 here; data\.rotat"):
        teacher_of(other, setup.load(config))
    # The same images in another place are the same classes.
    fingerprint = setup.load(config).fingerprint()
    made_by = {"provenance": {"dataset": {"fingerprint": fingerprint}}}
    shutil.copytree(images, tmp_path / "moved")
    moved = with_data_dir(student, tmp_path / "moved")
    with pytest.raises(RunError, match=r"data\.dataset is .*moved' here"):
        teacher_of(moved, setup.load(moved))
    run_folder.write_json(folder / "result.json", made_by)
    assert teacher_of(moved, setup.load(moved)) is not None
    shutil.rmtree(images / "train" / "train_7")
    with pytest.raises(ValueError, match=r"holds \(8,\) for .*bias.* take \(7,\)"):
        teacher_of(student, setup.load(config))


def test_a_teacher_with_other_heads_is_refused(images: Path, tmp_path: Path) -> None:
    config = resolve(toy.config(images, learner=MTLConfig()))
    write_teacher(config, tmp_path / "teacher")
    student = taught_by(tmp_path / "teacher", config, row_norm=True)
    with pytest.raises(RunError, match=r"learner\.row_norm is False there and True"):
        teacher_of(student, setup.load(config))
