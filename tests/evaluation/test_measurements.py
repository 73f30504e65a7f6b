"""What is measured beside accuracy: which images, features and heads, on few images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge import heads
from metabridge.data import Dataset
from metabridge.data.dataset import Split
from metabridge.evaluation.geometry import class_distance_variance, head_geometry
from metabridge.evaluation.measurements import (
    CLASSES,
    HEADS,
    IMAGES,
    measure_features,
    measure_heads,
    measure_training,
    subset_of,
)
from metabridge.learners import (
    Learner,
    MovingBody,
    anil,
    boil,
    class_table,
    finetune,
    maml,
    matching,
    mtl,
    protonet,
    rfs,
    task_heads,
    variables_of,
)
from metabridge.learners.body import with_head
from metabridge.models import MLP
from metabridge.types import TaskShape, Variables
from tests import toy
from tests.tolerance import assert_close

SHAPE = TaskShape(ways=3, shots=2, queries=3)
MODEL, RATE = MLP(16, 1), optax.sgd(0.1)
FEATURES = {"cdnv", "cosine_same_class", "cosine_other_class"}
OF_HEADS = {"head_condition_number", "head_norm_mean", "head_norm_std"}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return toy.dataset(spread=120)


def started(learner: Learner, dataset: Dataset) -> Variables:
    example = jnp.zeros((1, *dataset.image_shape))
    return variables_of(learner.init(jax.random.key(1), example))


def test_a_subset_is_spread_over_its_split() -> None:
    sizes = np.random.default_rng(0).integers(2, 40, 50)
    labels = np.repeat(np.arange(50, dtype=np.int32), sizes)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    split = Split(images, labels, tuple(map(str, range(50))))
    rows, of_subset, is_query = subset_of(split)
    assert len(set(rows)) == len(rows) <= CLASSES * IMAGES
    chosen = labels[rows]
    assert len(np.unique(chosen)) == CLASSES
    assert {0, 49} <= set(chosen)
    np.testing.assert_array_equal(np.unique(chosen, return_inverse=True)[1], of_subset)
    for label in range(CLASSES):
        queries = is_query[of_subset == label]
        assert len(queries) == min(IMAGES, sizes[chosen[of_subset == label][0]])
        assert queries.sum() - (~queries).sum() in (0, 1)


def test_features_are_those_before_adaptation(dataset: Dataset) -> None:
    learner = mtl(MODEL, RATE, heads=class_table(8))
    variables = started(learner, dataset)
    found = measure_features(learner, dataset, "train", "test")(variables)
    assert found.keys() == {f"{s}_{n}" for s in ("train", "test") for n in FEATURES}
    rows, labels, _ = subset_of(dataset.test)
    pixels = (dataset.test.images[rows] / 255.0 - dataset.mean) / dataset.std
    inputs, body = jnp.asarray(pixels, jnp.float32), variables["params"]["body"]
    plain = MODEL.apply({"params": body}, inputs, train=False)
    plain = np.asarray(plain, np.float64)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    expected = class_distance_variance(plain, labels)
    assert found["test_cdnv"] == pytest.approx(expected, rel=1e-4)
    assert measure_features(learner, dataset, "test")(variables) == {
        name: value for name, value in found.items() if name.startswith("test")
    }


def test_heads_of_training_are_measured_where_there_are_some(dataset: Dataset) -> None:
    apart = task_heads(4, 3, shared_init=False)
    for learner, rows_of in (
        (mtl(MODEL, RATE, heads=class_table(8)), lambda p: p["rows"][None]),
        (mtl(MODEL, RATE, heads=apart), lambda p: p["rows"]),
        (rfs(MODEL, RATE, num_classes=8), lambda p: p["kernel"].T[None]),
    ):
        variables = started(learner, dataset)
        rows = np.asarray(rows_of(variables["params"]["head"]), np.float64)
        expected = [value for value in head_geometry(rows) if np.isfinite(value)]
        found = measure_heads(learner, dataset, SHAPE)(variables)
        assert list(found.values()) == expected
        other = with_head(learner, heads.centroid())
        assert measure_heads(other, dataset, SHAPE)(variables) == found


def test_else_heads_of_validation_tasks(dataset: Dataset) -> None:
    """Nearest means of tasks: NumPy's, on features of the tasks that are drawn."""
    learner = protonet(MODEL, RATE)
    found = measure_heads(learner, dataset, SHAPE)(started(learner, dataset))
    assert found.keys() == OF_HEADS
    pixels = dataclasses.replace(dataset, mean=(0.0,), std=(1.0,))

    def flat(variables: Variables, inputs: jax.Array) -> jax.Array:
        return inputs.reshape(len(inputs), -1)

    body = with_head(learner._replace(adaptation=MovingBody(
        learner.adapt, learner.logits, flat
    )), heads.centroid())  # fmt: skip
    found = measure_heads(body, pixels, SHAPE)({})
    generator, rows = np.random.default_rng(0), []
    images = dataset.validation.images.reshape(toy.CLASSES["validation"], 8, -1) / 255
    for _ in range(HEADS):
        classes = generator.choice(toy.CLASSES["validation"], 3, replace=False)
        support = [images[c][generator.choice(8, 2, replace=False)] for c in classes]
        rows.append(2 * np.stack(support).mean(1))
    expected = head_geometry(np.stack(rows))
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("learner", "names"),
    [
        (maml(MODEL, RATE, ways=3, inner_steps=1), OF_HEADS),
        (anil(MODEL, RATE, ways=3, inner_steps=1, batch_norm="running"), OF_HEADS),
        # Its heads are one, so that their condition is not defined.
        (boil(MODEL, RATE, ways=3, inner_steps=1), {"head_norm_mean", "head_norm_std"}),
        (finetune(protonet(MODEL, RATE), MODEL, num_steps=1), set()),
        (matching(MODEL, RATE), set()),
    ],
    ids=["maml", "anil", "boil", "finetune", "matching"],
)
def test_heads_after_adaptation(
    learner: Learner, names: set[str], dataset: Dataset
) -> None:
    with jax.numpy_dtype_promotion("standard"):  # optax counts on it
        found = measure_training(learner, dataset, SHAPE)(started(learner, dataset))
    both = {f"{s}_{name}" for s in ("train", "validation") for name in FEATURES}
    assert found.keys() == both | names
    assert all(type(value) is float for value in found.values())


