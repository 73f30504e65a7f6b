"""From names to parts: bodies, optimizers, heads, learners, devices."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import build
from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    HeadName,
    ModelConfig,
    MTLConfig,
    ResolvedEvaluation,
    ResolvedModel,
    TrainConfig,
    resolve,
)
from metabridge.learners import variables_of
from metabridge.models import MLP, Conv4, Conv4R2D2, ResNet12
from metabridge.parallel import devices
from metabridge.types import Examples
from tests import toy
from tests.own import OPTIONS


def body(*args: Any, **options: Any) -> ResolvedModel:
    return resolve(Config(model=ModelConfig(*args, **options))).model


def evaluation(**options: Any) -> ResolvedEvaluation:
    return resolve(Config(evaluation=EvaluationConfig(**options))).evaluation


def test_bodies() -> None:
    assert build.model(body(width=8), 32) == Conv4(8)
    assert build.model(body("mlp", width=9, depth=2), 8) == MLP(9, 2)
    large = build.model(body("resnet12", drop_rate=0.2), 84)
    assert large == ResNet12(drop_rate=0.2, block_size=5)
    assert build.model(body("conv4_r2d2"), 32) == Conv4R2D2()
    whole = build.model(body("resnet12", average_pool=False), 84)
    assert whole == ResNet12(block_size=5, average_pool=False)
    small = build.model(body("resnet12"), 32)
    assert small == ResNet12(drop_rate=0.1, block_size=2)


@pytest.mark.parametrize("name", ["conv4", "conv4_r2d2", "resnet12", "mlp"])
def test_bodies_take_rectangles(name: Any) -> None:
    config = resolve(Config(model=ModelConfig(name, width=8)))
    learner = build.learner(config, build.Shapes((16, 36, 3), 10))
    example = jnp.zeros((1, 16, 36, 3))
    state = jax.eval_shape(learner.init, jax.random.key(0), example)
    assert learner.frozen_body is not None
    features = jax.eval_shape(
        learner.frozen_body.embed, variables_of(state), jnp.zeros((2, 16, 36, 3))
    )
    assert features.shape[0] == 2


def test_bodies_in_half_precision() -> None:
    config = body(width=8, precision="bfloat16")
    assert build.model(config, 32) == Conv4(8, dtype=jnp.bfloat16)
    large = build.model(dataclasses.replace(config, model="resnet12"), 32)
    assert large == ResNet12(dtype=jnp.bfloat16)


@dataclasses.dataclass(frozen=True)
class Device:
    """What is asked of a device."""

    platform: str
    device_kind: str = "that"
    compute_capability: str = ""


@pytest.mark.parametrize(
    ("flags", "has"),
    [("fpu avx512_bf16", True), ("amx_bf16 amx_tile", True), ("avx512f", False)],
)
def test_half_precision_on_a_cpu_needs_its_instructions(
    flags: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(devices, "_CPUINFO", info)
    refused = pytest.raises(ValueError, match="without the flag avx512_bf16 or amx")
    with contextlib.nullcontext() if has else refused:
        build.check_precision(body(precision="bfloat16"), Device("cpu"))


@pytest.mark.parametrize(
    ("device", "has"),
    [
        (Device("tpu"), True),
        (Device("gpu", compute_capability="7.5"), False),
        (Device("gpu", compute_capability="8.0"), True),
        (Device("gpu", compute_capability="10.0"), True),
        (Device("gpu", compute_capability="gfx942"), True),
    ],
)
def test_half_precision_needs_its_hardware(device: Any, has: bool) -> None:
    config = body(precision="bfloat16")
    expectation = (
        contextlib.nullcontext()
        if has
        else pytest.raises(
            ValueError, match=r"`precision` is bfloat16, which that .*no"
        )
    )
    build.check_precision(body(), device)
    with expectation:
        build.check_precision(config, device)
    with pytest.raises(ValueError, match="mlp computes in float32"):
        build.check_precision(dataclasses.replace(config, model="mlp"), device)


def test_heads_and_their_numbers() -> None:
    features = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    labels = jnp.asarray([0, 0, 1, 1, 2, 2], jnp.int32)
    norms = {}
    for name in ("logistic", "ridge", "centroid"):
        for number in (0.01, 100.0):
            config = evaluation(head=name, C=number, penalty=number)
            head = build.head(config)
            assert head is not None
            assert head.name == name
            fitted = jax.jit(lambda x, y, head=head: head.fit(x, y, ways=3))
            classifier = fitted(features, labels)
            norms[name, number] = float(jnp.linalg.norm(classifier.weights))
    assert norms["logistic", 0.01] < 0.2 * norms["logistic", 100.0]
    assert norms["ridge", 100.0] < 0.2 * norms["ridge", 0.01]
    assert norms["centroid", 0.01] == norms["centroid", 100.0]

    attention = build.head(evaluation(head="attention"))
    assert attention is not None
    assert attention.name == "attention"


@pytest.mark.extended
@pytest.mark.parametrize("head", ["finetune", "attention"])
@pytest.mark.parametrize("name", OPTIONS)
def test_other_adaptations_fit_every_learner(name: str, head: HeadName) -> None:
    config = Config(
        learner=OPTIONS[name](),
        model=ModelConfig("mlp", width=16, depth=1),
        evaluation=EvaluationConfig(head=head),
    )
    built = build.learner(resolve(config), toy.dataset())

    def scores(inputs, labels):
        variables = variables_of(built.init(jax.random.key(0), inputs))
        adapted = built.adapt(variables, Examples(inputs, labels), ways=3)
        return built.logits(adapted, inputs)

    shapes = jnp.zeros((6, 64)), jnp.zeros(6, jnp.int32)
    assert jax.eval_shape(scores, *shapes).shape == (6, 3)


@pytest.mark.extended
@pytest.mark.parametrize("steps", [0, 1])
def test_fine_tuning_takes_its_steps_at_its_rate(steps: int) -> None:
    tuning = EvaluationConfig(head="finetune", finetune_steps=steps, finetune_rate=0.25)
    config = Config(model=ModelConfig("mlp", width=16, depth=1), evaluation=tuning)
    built = build.learner(resolve(config), toy.dataset())
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(4, 64)), jnp.float32)
    variables = variables_of(built.init(jax.random.key(0), inputs))
    support = Examples(inputs, jnp.asarray([0, 0, 1, 1], jnp.int32))
    adapted = jax.jit(lambda v, s: built.adapt(v, s, ways=2))(variables, support)
    (before,) = jax.tree.leaves(variables["params"]["body"])
    (after,) = jax.tree.leaves(adapted.body)
    # Adam's first step is its rate, whatever the gradient.
    np.testing.assert_allclose(jnp.abs(after - before).max(), steps * 0.25, rtol=1e-3)


@pytest.mark.extended
def test_a_test_task_has_the_steps_asked_for() -> None:
    def adapted(test_steps: int | None):
        config = Config(
            OPTIONS["maml"](inner_steps=3),
            model=ModelConfig("mlp", width=16, depth=1),
            evaluation=EvaluationConfig(ways=2, test_steps=test_steps),
        )
        built = build.learner(resolve(config), toy.dataset())
        inputs = jnp.asarray(np.random.default_rng(0).normal(size=(4, 64)), jnp.float32)
        variables = variables_of(built.init(jax.random.key(0), inputs))
        support = Examples(inputs, jnp.asarray([0, 0, 1, 1], jnp.int32))
        moved = built.adapt(variables, support, ways=2)["params"]["head"]["bias"]
        return float(jnp.abs(moved).max())

    assert adapted(None) == adapted(3)
    assert 0 < adapted(1) < adapted(3) < adapted(9)


@pytest.mark.parametrize(
    ("learner", "rotations", "shape"),
    [
        (MTLConfig(), False, (8, 16)),
        (MTLConfig(), True, (32, 16)),
        (MTLConfig(heads="shared", num_tasks=6), False, (6, 4, 16)),
        (MTLConfig(heads="independent", num_tasks=6), True, (6, 4, 16)),
    ],
)
def test_learners_have_heads_for_the_dataset(learner, rotations, shape) -> None:
    config = resolve(
        Config(
            learner=learner,
            data=DataConfig(rotations=rotations),
            model=ModelConfig("mlp", width=16, depth=1),
            train=TrainConfig(train_ways=4),
        )
    )
    dataset = toy.dataset()
    built = build.learner(config, dataset)
    example = jnp.zeros((1, *dataset.image_shape))
    heads = built.init(jax.random.key(0), example).params["head"]["rows"]
    assert heads.shape == shape
    alike = learner.heads == "shared"
    assert bool(np.all(heads[0] == heads[1])) is alike


def test_devices() -> None:
    config = resolve(Config(train=TrainConfig(tasks_per_step=6))).train
    assert [build.num_devices(config, n) for n in (1, 2, 3, 4, 8)] == [1, 2, 3, 2, 2]
    three = dataclasses.replace(config, devices=3)
    assert build.num_devices(three, 4) == 3
    for count, available in ((4, 8), (3, 2), (0, 4), (-1, 4)):
        bad = dataclasses.replace(config, devices=count)
        with pytest.raises(ValueError, match=f"`devices` is {count}, .* at most"):
            build.num_devices(bad, available)
