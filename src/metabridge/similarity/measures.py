"""Measures of how far two classifiers, or two layers, agree; in NumPy, float64."""

import numpy as np
from jaxtyping import Float, Int


def same_class(
    first: Int[np.ndarray, "T Q"], second: Int[np.ndarray, "T Q"]
) -> Float[np.ndarray, "T"]:
    """Share of the queries of each task that are given the same class."""
    return (first == second).mean(1, dtype=np.float64)


def kappa(
    observed: np.ndarray, first: np.ndarray, second: np.ndarray, ways: int
) -> np.ndarray:
    """Cohen's kappa, ``(observed - chance) / (1 - chance)``.

    Two classifiers that are right independently of each other with probabilities a and
    b, and wrong evenly over the other classes, name the same class by chance with
    probability ``a b + (1 - a) (1 - b) / (ways - 1)``. Cohen. A coefficient of
    agreement for nominal scales. Educational and Psychological Measurement, 1960;
    chance from accuracies as in Geirhos, Meding, Wichmann. Beyond accuracy: Quantifying
    trial-by-trial behaviour of CNNs and humans by measuring error consistency. NeurIPS
    2020, https://arxiv.org/abs/2006.16736. 1 where chance and observed are both 1.
    """
    chance = first * second + (1 - first) * (1 - second) / (ways - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (observed - chance) / (1 - chance)
    return np.where(chance >= 1.0, 1.0, found)


def divergence(
    first: Float[np.ndarray, "T Q ways"], second: Float[np.ndarray, "T Q ways"]
) -> Float[np.ndarray, "T"]:
    """Mean Jensen-Shannon divergence of the softmaxes of logits, in bits, in [0, 1].

    ``(KL(p, m) + KL(q, m)) / 2`` with ``m = (p + q) / 2``. Lin. Divergence measures
    based on the Shannon entropy. IEEE Transactions on Information Theory, 1991.
    """
    p, q = _softmax(first), _softmax(second)
    middle = (p + q) / 2
    return ((_kl(p, middle) + _kl(q, middle)) / 2).mean(1)


def logit_distance(
    first: Float[np.ndarray, "T Q ways"], second: Float[np.ndarray, "T Q ways"]
) -> Float[np.ndarray, "T"]:
    """Relative distance of the centred logits of each task.

    ``||A - B|| / sqrt((||A||^2 + ||B||^2) / 2)`` in Frobenius norms, of logits less
    their mean over the classes: 0 for equal logits, sqrt(2) for unrelated ones. It is
    the finite counterpart of the theory's relative gap, and like it depends on the
    scale of the logits. 0 where both are 0.
    """
    a, b = (_centred(logits) for logits in (first, second))
    norms = np.sqrt((np.square(a) + np.square(b)).sum((1, 2)) / 2)
    distances = np.sqrt(np.square(a - b).sum((1, 2)))
    return np.divide(distances, norms, out=np.zeros_like(norms), where=norms != 0)


def linear_cka(
    first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N E"]
) -> float:
    """Linear centred kernel alignment of two layers on the same N inputs, in [0, 1].

    ``||Y'X||^2 / (||X'X|| ||Y'Y||)`` in Frobenius norms, columns centred; it does not
    change with a rotation or a common scale. By way of the ``[N, N]`` Gram matrices,
    since layers are wider than N. The fewer inputs, the higher it is: D / (D + N) for
    two layers of D independent normal outputs. NaN if a layer is constant. Kornblith,
    Norouzi, Lee, Hinton. Similarity of neural network representations revisited. ICML
    2019, https://arxiv.org/abs/1905.00414.
    """
    return gram_cka(centred_gram(first), centred_gram(second))


def centred_gram(layer: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N N"]:
    """Gram matrix of a layer's outputs, their columns centred, of Frobenius norm 1."""
    wide = layer.astype(np.float64)
    wide -= wide.mean(0)
    gram = wide @ wide.T
    with np.errstate(invalid="ignore"):
        return gram / np.linalg.norm(gram)


def gram_cka(
    first: Float[np.ndarray, "N N"], second: Float[np.ndarray, "N N"]
) -> float:
    """`linear_cka` of two layers from their `centred_gram`."""
    return float((first * second).sum())


def _softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    exponents = np.exp(wide - wide.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return (p * np.log2(ratio)).sum(-1)


def _centred(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    return wide - wide.mean(-1, keepdims=True)
