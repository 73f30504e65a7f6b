"""A task adapted to by hand scores as in evaluation; batches do not count."""

import dataclasses

import jax
import numpy as np
import pytest

from metabridge.apply import adaptation
from metabridge.apply.inputs import check_images
from metabridge.data import augment, episodes
from metabridge.evaluation import evaluator
from metabridge.types import TaskShape
from tests.apply import bodies
from tests.own import OPTIONS

DATA = bodies.dataset()
SHAPE = TaskShape(bodies.SHAPE["ways"], bodies.SHAPE["shots"], bodies.SHAPE["queries"])
TASKS = 4


def scored_by_hand(body, key) -> float:
    """Mean accuracy on the tasks that evaluation draws with a key."""
    split = DATA.test
    index = episodes.class_index(split)
    labels = np.repeat(np.arange(SHAPE.ways, dtype=np.int32), SHAPE.shots)
    truth = np.repeat(np.arange(SHAPE.ways), SHAPE.queries)
    adapt = body.adaptation(body.config.evaluation)
    accuracies = []
    for task in jax.random.split(key, TASKS):
        drawn = episodes.sample_episode(
            task, index, SHAPE, max_size=int(split.images_per_class.max())
        )
        support = split.images[np.asarray(drawn.support).reshape(-1)]
        query = split.images[np.asarray(drawn.query).reshape(-1)]
        shape = DATA.image_shape
        adapted = adapt.fit(check_images(support, shape), labels, SHAPE.ways)
        scores = adapt.scores(adapted, check_images(query, shape))
        accuracies.append((scores.argmax(1) == truth).mean())
    return float(np.mean(accuracies))


FIRST = [("mtl", "logistic"), ("maml", "learner"), ("protonet", "learner")]
LATER = [
    *FIRST,
    *(("mtl", head) for head in ("finetune", "svm")),
    ("maml", "ridge"),
    *((name, "learner") for name in ("anil", "matching", "r2d2")),
]
LAST = [
    ("mtl", "attention"),
    ("rfs", "centroid"),
    *(
        (name, "learner")
        for name in ("boil", "meta_sgd", "reptile", "imaml", "metaoptnet")
    ),
]


@pytest.mark.extended
@pytest.mark.parametrize(
    ("algorithm", "head", "model"),
    [(*case, "mlp") for case in FIRST]
    + [pytest.param(*case, "conv4", marks=pytest.mark.slow) for case in LATER]
    + [pytest.param(*case, "conv4", marks=pytest.mark.slow) for case in LAST],
)
def test_accuracy_is_that_of_evaluation(algorithm: str, head: str, model: str) -> None:
    body = bodies.body(algorithm, DATA, model=model, head=head)
    evaluate = evaluator(body.learner(), DATA, DATA.test, SHAPE)
    key = jax.random.key(5)
    expected = evaluate(body.variables, key, TASKS).accuracy
    assert scored_by_hand(body, key) == pytest.approx(expected, abs=1e-6)
    assert 0.2 < expected < 1  # neither trivial nor blind


def test_every_learner_is_among_them() -> None:
    assert {name for name, _ in FIRST + LATER + LAST} == set(OPTIONS)


@pytest.mark.extended
def test_features_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    body = bodies.body("mtl", DATA, model="conv4")
    images = DATA.test.images[:13]
    learner = body.learner()
    assert learner.frozen_body is not None
    normalised = augment.normalise(jax.numpy.asarray(images), body.mean, body.std)
    expected = learner.frozen_body.embed(body.variables, normalised)
    for size in (1, 4, 512):
        monkeypatch.setattr(adaptation, "_batch_size", lambda _, size=size: size)
        found = dataclasses.replace(body).embed(images)  # compiled anew
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_compiled_is_kept() -> None:
    body = bodies.body("mtl", DATA)
    one = body.adaptation(body.config.evaluation)
    assert body.adaptation(dataclasses.replace(body.config.evaluation)) is one


def test_a_support_beyond_the_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adaptation.devices, "free_bytes", lambda: 10)
    body = bodies.body("maml", DATA)
    images = check_images(DATA.test.images[:6], DATA.image_shape)
    labels = np.arange(6, dtype=np.int32) % 3
    with pytest.raises(ValueError, match=r"B of memory, but .* pass fewer images"):
        body.adaptation(body.config.evaluation).fit(images, labels, 3)
