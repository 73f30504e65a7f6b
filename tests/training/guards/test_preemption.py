"""Runs that are asked to stop: they save, say so, and go on where they were."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from metabridge.runs.metrics import MetricsWriter
from metabridge.training.guards import preemption
from metabridge.training.guards.preemption import EXIT_CODE, Preempted, watched
from metabridge.training.train import train
from tests import toy
from tests.training.processes import started
from tests.training.test_train import restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_once_and_then_has_its_effect(number: signal.Signals) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda given, frame: seen.append(given))
    try:
        with watched() as asked:
            assert not asked()
            os.kill(os.getpid(), number)
            assert asked()
            assert not seen
            os.kill(os.getpid(), number)
            assert seen == [number]
        os.kill(os.getpid(), number)
        assert seen == [number, number]  # all is as it was
    finally:
        signal.signal(number, before)


def test_a_thread_is_never_asked() -> None:
    told = []

    def ask() -> None:
        with watched() as asked:
            told.append(asked())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert told == [False]


@pytest.mark.extended
def test_preemption_ends_a_process_with_its_code() -> None:
    code = (
        "from metabridge.training.guards.preemption import Preempted; raise Preempted"
    )
    process = started("-c", code, devices=1)
    process.communicate(timeout=120)
    assert process.returncode == EXIT_CODE == preemption.os.EX_TEMPFAIL == 75


@pytest.mark.extended
def test_a_preempted_run_goes_on_as_if_it_had_not_been(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = toy.config(images, validate_every=3, log_every=2)
    write = MetricsWriter.write

    def asked(self: MetricsWriter, step: int, kind: str, values: Any) -> None:
        write(self, step, kind, values)
        if (step, kind) == (3, "validation"):
            os.kill(os.getpid(), signal.SIGTERM)

    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", asked)
        with pytest.raises(Preempted):
            train(config, tmp_path / "run")
    assert "asked to stop: saved at step 4; run the same command with --resume" in (
        capsys.readouterr().err
    )
    # After the step in hand, in the middle of a record.
    assert restored(config, tmp_path / "run")[0].step == 4
    # It lies between two validations, so it is not the best, however good.
    assert restored(config, tmp_path / "run", best=True)[0].step == 3
    train(config, tmp_path / "run", resume=True)
    whole, run = (restored(config, tmp_path / name) for name in ("whole", "run"))
    assert whole[0].step == run[0].step == 6
    for one, two in zip(*map(jax.tree.leaves, (whole[1], run[1])), strict=True):
        np.testing.assert_array_equal(one, two)
