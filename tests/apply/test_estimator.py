"""The classifier: scikit-learn's conventions, and its answers."""

import functools
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

import metabridge
from metabridge import FewShotClassifier
from metabridge.apply import Body
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs
from tests.apply import bodies

DATA = bodies.dataset()
ROWS = DATA.test.labels < 3
IMAGES, LABELS = DATA.test.images[ROWS], DATA.test.labels[ROWS]
NAMES = np.asarray(["pen", "cup", "key"])[LABELS]


@functools.cache
def untrained() -> Body:
    return bodies.body("mtl", DATA)


def fitted(body: Body | None = None, **options) -> FewShotClassifier:
    classifier = FewShotClassifier(body or untrained()).set_params(**options)
    return classifier.fit(IMAGES[::2], NAMES[::2])


def test_three_lines_on_a_run(run: Path) -> None:
    config = run_folder.read_config(run)
    split = inputs.load_data(config).test
    train = np.arange(len(split.images)) % 8 < 4
    names = np.asarray(split.class_names)[split.labels]
    classifier = metabridge.FewShotClassifier(run)
    classifier.fit(split.images[train], names[train])
    said = classifier.predict(split.images[~train])
    assert (said == names[~train]).mean() > 0.7  # chance is a quarter
    assert list(classifier.classes_) == sorted(split.class_names)


@pytest.mark.extended
def test_64_bit_mode_gives_the_answers_of_32() -> None:
    expected = fitted().decision_function(IMAGES)
    with jax.enable_x64(True):
        found = fitted().decision_function(IMAGES)
        features = untrained().embed(IMAGES[:2])
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(features, untrained().embed(IMAGES[:2]))


def test_the_logistic_head_is_that_of_scikit_learn_on_the_features() -> None:
    ours = fitted(C=2.0)
    features = untrained().embed(IMAGES)
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000)
    theirs.fit(features[::2], NAMES[::2])
    assert np.array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_allclose(
        ours.predict_proba(IMAGES), theirs.predict_proba(features), atol=2e-4
    )
    assert np.array_equal(ours.predict(IMAGES), theirs.predict(features))
    assert ours.score(IMAGES, NAMES) == theirs.score(features, NAMES)


def test_two_classes_have_one_score() -> None:
    two = LABELS < 2
    ours = FewShotClassifier(untrained()).fit(IMAGES[two], NAMES[two])
    scores = ours.decision_function(IMAGES)
    assert scores.shape == (len(IMAGES),)
    assert np.array_equal(scores > 0, ours.predict(IMAGES) == ours.classes_[1])
    assert fitted().decision_function(IMAGES).shape == (len(IMAGES), 3)


def test_probabilities_sum_to_one_and_rank_as_scores_do() -> None:
    for head in ("logistic", "centroid", "ridge", "svm", "attention"):
        ours = fitted(head=head)
        odds, scores = ours.predict_proba(IMAGES), ours.decision_function(IMAGES)
        np.testing.assert_allclose(odds.sum(1), 1)
        assert np.array_equal(odds.argmax(1), scores.argmax(1))


def test_the_same_data_give_the_same_answers() -> None:
    other: Any = clone(fitted())
    one, other = fitted(), other.fit(IMAGES[::2], NAMES[::2])
    assert np.array_equal(one.predict_proba(IMAGES), other.predict_proba(IMAGES))
    order = np.random.default_rng(0).permutation(len(IMAGES))
    np.testing.assert_allclose(
        one.predict_proba(IMAGES[order]), one.predict_proba(IMAGES)[order], atol=1e-6
    )


def test_an_image_alone_has_the_answer_that_it_has_among_others() -> None:
    ours = fitted()
    together = ours.predict_proba(IMAGES)
    for row in (0, 5):
        alone = ours.predict_proba(IMAGES[row : row + 1])
        np.testing.assert_allclose(alone, together[row : row + 1], atol=1e-6)


