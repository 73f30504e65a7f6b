"""Evaluation: intervals, the two routes to a score, and tasks that do not fit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge import evaluation, heads
from metabridge.data import Dataset, episodes
from metabridge.evaluation import features
from metabridge.learners import (
    Learner,
    MovingBody,
    anil,
    class_table,
    mtl,
    variables_of,
)
from metabridge.learners.body import with_flips
from metabridge.models import MLP
from metabridge.types import TaskShape
from tests import toy

SHAPE = TaskShape(ways=3, shots=2, queries=3)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return toy.dataset(spread=120)  # so hard that no score is 1


@pytest.fixture(scope="module")
def learner():
    return mtl(MLP(16, 1), optax.sgd(0.1), heads=class_table(8), head=heads.centroid())


@pytest.fixture(scope="module")
def variables(learner, dataset: Dataset):
    example = jnp.zeros((1, *dataset.image_shape))
    return variables_of(learner.init(jax.random.key(1), example))


def moving(learner: Learner) -> Learner:
    """The learner, taken for one that adapts its body."""
    return learner._replace(adaptation=MovingBody(learner.adapt, learner.logits))


def test_score_equals_numpys() -> None:
    accuracies = np.random.default_rng(0).uniform(0.3, 1, 321).astype(np.float32)
    result = evaluation.score(accuracies)
    wide = accuracies.astype(np.float64)
    deviation = np.sqrt(np.square(wide - wide.mean()).sum() / 320)
    np.testing.assert_allclose(result.accuracy, wide.mean(), rtol=1e-6)
    np.testing.assert_allclose(result.ci95, 1.96 * deviation / 321**0.5, rtol=1e-5)
    assert result.tasks == 321
    assert evaluation.score(np.array([0.5, 0.5])).ci95 == 0
    assert evaluation.score(np.array([0.0, 1.0])) == (0.5, 1.96 * 0.5, 2)


def test_intervals_hold_the_truth_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        result = evaluation.score(generator.binomial(15, 0.8, 200) / 15)
        inside.append(abs(result.accuracy - 0.8) < result.ci95)
    assert 0.935 < np.mean(inside) < 0.965


def drawn(dataset: Dataset, num_tasks: int = 12) -> evaluation.Tasks:
    return evaluation.draw_tasks(jax.random.split(KEY, num_tasks), dataset.test, SHAPE)


def by_hand(dataset: Dataset, features: np.ndarray, num_tasks: int) -> list[float]:
    """Accuracy of nearest centroid on each task the key draws, in NumPy."""
    index = episodes.class_index(dataset.test)
    accuracies = []
    for key in jax.random.split(KEY, num_tasks):
        drawn = episodes.sample_episode(key, index, SHAPE, max_size=toy.IMAGES)
        centroids = features[np.asarray(drawn.support)].mean(1)
        queries = features[np.asarray(drawn.query)].reshape(-1, features.shape[1])
        distances = np.square(queries[:, None] - centroids).sum(-1)
        right = distances.argmin(1) == np.repeat(np.arange(3), 3)
        accuracies.append(float(right.mean()))
    return accuracies


@pytest.mark.extended
def test_the_bank_the_direct_route_and_numpy_agree(
    dataset: Dataset, learner, variables
) -> None:
    bank = evaluation.evaluator(learner, dataset, dataset.test, SHAPE)
    direct = evaluation.evaluator(moving(learner), dataset, dataset.test, SHAPE)
    pixels = dataset.test.images / 255.0
    pixels = ((pixels - 0.5) / 0.2).reshape(len(pixels), -1)
    body = variables["params"]["body"]["NTKDense_0"]["kernel"]
    features = np.maximum(pixels @ np.asarray(body, np.float64), 0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    accuracies = by_hand(dataset, features, 12)
    assert 0.4 < np.mean(accuracies) < 0.97
    for evaluate in (bank, direct):
        result = evaluate(variables, KEY, 12)
        np.testing.assert_allclose(result.accuracy, np.mean(accuracies), rtol=1e-6)
        np.testing.assert_allclose(
            result.ci95, 1.96 * np.std(accuracies, ddof=1) / 12**0.5, rtol=1e-5
        )
        assert result.tasks == 12
    assert bank(variables, KEY, 12) == bank(variables, KEY, 12)
    assert bank(variables, KEY, 12) != bank(variables, jax.random.key(1), 12)


@pytest.mark.extended
def test_flips_average_the_features_of_mirror_images(
    dataset: Dataset, learner, variables
) -> None:
    flipped = with_flips(learner)
    pixels = (dataset.test.images / 255.0 - 0.5) / 0.2
    body = np.asarray(variables["params"]["body"]["NTKDense_0"]["kernel"], np.float64)

    def embed(images: np.ndarray) -> np.ndarray:
        found = np.maximum(images.reshape(len(images), -1) @ body, 0)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    features = (embed(pixels) + embed(pixels[:, :, ::-1])) / 2
    assert not np.allclose(features, embed(pixels), atol=0.01)
    assert flipped.embed is not None
    found = flipped.embed(variables, jnp.asarray(pixels, jnp.float32))
    np.testing.assert_allclose(found, features, rtol=1e-5, atol=1e-6)
    expected = np.mean(by_hand(dataset, features, 12))
    for one in (flipped, moving(flipped)):
        evaluate = evaluation.evaluator(one, dataset, dataset.test, SHAPE)
        result = evaluate(variables, KEY, 12)
        np.testing.assert_allclose(result.accuracy, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="mtl adapts it to each task: leave out"):
        with_flips(moving(learner))


def test_a_bank_that_does_not_fit_is_done_without(
    dataset: Dataset, learner, variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = evaluation.evaluator(learner, dataset, dataset.test, SHAPE)
    whole = evaluate(variables, KEY, 12)
    bank = len(dataset.test.images) * 16 * 4
    banks = []
    in_batches = evaluation.in_batches
    monkeypatch.setattr(
        features,
        "in_batches",
        lambda *rows: banks.append(rows) or in_batches(*rows),
    )
    monkeypatch.setattr(features.devices, "free_bytes", lambda: 3 * bank - 1)
    np.testing.assert_allclose(evaluate(variables, KEY, 12), whole, rtol=1e-6)
    assert not banks
    monkeypatch.setattr(features.devices, "free_bytes", lambda: 3 * bank)
    assert evaluate(variables, KEY, 12) == whole
    assert banks


@pytest.mark.extended
def test_the_best_of_several_heads_is_found(
    dataset: Dataset, learner, variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    centroid = heads.centroid()
    # Sees the classes, and names the next one.
    wrong = centroid._replace(logits=lambda *a: jnp.roll(centroid.logits(*a), 1, -1))
    options = {"variables": variables, "key": KEY, "num_tasks": 12}
    for offered, best in (
        ([wrong, centroid], 1),
        ([wrong, wrong, centroid, wrong], 2),
    ):
        place = (learner, offered, dataset, dataset.test, SHAPE)
        assert evaluation.best_head(*place, **options) == best
    # Nor does it matter whether the features of the split fit.
    monkeypatch.setattr(features.devices, "free_bytes", lambda: 1)
    place = (learner, [wrong, centroid], dataset, dataset.test, SHAPE)
    assert evaluation.best_head(*place, **options) == 1


@pytest.mark.extended
def test_a_meta_learned_head_adapts_on_the_bank_as_on_the_images(
    dataset: Dataset,
) -> None:
    learner = anil(
        MLP(16, 1),
        optax.sgd(0.1),
        ways=3,
        inner_lr=50.0,
        test_steps=20,
        batch_norm="running",
    )
    state = learner.init(jax.random.key(1), jnp.zeros((1, *dataset.image_shape)))
    scores = [
        evaluation.evaluator(one, dataset, dataset.test, SHAPE)(
            variables_of(state), KEY, 12
        )
        for one in (learner, moving(learner))
    ]
    assert 0.4 < scores[0].accuracy < 0.97
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_raw_score_is_that_of_raw_pixels(dataset: Dataset) -> None:
    result = evaluation.raw_score(dataset.test, heads.centroid(), SHAPE, drawn(dataset))
    pixels = (dataset.test.images / 255.0).reshape(-1, toy.SIZE**2)
    expected = np.mean(by_hand(dataset, pixels, 12))
    np.testing.assert_allclose(result.accuracy, expected, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 4, 5, 8, 11])
def test_batches_cover_every_row_once(count: int) -> None:
    sizes = []

    def double(rows: jax.Array) -> jax.Array:
        sizes.append(len(rows))
        return 2 * rows

    rows = jnp.arange(count, dtype=jnp.float32)[:, None]
    result = evaluation.in_batches(double, rows, 4)
    np.testing.assert_array_equal(result, 2 * np.asarray(rows))
    assert set(sizes) == {4}


def test_inputs_normalised_alike_share_what_is_compiled_to_embed(
    learner, dataset: Dataset
) -> None:
    embed = features.embedding(learner.embed, dataset)
    again = dataclasses.replace(dataset, name="again")
    assert features.embedding(learner.embed, again) is embed
    other = dataclasses.replace(dataset, mean=(0.25,) * len(dataset.mean))
    assert features.embedding(learner.embed, other) is not embed
