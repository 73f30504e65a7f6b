"""Task2Vec embedding of a few-shot task, compiled.

Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto, Perona. Task2Vec:
Task embedding for meta-learning. ICCV 2019, https://arxiv.org/abs/1902.03545.

The embedding of a task is the diagonal Fisher information of a fixed body, the probe,
once a softmax head has been fitted on its features of the task's images x. For a
parameter w it is ``mean over x of sum_c p(c|x) (d log p(c|x) / d w)^2``: the labels are
those of the model, and their expectation is exact, since classes are few. As in the
paper it is averaged over each filter, here every array of two axes or more over all but
its last; biases and the scales of norms are left out. Normalisation is that of
inference. The paper's own experiments estimate it by a variational bound instead, and
its published code from one sampled label an image and the gradient of a mini-batch.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from metabridge.data import augment, episodes
from metabridge.diversity.probe import Probe
from metabridge.heads import logistic
from metabridge.heads.base import Linear, logits
from metabridge.learners.base import Embed
from metabridge.types import TaskShape, Variables

_GRADIENTS = 1 << 20
"""Numbers held at once of gradients in the largest array; more leave a CPU's cache."""


def make_task_embedder(
    probe: Probe, shape: TaskShape
) -> Callable[[UInt8[np.ndarray, "S H W c"]], Float[np.ndarray, "F"]]:
    """Compile the embedding of a task from its support images, class by class.

    The head is logistic regression with C = 3 (`metabridge.heads.logistic`), MTL's.
    """
    variables = jax.device_put(probe.variables)
    labels = episodes.labels(shape.ways, shape.shots)

    def normalise(images: UInt8[Array, "N H W c"]) -> Float[Array, "N H W c"]:
        return augment.normalise(images, probe.mean, probe.std)

    @jax.jit
    def fit(variables: Variables, images: UInt8[Array, "S H W c"]) -> Linear:
        features = probe.embed(variables, normalise(images))
        return logistic(C=3.0).fit(features, labels, ways=shape.ways)

    @jax.jit
    def fisher(
        variables: Variables, classifier: Linear, images: UInt8[Array, "N H W c"]
    ) -> Float[Array, "N F"]:
        return filter_fisher(probe.embed, variables, classifier, normalise(images))

    largest = max(leaf.size for leaf in jax.tree.leaves(variables["params"]["body"]))
    at_once = max(_GRADIENTS // (shape.ways * largest), 1)

    def embed_task(images: UInt8[np.ndarray, "S H W c"]) -> Float[np.ndarray, "F"]:
        classifier = fit(variables, images)
        parts = np.array_split(images, math.ceil(len(images) / at_once))
        found = [np.asarray(fisher(variables, classifier, part)) for part in parts]
        return np.concatenate(found).mean(0)

    return embed_task


def filter_fisher(
    embed: Embed,
    variables: Variables,
    classifier: Linear,
    images: Float[Array, "N *X"],
) -> Float[Array, "N F"]:
    """Diagonal Fisher information of a body at each image, averaged over each filter.

    ``sum_c p(c|x) (d log p(c|x) / d w)^2`` with p the softmax of the classifier on the
    body's features. F counts the last axes of all arrays of two axes or more, in the
    order of the tree.
    """
    leaves, structure = jax.tree.flatten(variables["params"]["body"])
    kernels = [leaf for leaf in leaves if leaf.ndim > 1]

    def scores(kernels: list[Array], image: Float[Array, "*X"]) -> Float[Array, "ways"]:
        rest = iter(kernels)
        body = [next(rest) if leaf.ndim > 1 else leaf for leaf in leaves]
        params = {**variables["params"], "body": structure.unflatten(body)}
        features = embed({**variables, "params": params}, image[None])
        return logits(classifier, features)[0]

    def of_image(image: Float[Array, "*X"]) -> Float[Array, "F"]:
        found, pull_back = jax.vjp(lambda kernels: scores(kernels, image), kernels)
        p = jax.nn.softmax(found)

        def of_class(cotangent: Float[Array, "ways"]) -> Float[Array, "F"]:
            (gradients,) = pull_back(cotangent)
            means = [jnp.square(g).mean(tuple(range(g.ndim - 1))) for g in gradients]
            return jnp.concatenate(means)

        # Of log p(c|x) by the logits, e_c - p, times the root of p(c|x).
        cotangents = jnp.sqrt(p)[:, None] * (jnp.eye(len(p), dtype=p.dtype) - p[None])
        return jax.vmap(of_class)(cotangents).sum(0)

    with nn.intercept_methods(_differentiate_as_product):
        return jax.vmap(of_image)(images)


def _differentiate_as_product(
    next_call: Callable[..., Any], args: Any, kwargs: Any, context: Any
) -> Any:
    """Take the gradient of a plain convolution in its kernel by a product of patches.

    Where each image has a gradient of its own, that takes half the time of JAX's, which
    is a convolution of many groups. Values and other gradients stay what they are.
    """
    layer = context.module
    plain = (
        type(layer) is nn.Conv
        and context.method_name == "__call__"
        and layer.padding == "SAME"
        and layer.strides in (1, (1, 1), None)
        and layer.kernel_dilation in (1, None)
        and layer.input_dilation in (1, None)
        and layer.feature_group_count == 1
        and layer.dtype is None
        and not layer.use_bias
        and layer.mask is None
        and args[0].ndim == 4
    )
    if not plain:
        return next_call(*args, **kwargs)
    images, kernel = args[0], layer.get_variable("params", "kernel")
    fixed, layout = jax.lax.stop_gradient(kernel), ("NHWC", "HWIO", "NHWC")
    outputs = jax.lax.conv_general_dilated(
        images, fixed, (1, 1), "SAME", dimension_numbers=layout
    )
    patches = jax.lax.conv_general_dilated_patches(
        jax.lax.stop_gradient(images), kernel.shape[:2], (1, 1), "SAME",
        dimension_numbers=layout,
    )  # fmt: skip
    change = (kernel - fixed).transpose(2, 0, 1, 3)  # zero, as patches are ordered
    return outputs + patches @ change.reshape(-1, kernel.shape[-1])
