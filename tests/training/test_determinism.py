"""The same seed gives the same run, to the bit; another one does not."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge.runs.metrics import read_metrics
from metabridge.training.train import train
from tests.training.conftest import Run
from tests.training.test_train import restored

MEASURED = ("seconds", "cpu_seconds", "images_per_second")


def records(folder: Path) -> list[dict[str, float]]:
    return [
        {name: value for name, value in record.items() if name not in MEASURED}
        for kind in ("train", "validation")
        for record in read_metrics(folder, kind)
    ]


@pytest.mark.extended
def test_two_runs_of_a_seed_are_one(whole: Run, tmp_path: Path) -> None:
    results, states = {}, {}
    for seed in (0, 1):
        seeded = dataclasses.replace(whole.config.train, seed=seed)
        config = dataclasses.replace(whole.config, train=seeded)
        folder = tmp_path / str(seed)
        results[seed] = train(config, folder)
        states[seed] = restored(config, folder)[1]
    expected = restored(whole.config, whole.folder)[1]
    for one, two in zip(*map(jax.tree.leaves, (states[0], expected)), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()
    assert records(tmp_path / "0") == records(whole.folder)
    for name in ("accuracy", "ci95", "best_step", "validation_accuracy"):
        assert results[0][name] == whole.result[name]
    digests = [
        result["provenance"]["checkpoint"]["digest"]
        for result in (whole.result, results[0], results[1])
    ]
    # The time that training took is no part of what is digested.
    assert digests[0] == digests[1] != digests[2]
    assert records(tmp_path / "1") != records(whole.folder)
