"""A trained body as a classifier in the style of scikit-learn, which it does not need.

classifier = metabridge.FewShotClassifier("runs/first")
classifier.fit(images, labels)
classifier.predict(new_images)
classifier.calibrate(more_images, more_labels).predict_set(new_images, coverage=0.9)
"""

import dataclasses
import os
from typing import Any

import numpy as np

from metabridge.apply import calibrated, loading
from metabridge.apply.body import Body
from metabridge.apply.frozen import Embed, Frozen
from metabridge.apply.inputs import Arrays, Images, codes_of, encode_labels
from metabridge.config import ResolvedConfig, ResolvedEvaluation, check
from metabridge.config.fields import Positive, hints_of, typed
from metabridge.evaluation.calibration import probabilities
from metabridge.evaluation.conformal import ConformityScore
from metabridge.precision import in_32_bits

_OPTIONS = ("head", "C", "penalty", "finetune_steps", "finetune_rate", "test_steps")
"""Options of the adaptation, as in `metabridge.EvaluationConfig`."""


class NotFittedError(ValueError, AttributeError):
    """`fit` has not been called; of the kinds that scikit-learn's error is of."""


@dataclasses.dataclass(eq=False, repr=False)
class FewShotClassifier:
    """Adapt a trained body to a new task, and classify images or other inputs.

    Images are ``[N, H, W, c]`` or ``[N, H, W]``, uint8, uint16 or floats in [0, 1]
    (rounded to 256 values), or a list of such images of any sizes, of paths, of files
    as bytes, or of Pillow images. They are read, resized and turned grey or to colour
    as the body's training images were. A body that was trained on other inputs takes
    numbers of their shape; without a body the inputs are features, ``[N, D]``.

    Labels are anything hashable. What is wrong with an option, inputs or labels is a
    ValueError of `fit` or `predict`. Everything is deterministic. `C`, `penalty`,
    `finetune_steps`, `finetune_rate` and `test_steps` are those of `EvaluationConfig`;
    by default they are as the run was tested.

    Args:
      body: folder of a run, a file that `export_body` wrote, a name of
        `pretrained_bodies` or `published_bodies`, or a `Body`; None for features; or
        any function from your inputs to features ``[N, D]``, such as a pretrained model
        of another library, which gets what `fit` and `predict` get.
      head: logistic, ridge, svm, centroid or attention on frozen features, with any
        number of classes; finetune; or learner, its own adaptation, which for
        learners with a meta-learned head takes as many classes as it was trained with.
      temperature: that logits are divided by in `predict_proba` and `predict_set`; by
        default 1. `metabridge evaluate --coverage` fits one to validation tasks.
      data_dir: where the dataset of the run is, if not where the run found it.

    Attributes:
      classes_: labels that were fitted, ``[ways]``, ascending where they have an order.
      body_: the body.
    """

    body: str | os.PathLike[str] | Body | Embed | None = None
    _: dataclasses.KW_ONLY
    head: str | None = None
    C: float | None = None
    penalty: float | None = None
    finetune_steps: int | None = None
    finetune_rate: float | None = None
    test_steps: int | None = None
    temperature: float | None = None
    data_dir: str | os.PathLike[str] | None = None

    _estimator_type = "classifier"

    @in_32_bits
    def fit(self, images: Any, labels: Any) -> "FewShotClassifier":
        """Adapt to a task, images of at least two classes with a label each."""
        self._fit(images, labels)
        return self

    @in_32_bits
    def fit_calibrate(self, images: Any, labels: Any) -> "FewShotClassifier":
        """Adapt to a task, and calibrate prediction sets on the same images.

        As `fit`, and once more without each of the images, which that adaptation then
        scores (jackknife+): the sets have at least ``1 - 2 (1 - coverage)``, mostly
        near `coverage`. At least two images of each class.
        """
        source, codes = self._fit(images, labels)
        adaptation = self.body_.adaptation(self._fitted_evaluation)
        self._calibration = calibrated.leave_one_out(
            adaptation, source, codes, self.classes_
        )
        return self

    @in_32_bits
    def calibrate(self, images: Any, labels: Any) -> "FewShotClassifier":
        """Calibrate prediction sets on images that were not fitted (split conformal).

        Of the classes that were, and drawn as the images to predict are: then sets have
        the coverage. At least ``ceil(1 / (1 - coverage)) - 1`` of them, 9 for 0.9. What
        `predict` and `predict_proba` give does not change.
        """
        scores = self._scores(images)
        codes = codes_of(labels, self.classes_, len(scores))
        self._calibration = calibrated.HeldOut(scores, codes)
        return self

    def predict(self, images: Any) -> np.ndarray:
        """The label of each image, ``[N]``."""
        scores = self._scores(images)
        return self.classes_[scores.argmax(1)]

    def decision_function(self, images: Any) -> np.ndarray:
        """Scores ``[N, ways]``; of two classes ``[N]``, positive for the second."""
        scores = self._scores(images)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, images: Any) -> np.ndarray:
        """Softmax of the scores, ``[N, ways]``, in the order of `classes_`.

        They are divided by the temperature first. Probabilities by the model of a
        logistic head, of attention, of centroids and of learned adaptations; of ridge
        regression and an SVM only an order.
        """
        return probabilities(self._scores(images), self._fitted_temperature)

    @in_32_bits
    def predict_set(
        self,
        images: Any,
        coverage: float = 0.9,
        conformity_score: ConformityScore = "lac",
    ) -> np.ndarray:
        """Classes of each image, True in ``[N, ways]``, in the order of `classes_`.

        After `calibrate` or `fit_calibrate`: conformal sets, which hold the right class
        of this share of images that are drawn as those of the calibration are.

        Args:
          images: as of `predict`.
          coverage: in (0, 1).
          conformity_score: "lac", the smallest sets on average, some of which may be
            empty; or "aps", larger ones for images that are hard, randomised, with
            numbers that are the same in each call.

        Raises:
          ValueError: too few calibration images for the coverage.
        """
        self._check_fitted()
        if self._calibration is None:
            raise NotFittedError(
                "this FewShotClassifier is not calibrated: call `calibrate` with "
                "images that were not fitted, or `fit_calibrate` instead of `fit`"
            )
        calibrated.check(self._calibration, coverage, conformity_score)
        options = (self._fitted_temperature, coverage, conformity_score)
        if isinstance(self._calibration, calibrated.HeldOut):
            scores = self._scores(images)
            return calibrated.split_sets(self._calibration, scores, *options)
        adaptation = self.body_.adaptation(self._fitted_evaluation)
        source = self._checked(images)
        return calibrated.cross_sets(self._calibration, adaptation, source, *options)

    def score(self, images: Any, labels: Any, sample_weight: Any = None) -> float:
        """Share of images classified right; weighted, if weights are given."""
        predicted = self.predict(images)
        given = list(labels)
        if len(given) != len(predicted):
            raise ValueError(
                f"there are {len(predicted)} images, but {len(given)} labels"
            )
        right = [bool(a == b) for a, b in zip(predicted, given, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name, as scikit-learn wants them; `deep` is ignored."""
        return {name: getattr(self, name) for name in _names()}

    def set_params(self, **params: Any) -> "FewShotClassifier":
        """Set options; the next `fit` takes them."""
        for name, value in params.items():
            if name not in _names():
                raise ValueError(
                    f"Invalid parameter {name!r}; known are {', '.join(_names())}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        options = {k: v for k, v in self.get_params().items() if v is not None}
        text = ", ".join(f"{k}={v!r}" for k, v in options.items() if k != "body")
        given = "Body(...)" if isinstance(self.body, Body) else repr(self.body)
        body = "" if self.body is None else given
        return f"FewShotClassifier({body}{', ' if body and text else ''}{text})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(
                two_d_array=self.body is None, three_d_array=self.body is not None
            ),
        )

    def _fit(self, images: Any, labels: Any) -> tuple[Images | Arrays, np.ndarray]:
        """Adapt; returns the images, checked, and the codes of their labels."""
        body = self._find_body()
        source = body.checked(images)
        classes, codes = encode_labels(labels, len(source))
        evaluation = self._evaluation(body.config, len(classes))
        given = 1.0 if self.temperature is None else self.temperature
        temperature = typed_option(Positive, given, "temperature")
        self._adapted = body.adaptation(evaluation).fit(source, codes, len(classes))
        self.body_, self.classes_ = body, classes
        if isinstance(source, Arrays):
            self.n_features_in_ = source.shape[0]
        self._fitted_evaluation = evaluation
        self._fitted_temperature = temperature
        self._calibration = None  # that of another task
        return source, codes

    @in_32_bits
    def _scores(self, images: Any) -> np.ndarray:
        self._check_fitted()
        adaptation = self.body_.adaptation(self._fitted_evaluation)
        return adaptation.scores(self._adapted, self._checked(images))

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("this FewShotClassifier is not fitted: call `fit`")

    def _checked(self, images: Any) -> Images | Arrays:
        """Images as the body takes them, of the shape that was fitted."""
        source = self.body_.checked(images)
        if isinstance(source, Arrays) and source.shape[0] != self.n_features_in_:
            raise ValueError(
                f"X has {source.shape[0]} features, but FewShotClassifier is expecting "
                f"{self.n_features_in_} features as input"
            )
        return source

    def _find_body(self) -> Body | Frozen:
        if self.body is None or (
            callable(self.body) and not isinstance(self.body, Body)
        ):
            return Frozen(self.body)
        return loading.cached(self.body, self.data_dir)

    def _evaluation(self, config: ResolvedConfig, ways: int) -> ResolvedEvaluation:
        """The options of the adaptation: those of the run but for what is given."""
        hints = hints_of(ResolvedEvaluation)
        options = {name: getattr(self, name) for name in _OPTIONS}
        given = {name: value for name, value in options.items() if value is not None}
        given = {name: typed_option(hints[name], given[name], name) for name in given}
        chosen = dataclasses.replace(config.evaluation, tune_head=False, **given)
        if chosen.head in ("learner", "own") and config.learner.fixed_ways:
            if ways != config.train.train_ways:
                raise ValueError(
                    f"{config.algorithm} has a meta-learned head of "
                    f"{config.train.train_ways} classes, but the labels have {ways}: "
                    'pass as many, or fit another head, for example `head="logistic"`'
                )
            chosen = dataclasses.replace(chosen, ways=ways)
        return check(dataclasses.replace(config, evaluation=chosen)).evaluation


def typed_option(hint: Any, value: Any, name: str) -> Any:
    """An option as `typed` has it; of another type it is a ValueError, too."""
    try:
        return typed(hint, value, name)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(FewShotClassifier)]
