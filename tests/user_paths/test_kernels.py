"""Kernels of one's own runs in the predictors, in a few lines of Python."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import metabridge
from metabridge import theory
from tests.user_paths.calls import command
from tests.user_paths.table import WAYS, training

Runs = Callable[[str], Path]


def tasks(run: Path, seed: int) -> theory.Tasks:
    """Two tasks of random images of the run's size, in uint8."""
    rng = np.random.default_rng(seed)
    shape = metabridge.load_body(run).shapes.input_shape
    images = rng.integers(0, 256, (2, 2, WAYS, *shape)).astype(np.uint8)
    labels = theory.one_hot(np.tile(np.arange(WAYS), (2, 1)), WAYS, centred=True)
    return theory.Tasks(images[:, 0], labels, images[:, 1], labels)


@pytest.mark.extended
@pytest.mark.parametrize("learner", ["anil", "mtl"])
def test_closeness_of_a_run(learner: str, trained: Runs) -> None:
    run = trained(learner)
    train, unseen = tasks(run, 0), tasks(run, 1)

    kernel = theory.empirical_of_run(run, outputs="full")
    flow = theory.gradient_flow("head", time=0.1)
    closeness = theory.compare(
        kernel, train, unseen, inner=flow, adaptation=flow, jitter=1e-6
    )

    assert np.isfinite(closeness.relative_gap)
    assert closeness.mtl[0].shape == (WAYS, WAYS)
    # ANIL's head is its own, with a bias; MTL's is new.
    assert (("head", "bias") in kernel.paths) == (learner == "anil")


@pytest.mark.extended
def test_a_network_of_a_run_is_its_body_and_a_head(trained: Runs) -> None:
    images = tasks(trained("mtl"), 0).query_x[0]
    features = np.asarray(
        metabridge.load_body(trained("mtl")).embed(images), np.float64
    )
    head = np.random.default_rng(3).standard_normal((features.shape[1], WAYS))
    found = theory.empirical_of_run(trained("mtl"), head_seed=3).function(images)
    # Those of MTL are of unit norm there.
    found, wanted = (
        values / np.linalg.norm(values, axis=1, keepdims=True)
        for values in (found, features @ head)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.extended
def test_a_run_begins_with_its_initial_parameters(
    trained: Runs, tmp_path: Path
) -> None:
    still = tmp_path / "still"
    assert command(*training("anil", str(still), "--learning-rate", "1e-12")) == 0
    images = tasks(still, 0).query_x[0]
    found, wanted = (
        theory.empirical_of_run(still, at)(images) for at in ("init", "best")
    )
    np.testing.assert_allclose(found.ntk, wanted.ntk, rtol=1e-5)
    moved = theory.empirical_of_run(trained("anil"), "best")(images)
    assert np.abs(moved.ntk - found.ntk).max() > 1e-4 * np.abs(found.ntk).max()
    shutil.rmtree(still / "checkpoints")
    with pytest.raises(ValueError, match="no checkpoint yet"):
        theory.empirical_of_run(still)
    theory.empirical_of_run(still, "init")
