"""Prediction sets of a fitted classifier: from images held out, or left out in turn."""

import dataclasses
import hashlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from metabridge.apply.adaptation import Adaptation, Inputs
from metabridge.apply.inputs import Arrays
from metabridge.evaluation import conformal
from metabridge.evaluation.calibration import probabilities
from metabridge.evaluation.conformal import ConformityScore
from metabridge.untrusted import quoted

_AT_ONCE = 2**22
"""Numbers of all classifiers' scores that are held at once."""


class HeldOut(NamedTuple):
    """Calibration images that the classifier was not fitted to."""

    scores: Float[np.ndarray, "n ways"]
    """Its scores of them."""
    codes: Int[np.ndarray, "n"]
    """Their classes."""


class LeftOut(NamedTuple):
    """A support of which each image was left out once, and scored then."""

    adapted: list[Any]
    """The n adaptations, each without one image."""
    scores: Float[np.ndarray, "n ways"]
    """Of the image that was left out, by the adaptation without it."""
    codes: Int[np.ndarray, "n"]
    """Classes of the images."""


def check(
    calibration: HeldOut | LeftOut, coverage: float, conformity_score: str
) -> None:
    """Refuse a coverage, a score, or too few images for the coverage.

    Raises:
      ValueError: the message says how many images are needed.
    """
    conformal.check_conformity_score(conformity_score)
    held_out = isinstance(calibration, HeldOut)
    what = "calibration images" if held_out else "images of the support"
    conformal.check_count(len(calibration.codes), coverage, what)


def leave_one_out(
    adaptation: Adaptation,
    source: Inputs,
    codes: Int[np.ndarray, "n"],
    classes: np.ndarray,
) -> LeftOut:
    """Adapt to all images but one, for each of them, and score that one.

    Raises:
      ValueError: a class with one image, which has none without it.
    """
    counts = np.bincount(codes, minlength=len(classes))
    if counts.min() < 2:
        single = classes.tolist()[int(counts.argmin())]
        raise ValueError(
            "leaving out one image after the other needs two of each class, but there "
            f"is one of {quoted(single)}: add another, or call `fit` with these and "
            "`calibrate` with other images"
        )
    source, adaptation = _as_features(source, adaptation)
    rows = source.read(0, len(source))
    adapted, scores = [], []
    for left_out in range(len(rows)):
        others = np.arange(len(rows)) != left_out
        kept = dataclasses.replace(source, rows=rows[others])
        one = dataclasses.replace(source, rows=rows[left_out : left_out + 1])
        adapted.append(adaptation.fit(kept, codes[others], len(classes)))
        scores.append(adaptation.scores(adapted[-1], one)[0])
    return LeftOut(adapted, np.stack(scores), codes)


def split_sets(
    calibration: HeldOut,
    scores: Float[np.ndarray, "N ways"],
    temperature: float,
    coverage: float,
    conformity_score: ConformityScore,
) -> Bool[np.ndarray, "N ways"]:
    """Sets by a threshold from the held-out images."""
    seen, new = _uniforms(calibration.scores, len(scores))
    of_seen, of_new = (
        conformal.score_classes(
            probabilities(logits, temperature), conformity_score, uniforms
        )
        for logits, uniforms in ((calibration.scores, seen), (scores, new))
    )
    own = conformal.of_labels(of_seen, calibration.codes)
    return conformal.prediction_sets(of_new, conformal.threshold(own, coverage))


def cross_sets(
    calibration: LeftOut,
    adaptation: Adaptation,
    source: Inputs,
    temperature: float,
    coverage: float,
    conformity_score: ConformityScore,
) -> Bool[np.ndarray, "N ways"]:
    """Sets by the adaptations that each have left out an image (jackknife+)."""
    source, adaptation = _as_features(source, adaptation)
    each = [adaptation.scores(adapted, source) for adapted in calibration.adapted]
    seen, new = _uniforms(calibration.scores, len(source))

    def scored(logits: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        predicted = probabilities(logits, temperature)
        shared = np.broadcast_to(uniforms, predicted.shape[:-1])
        return conformal.score_classes(predicted, conformity_score, shared)

    own = conformal.of_labels(scored(calibration.scores, seen), calibration.codes)
    size = max(_AT_ONCE // calibration.scores.size, 1)
    sets = []
    for start in range(0, len(source), size):
        part = slice(start, start + size)
        of_part = scored(np.stack([scores[part] for scores in each]), new[part])
        sets.append(conformal.cross_prediction_sets(own, of_part, coverage))
    return np.concatenate(sets)


def _as_features(source: Inputs, adaptation: Adaptation) -> tuple[Inputs, Adaptation]:
    """Images as the features of a frozen body, which are computed once."""
    if adaptation.features is None or adaptation.on_features is None:
        return source, adaptation
    return Arrays(adaptation.features(source)), adaptation.on_features


def _uniforms(
    scores: Float[np.ndarray, "n ways"], new: int
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "{new}"]]:
    """The numbers of adaptive sets, of calibration images and of new ones.

    The same for the same scores, and others for other tasks: a coverage holds over
    these numbers, too.
    """
    contents = hashlib.blake2b(np.ascontiguousarray(scores).data, digest_size=8)
    streams = np.random.default_rng(int.from_bytes(contents.digest())).spawn(2)
    return streams[0].random(len(scores)), streams[1].random(new)