def test_options_as_scikit_learn_handles_them() -> None:
    ours = FewShotClassifier(untrained(), head="ridge", penalty=0.5)
    assert ours.get_params()["penalty"] == 0.5
    copy: Any = clone(ours)
    assert copy is not ours
    assert copy.get_params() == ours.get_params()
    assert ours.set_params(head="svm") is ours
    assert copy.head == "ridge"
    assert is_classifier(ours)
    with pytest.raises(ValueError, match="'depth'; known are body, head"):
        ours.set_params(depth=3)
    with pytest.raises(NotFittedError):
        check_is_fitted(ours)
    check_is_fitted(fitted())
    assert repr(ours) == "FewShotClassifier(Body(...), head='svm', penalty=0.5)"
    again = pickle.loads(pickle.dumps(fitted()))
    assert np.array_equal(again.predict(IMAGES), fitted().predict(IMAGES))


@pytest.mark.parametrize(
    "name",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_no_attributes_set_in_init",
        "check_set_params",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
    ],
)
def test_checks_of_scikit_learn_that_need_no_table(name: str) -> None:
    # The others fit rows of numbers, which are no images.
    getattr(estimator_checks, name)("FewShotClassifier", FewShotClassifier(untrained()))


@pytest.mark.parametrize("C", [2, np.int64(2), np.float32(2)])
def test_numbers_may_be_of_any_type(C: Any) -> None:
    assert fitted(C=C).score(IMAGES, NAMES) == fitted(C=2.0).score(IMAGES, NAMES)


@pytest.mark.extended
def test_in_cross_validation_a_search_and_a_pipeline() -> None:
    scores = cross_val_score(FewShotClassifier(untrained()), IMAGES, NAMES, cv=3)
    assert scores.shape == (3,)
    search = GridSearchCV(FewShotClassifier(untrained()), {"C": [0.1, 10.0]}, cv=2)
    assert search.fit(list(IMAGES), list(NAMES)).best_params_["C"] in (0.1, 10.0)
    darker = FunctionTransformer(lambda images: images // 2)
    pipeline = make_pipeline(darker, FewShotClassifier(untrained())).fit(IMAGES, NAMES)
    alone = FewShotClassifier(untrained()).fit(IMAGES // 2, NAMES)
    assert np.array_equal(pipeline.predict(IMAGES), alone.predict(IMAGES // 2))


def test_a_meta_learned_head_takes_its_own_number_of_classes() -> None:
    body = bodies.body("maml", DATA)
    assert fitted(body).score(IMAGES, NAMES) > 0
    ours = FewShotClassifier(body)
    two = LABELS < 2
    with pytest.raises(
        ValueError, match=r"3 classes, but the labels have 2: .*logistic"
    ):
        ours.fit(IMAGES[two], NAMES[two])
    ours.set_params(head="logistic").fit(IMAGES[two], NAMES[two])
    assert len(ours.classes_) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "forest"}, "`head` is 'forest'.*logistic"),
        ({"C": "large"}, "`C` is 'large', of type str, but must be a number"),
        ({"head": "finetune", "finetune_steps": 2.5}, "`finetune_steps` is 2.5"),
        ({"head": "learner"}, "mtl has no adaptation of its own"),
        ({"C": 0.0}, "`C` is 0.0"),
        ({"head": "finetune", "finetune_steps": -1}, "`finetune_steps` is -1"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(**options)


def test_calls_that_cannot_be_answered() -> None:
    with pytest.raises(ValueError, match="not fitted: call `fit`"):
        FewShotClassifier(untrained()).predict(IMAGES)
    with pytest.raises(ValueError, match="24 images, but 3 labels"):
        FewShotClassifier(untrained()).fit(IMAGES, ["a", "b", "a"])
    with pytest.raises(ValueError, match="24 images, but 3 labels"):
        fitted().score(IMAGES, ["a", "b", "a"])


def test_weights_of_the_score() -> None:
    ours, weights = fitted(), np.arange(len(IMAGES))
    right = ours.predict(IMAGES) == NAMES
    expected = (right * weights).sum() / weights.sum()
    assert ours.score(IMAGES, NAMES, weights) == pytest.approx(expected)
