"""The parts of a run, before it begins."""

import contextlib
from pathlib import Path

import pytest

from metabridge.config import resolve
from metabridge.data import episodes
from metabridge.data.stream import TaskStream
from metabridge.training.assembly import parts_of, start_of, step_of
from tests import toy


@pytest.mark.parametrize("streamed", [False, True])
def test_a_step_is_compiled_for_what_a_run_starts_with(
    images: Path, streamed: bool
) -> None:
    parts = parts_of(resolve(toy.config(images, stream=streamed)))
    assert (parts.learner.name, parts.mesh.size) == ("mtl", 1)
    with contextlib.ExitStack() as closing:
        start = start_of(parts, closing)
        kind = TaskStream if streamed else episodes.ImageBank
        assert isinstance(start.images, kind)
        step = step_of(parts, start)
        state, told = step.run_steps(start.state, start.images, start.key, 0, 2)
    assert int(state.step) == 2
    assert told.loss.shape == (2,)
    assert step.memory_mb > 0
    assert step.compile_seconds > 0


def test_tasks_that_the_data_does_not_hold(images: Path) -> None:
    with pytest.raises(ValueError, match="`train_ways` is 9"):
        parts_of(resolve(toy.config(images, train_ways=9)))
