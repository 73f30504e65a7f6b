"""A body taken from a run is what the run has learned."""

import copy
import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from metabridge import build
from metabridge.apply import body as bodies
from metabridge.apply.body import from_run
from metabridge.config import Config, EvaluationConfig, resolve
from metabridge.learners import variables_of
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs
from metabridge.training import RunError, scoring
from tests.apply import bodies as toy_bodies


@pytest.mark.extended
def test_a_run_gives_the_best_checkpoint_and_the_normalisation(run: Path) -> None:
    body = from_run(run)
    config = run_folder.read_config(run)
    dataset = inputs.load_data(config)
    learner = build.learner(config, dataset)
    loaded = scoring.LoadedRun(run, config, dataset, learner)
    expected = variables_of(scoring.restore(loaded).state)
    jax.tree.map(np.testing.assert_array_equal, body.variables, expected)
    assert (body.mean, body.std) == (dataset.mean, dataset.std)
    assert body.shapes == ((8, 8, 1), 8, True)
    assert body.config == config
    assert copy.deepcopy(body) is body


@pytest.mark.extended
def test_features_are_those_of_the_learner(run: Path) -> None:
    body = from_run(run)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    features = body.embed(images)
    assert features.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    assert np.array_equal(features, body.embed(images))
    with pytest.raises(ValueError, match="is empty"):
        body.embed([])


def test_the_weight_that_a_run_has_chosen_is_kept() -> None:
    config = resolve(Config(evaluation=EvaluationConfig(head="ridge", tune_head=True)))
    kept = bodies.with_chosen_weight(config, {"penalty": 0.03, "accuracy": 0.5})
    assert (kept.evaluation.penalty, kept.evaluation.tune_head) == (0.03, False)
    fixed = resolve(Config(evaluation=EvaluationConfig(head="ridge")))
    assert bodies.with_chosen_weight(fixed, {"penalty": 0.03}) == fixed


@pytest.mark.extended
def test_a_run_without_a_result_is_taken_and_a_folder_without_a_run_is_not(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="holds no run"):
        from_run(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text("{")
    assert from_run(tmp_path / "run").about["result"] == {}


def test_images_are_read_as_those_of_the_run_were(tmp_path: Path) -> None:
    """By the options that its configuration holds, or the defaults."""
    body = toy_bodies.body("mtl", toy_bodies.dataset(channels=1), model="mlp")
    icon = Image.new("LA", (16, 16), (0, 0))
    deep = Image.fromarray(np.full((16, 16), 4095, np.uint16))
    found = body.checked([icon, deep]).read(0, 2)
    assert found.mean((1, 2, 3)).tolist() == [255, 16]
    reading = {"background": "#404040", "white_level": 4095.0, "max_pixels": 300}
    data = dataclasses.replace(body.config.data, **reading)
    body = dataclasses.replace(body, config=dataclasses.replace(body.config, data=data))
    found = body.checked([icon, deep]).read(0, 2)
    assert found.mean((1, 2, 3)).tolist() == [64, 255]
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"limit is 300 pixels .*; repair or re"):
        body.embed([tmp_path / "a.png"])
