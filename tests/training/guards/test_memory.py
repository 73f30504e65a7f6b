"""Memory of a step: measured, compared with what is there, refused."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import optax
import pytest

from metabridge.config import LearnerOptions, MAMLConfig, MTLConfig
from metabridge.learners import maml
from metabridge.models import MLP
from metabridge.training.guards import memory
from metabridge.training.train import train
from metabridge.types import Examples, Task
from tests import toy


def compiled_maml(inner_steps: int, *, rematerialise: bool = False):
    """The step of a MAML on one task of 2 ways with 512 supports and queries."""
    learner = maml(
        MLP(32, 2),
        optax.sgd(0.1),
        ways=2,
        inner_lr=0.1,
        inner_steps=inner_steps,
        rematerialise=rematerialise,
    )
    examples = Examples(
        jnp.ones((1, 512, 8)), jnp.arange(512, dtype=jnp.int32)[None] % 2
    )
    task = Task(
        examples,
        examples,
        jnp.arange(2, dtype=jnp.int32)[None],
        jnp.zeros(1, jnp.int32),
    )
    key = jax.random.key(0)
    state = learner.init(key, examples.inputs[0])
    return jax.jit(learner.step, donate_argnums=1).lower(key, state, task).compile()


@pytest.mark.slow
def test_inner_steps_cost_memory_and_rematerialising_saves_it() -> None:
    one, many, saved = (
        memory.check_fits(compiled_maml(steps, rematerialise=again), MAMLConfig())
        for steps, again in ((1, False), (12, False), (12, True))
    )
    assert many > 3 * max(one, saved)


@pytest.mark.parametrize(
    ("learner", "named", "not_named"),
    [
        (MAMLConfig(), ["--inner-steps", "--rematerialise"], []),
        (MAMLConfig(rematerialise=True), ["--inner-steps"], ["--rematerialise"]),
        (MTLConfig(), ["--train-queries"], ["--inner-steps", "--rematerialise"]),
    ],
)
def test_what_does_not_fit_is_refused_with_advice(
    learner: LearnerOptions,
    named: list[str],
    not_named: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = SimpleNamespace(
        argument_size_in_bytes=3_000_000_000,
        output_size_in_bytes=2_000_000_000,
        alias_size_in_bytes=1_500_000_000,
        temp_size_in_bytes=7_000_000_000,
    )
    compiled = jax.jit(jnp.sin).lower(1.0).compile()
    monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", lambda _: sizes)
    monkeypatch.setattr(memory.devices, "free_bytes", lambda: 7_500_000_000)
    assert memory.check_fits(compiled, learner) == 10_500.0
    monkeypatch.setattr(memory.devices, "free_bytes", lambda: 7_400_000_000)
    with pytest.raises(ValueError, match=r"needs 10\.5 GB.* are 10\.4 GB; lower") as no:
        memory.check_fits(compiled, learner)
    for option in [*named, "--tasks-per-step", "--train-shots"]:
        assert option in str(no.value)
    assert not any(option in str(no.value) for option in not_named)


@pytest.mark.extended
def test_a_run_is_refused_before_it_leaves_anything(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.devices, "free_bytes", lambda: 0)
    with pytest.raises(ValueError, match="a training step needs"):
        train(toy.config(images), tmp_path / "run")
    assert not (tmp_path / "run").exists()
