"""Prediction sets of the classifier: by scikit-learn's heads, by hand, and coverage."""

import pickle
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from metabridge import FewShotClassifier
from metabridge.apply.estimator import NotFittedError
from tests.apply import bodies

WAYS = 4
NAMES = np.array(list("abcd"))


def draw(each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of noisy classes, and their names."""
    generator = np.random.default_rng([seed, 0])
    centres = 1.2 * np.random.default_rng(7).normal(size=(WAYS, 6))
    labels = np.repeat(np.arange(WAYS), each)
    noise = generator.normal(size=(len(labels), 6))
    return (centres[labels] + noise).astype(np.float32), NAMES[labels]


SUPPORT, QUERIES = draw(5, 0), draw(25, 1)
SEEN = draw(10, 2)


def codes(names: np.ndarray) -> np.ndarray:
    return np.searchsorted(NAMES, names)


def head(features: np.ndarray, names: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=3.0, tol=1e-12, max_iter=10_000).fit(features, names)


def test_sets_are_those_of_scikit_learns_head() -> None:
    ours = FewShotClassifier().fit(*SUPPORT).calibrate(*SEEN)
    theirs = head(*SUPPORT)
    own = theirs.predict_proba(SEEN[0])[np.arange(40), codes(SEEN[1])]
    limit = np.sort(1 - own)[36]  # ceil(41 * 0.9) = 37
    expected = 1 - theirs.predict_proba(QUERIES[0]) <= limit + 1e-4
    found = ours.predict_set(QUERIES[0])
    assert found.dtype == bool
    assert (found == expected).mean() > 0.99  # float32 near the limit
    with_temperature = FewShotClassifier(temperature=0.25).fit(*SUPPORT)
    logits = theirs.decision_function(QUERIES[0]) / 0.25
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predicted = with_temperature.predict_proba(QUERIES[0])
    np.testing.assert_allclose(predicted, odds, atol=5e-3)
    assert (with_temperature.predict(QUERIES[0]) == ours.predict(QUERIES[0])).all()


def test_sets_of_the_support_are_jackknife_plus_by_scikit_learn() -> None:
    ours = FewShotClassifier().fit_calibrate(*SUPPORT)
    features, names = SUPPORT
    below = np.zeros((len(QUERIES[0]), WAYS), int)
    for out in range(len(names)):
        others = np.arange(len(names)) != out
        left = head(features[others], names[others])
        own = 1 - left.predict_proba(features[out : out + 1])[0, codes(names)[out]]
        below += own < 1 - left.predict_proba(QUERIES[0])
    expected = below < 21 * 0.9
    assert (ours.predict_set(QUERIES[0]) == expected).mean() > 0.99
    plain = FewShotClassifier().fit(*SUPPORT)
    np.testing.assert_array_equal(
        ours.predict_proba(QUERIES[0]), plain.predict_proba(QUERIES[0])
    )


@pytest.mark.extended
@pytest.mark.parametrize("conformity_score", ["lac", "aps"])
def test_coverage_over_tasks(conformity_score: Any) -> None:
    """Of the half of each task's queries that do not calibrate the others."""
    held: dict[str, list[float]] = {"split": [], "cross": []}
    for task in range(40):
        (seen, seen_names), (new, new_names) = (
            draw(10, 100 + task),
            draw(10, 500 + task),
        )
        order = np.random.default_rng(task).permutation(80)
        rows, names = np.r_[seen, new][order], np.r_[seen_names, new_names][order]
        support = draw(4, 900 + task)
        split = FewShotClassifier().fit(*support).calibrate(rows[:39], names[:39])
        cross = FewShotClassifier().fit_calibrate(*support)
        for name, classifier in (("split", split), ("cross", cross)):
            sets = classifier.predict_set(rows[39:], 0.9, conformity_score)
            held[name].append(sets[np.arange(41), codes(names[39:])].mean())
    error = np.std(held["split"]) / np.sqrt(40)
    assert np.mean(held["split"]) == pytest.approx(0.9, abs=3.5 * error)
    assert np.mean(held["cross"]) > 0.85  # 0.8 is guaranteed


@pytest.mark.extended
def test_images_and_a_body() -> None:
    data = bodies.dataset()
    rows = data.test.labels < 3
    images, labels = data.test.images[rows], data.test.labels[rows]
    body = bodies.body("mtl", data)
    ours = FewShotClassifier(body)
    ours.fit(images[::2], labels[::2]).calibrate(images[1::2], labels[1::2])
    sets = ours.predict_set(images, 0.8)
    assert sets.shape == (len(images), 3)
    chosen = sets.argmax(1)[sets.sum(1) == 1]
    predicted = ours.predict(images)[sets.sum(1) == 1]
    np.testing.assert_array_equal(ours.classes_[chosen], predicted)
    crossed = ours.fit_calibrate(images[::2], labels[::2])
    assert crossed.predict_set(images, 0.8).shape == (len(images), 3)
    # The features of the support are those that the whole image would give.
    features = FewShotClassifier(C=body.config.evaluation.C)
    features.fit_calibrate(body.embed(images[::2]), labels[::2])
    expected = features.predict_set(body.embed(images), 0.8)
    assert (crossed.predict_set(images, 0.8) == expected).mean() > 0.95


@pytest.mark.extended
def test_a_body_that_is_adapted() -> None:
    data = bodies.dataset()
    rows = data.test.labels < 3
    images, labels = data.test.images[rows][::2], data.test.labels[rows][::2]
    ours = FewShotClassifier(bodies.body("mtl", data), head="finetune")
    ours.set_params(finetune_steps=1).fit_calibrate(images, labels)
    assert ours.predict_set(images, 0.7).shape == (len(images), 3)


def test_everything_is_deterministic_and_travels() -> None:
    ours = FewShotClassifier(temperature=0.5).fit(*SUPPORT).calibrate(*SEEN)
    sets = ours.predict_set(QUERIES[0], conformity_score="aps")
    again = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(again.predict_set(QUERIES[0], 0.9, "aps"), sets)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(ours.predict_set(QUERIES[0], 0.9, "aps"), sets)
    copy: Any = clone(ours)
    assert copy.get_params()["temperature"] == 0.5
    assert repr(ours) == "FewShotClassifier(temperature=0.5)"


def test_what_cannot_be_answered() -> None:
    ours = FewShotClassifier()
    with pytest.raises(NotFittedError, match="is not fitted"):
        ours.predict_set(QUERIES[0])
    with pytest.raises(NotFittedError, match="is not fitted"):
        ours.calibrate(*SEEN)
    ours.fit(*SUPPORT)
    with pytest.raises(NotFittedError, match="call `calibrate` with images that"):
        ours.predict_set(QUERIES[0])
    ours.calibrate(SEEN[0][::5], SEEN[1][::5])
    with pytest.raises(ValueError, match="needs 9 calibration images, but there are 8"):
        ours.predict_set(QUERIES[0])
    assert ours.predict_set(QUERIES[0], 0.8).any()
    for coverage in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\)"):
            ours.predict_set(QUERIES[0], coverage)
    wrong: Any = "raps"
    with pytest.raises((ValueError, TypeError)):
        ours.predict_set(QUERIES[0], 0.8, wrong)
    with pytest.raises(ValueError, match="the label 'z' is none of the 4 classes"):
        ours.calibrate(SEEN[0][:2], ["a", "z"])
    with pytest.raises(ValueError, match="there are 2 images, but 1 labels"):
        ours.calibrate(SEEN[0][:2], ["a"])
    with pytest.raises(
        ValueError, match="needs two of each class, but there is one of"
    ):
        FewShotClassifier().fit_calibrate(SUPPORT[0][4:], SUPPORT[1][4:])
    with pytest.raises(ValueError, match="needs 19 images of the support, but there"):
        FewShotClassifier().fit_calibrate(SUPPORT[0][:18], SUPPORT[1][:18]).predict_set(
            QUERIES[0], 0.95
        )
    for temperature in (0.0, -1.0, "warm"):
        with pytest.raises(ValueError, match="`temperature` is"):
            FewShotClassifier().set_params(temperature=temperature).fit(*SUPPORT)
    # A new task has to be calibrated anew.
    with pytest.raises(NotFittedError, match="is not calibrated"):
        ours.fit(*SUPPORT).predict_set(QUERIES[0])