def test_nothing_of_a_learner_without_features(dataset: Dataset) -> None:
    learner = mtl(MODEL, RATE, heads=class_table(8))
    bare = learner._replace(adaptation=MovingBody(learner.adapt, learner.logits))
    assert measure_training(bare, dataset, SHAPE)({}) == {}
    assert measure_features(bare, dataset, "test")({}) == {}


def test_features_of_one_place_have_no_variance_that_is_defined(
    dataset: Dataset,
) -> None:
    learner = mtl(MODEL, RATE, heads=class_table(8))
    zeros = jax.tree.map(jnp.zeros_like, started(learner, dataset))
    found = measure_training(learner, dataset, SHAPE)(zeros)
    assert "train_cdnv" not in found
    assert "head_condition_number" not in found
    assert_close(found["validation_cosine_same_class"], 0.0)


def test_an_adaptation_that_diverges_ends_no_run(dataset: Dataset) -> None:
    learner = maml(MODEL, RATE, ways=3, inner_steps=1)
    variables = started(learner, dataset)
    params = variables["params"]
    broken = params | {"head": jax.tree.map(lambda x: x * jnp.nan, params["head"])}
    found = measure_training(learner, dataset, SHAPE)(variables | {"params": broken})
    assert len(found) == 6
    params = jax.tree.map(lambda x: x * jnp.nan, params)
    assert not measure_training(learner, dataset, SHAPE)(variables | {"params": params})
