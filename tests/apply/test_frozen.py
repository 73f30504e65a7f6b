"""The classifier on features, and on those of a user's function."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.utils import estimator_checks

from metabridge import FewShotClassifier
from metabridge.apply.frozen import find_function

RNG = np.random.default_rng(0)
LABELS = np.repeat(["pen", "cup", "key"], 12)
FEATURES = (RNG.normal(size=(3, 8))[np.repeat(range(3), 12)]
            + 0.8 * RNG.normal(size=(36, 8)))  # fmt: skip


def test_features_as_scikit_learn_classifies_them() -> None:
    train, rest = slice(0, None, 2), slice(1, None, 2)
    X, y = FEATURES[train].astype(np.float32), LABELS[train]
    ours = FewShotClassifier(head="logistic", C=2.0).fit(X, y)
    # Without a penalty on the bias scikit-learn's solution is the same.
    theirs = LogisticRegression(C=2.0, tol=1e-8, max_iter=2000).fit(X, y)
    np.testing.assert_allclose(
        ours.predict_proba(FEATURES[rest]),
        theirs.predict_proba(FEATURES[rest].astype(np.float32)),
        atol=2e-3,
    )
    centroid = FewShotClassifier(head="centroid").fit(X, y)
    np.testing.assert_array_equal(
        centroid.predict(FEATURES[rest]),
        NearestCentroid().fit(X, y).predict(FEATURES[rest]),
    )
    ridge = FewShotClassifier(head="ridge").fit(X, y)
    accuracy = RidgeClassifier().fit(X, y).score(FEATURES[rest], LABELS[rest])
    assert abs(ridge.score(FEATURES[rest], LABELS[rest]) - accuracy) < 0.12


def halves(inputs: Any) -> np.ndarray:
    return np.stack([np.ravel(x)[::2] for x in inputs])


def test_a_function_gets_what_is_given() -> None:
    texts = ["a bb", "a b", "ccc dd", "cc d"]
    seen: list[Any] = []

    def embed(given: list[str]) -> list[list[int]]:
        seen.append(given)
        return [[len(word) for word in text.split()] for text in given]

    ours = FewShotClassifier(embed).fit(texts, [0, 0, 1, 1])
    assert seen == [texts]
    assert ours.predict(["ccc d"]).tolist() == [1]
    direct = FewShotClassifier(None).fit(halves(FEATURES), LABELS)
    by_function = FewShotClassifier(halves).fit(FEATURES, LABELS)
    np.testing.assert_array_equal(
        direct.decision_function(halves(FEATURES)),
        by_function.decision_function(FEATURES),
    )


def test_what_cannot_be_used() -> None:
    ours = FewShotClassifier()
    with pytest.raises(ValueError, match=r"`inputs` are \[8\], but must be \[N, D\]"):
        ours.fit(FEATURES[0], [0] * 8)
    with pytest.raises(ValueError, match="NaN or infinity"):
        ours.fit(np.full((4, 2), np.nan), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="pass numbers"):
        ours.fit([["a"], ["b"]], [0, 1])
    with pytest.raises(ValueError, match="`head` is finetune, which adapts a body"):
        ours.set_params(head="finetune").fit(FEATURES, LABELS)
    for function, message in {
        "no features": lambda x: np.zeros((len(x), 2, 2)),
        "of another length": lambda x: np.zeros((1, 2)),
        "NaN": lambda x: np.full((len(x), 2), np.nan),
    }.items():
        found = {
            "no features": r"must give features \[N, D\]",
            "of another length": "gave 1 rows of features for 36 inputs",
            "NaN": "gave NaN",
        }[function]
        with pytest.raises(ValueError, match=found):
            FewShotClassifier(message).fit(FEATURES, LABELS)


@pytest.mark.extended
@pytest.mark.parametrize(
    "name",
    [
        "check_classifiers_train", "check_classifiers_classes",
        "check_classifiers_one_label", "check_estimators_nan_inf",
        "check_n_features_in", "check_fit2d_1sample",
        "check_fit1d", "check_fit2d_predict1d", "check_estimators_pickle",
        "check_methods_subset_invariance", "check_dict_unchanged",
        "check_fit_idempotent", "check_estimators_dtypes", "check_complex_data",
        "check_methods_sample_order_invariance", "check_estimators_empty_data_messages",
    ],
)  # fmt: skip
def test_checks_of_scikit_learn(name: str) -> None:
    getattr(estimator_checks, name)("FewShotClassifier", FewShotClassifier())


def test_names_of_functions() -> None:
    assert find_function("tests.apply.test_frozen:halves") is halves
    for name in ("runs/first", "omniglot-conv4", "a:b/c", "halves"):
        assert find_function(name) is None
    with pytest.raises(ValueError, match="no function 'nothing'"):
        find_function("tests.apply.test_frozen:nothing")
    with pytest.raises(ValueError, match="there is no module 'nowhere_at_all'"):
        find_function("nowhere_at_all:f")
