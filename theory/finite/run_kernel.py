"""Empirical tangent kernels of the networks of runs, before and after their training.

What trains and applies bodies is imported when a run is first asked for.
"""

import dataclasses
import os
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metabridge.precision import in_32_bits
from metabridge.theory.kernels.empirical import (
    DType,
    EmpiricalKernel,
    Outputs,
    empirical,
)
from metabridge.theory.kernels.flax_networks import cast
from metabridge.theory.types import check_choice, check_whole
from metabridge.types import Variables

At = Literal["init", "best"]


class _Network(NamedTuple):
    """The configuration and variables of a run, and how inputs are normalised."""

    config: Any
    input_shape: tuple[int, ...]
    images: bool
    """Inputs are images, not features or other arrays."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    variables: Variables


def empirical_of_run(
    run: str | os.PathLike[str],
    at: At = "best",
    *,
    ways: int | None = None,
    outputs: Outputs = "trace",
    block: int = 32,
    dtype: DType = "float64",
    max_bytes: float = 4e9,
    head_seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
) -> EmpiricalKernel:
    """The empirical tangent kernel of a run's network: its body and a linear head.

    The head is that of the learner where it has one of the ways asked for, as MAML,
    ANIL and BOIL have, with its bias. Otherwise, as of MTL, whose heads are of its
    training tasks or classes, it is a new one in the NTK parametrisation, ``f =
    features . w / sqrt(D)`` with D features and standard normal w (an MLP's features
    carry that factor already). Features are those of the body, not of unit norm, and
    batch normalisation keeps its running statistics: at "init" these are a mean of 0
    and a variance of 1, so that it is idle.

    Inputs are images ``[N, H, W, channels]`` as the run reads them, in uint8 or as
    floats with the same values from 0 to 255, or the arrays of a run that is not on
    images; they are normalised as in training.

    Args:
      run: folder of a run, a file of `metabridge.export_body`, or a name that
        `metabridge.load_body` knows.
      at: "best", the checkpoint that the run is evaluated by, or "init", the parameters
        that a run of its seed begins with, made anew (a run that fine-tunes begins with
        others). An exported body has both.
      ways: outputs of the network; by default those of the learner's head, and without
        one the ways of the run's test tasks.
      outputs: see `empirical`, as for `block`, `dtype` and `max_bytes`.
      head_seed: of a new head.
      data_dir: where the dataset is, if not where the run found it.

    Raises:
      ValueError: no run there, or, at "best", none with a checkpoint; in a call, images
        of another shape or scale.

    Example:
      >>> kernel = theory.empirical_of_run("runs/anil-0", at="init")
    """
    check_choice("at", at, ("init", "best"))
    check_whole("head_seed", head_seed, 0)
    if ways is not None:
        check_whole("ways", ways, 1)
    network = _load(run, at, data_dir)
    return _kernel(
        network, ways, head_seed,
        outputs=outputs, block=block, dtype=dtype, max_bytes=max_bytes,
    )  # fmt: skip


@in_32_bits
def _load(run: str | os.PathLike[str], at: At, data_dir: Any) -> _Network:
    from metabridge.apply import load_body
    from metabridge.training.scoring import load_run
    from metabridge.untrusted import expanded

    if at == "init" and expanded(run).is_dir():  # which may have no checkpoint yet
        _, config, dataset, learner, _ = load_run(run, data_dir=data_dir)
        shape = dataset.input_shape
        return _Network(
            config, shape, dataset.has_images, dataset.mean, dataset.std,
            _initial(config, learner, shape),
        )  # fmt: skip
    body = load_body(run, data_dir=data_dir)
    config, shapes, variables = body.config, body.shapes, body.variables
    if at == "init":
        variables = _initial(config, body.learner(), shapes.input_shape)
    return _Network(
        config, shapes.input_shape, shapes.images, body.mean, body.std, variables
    )


def _initial(config: Any, learner: Any, shape: tuple[int, ...]) -> Variables:
    """Variables of a run before its first step."""
    from metabridge.runs import inputs

    example = jnp.zeros((1, *shape), jnp.float32)
    state = jax.jit(learner.init)(inputs.make_keys(config).init, example)
    return {"params": state.params, "batch_stats": state.batch_stats}


def _kernel(
    network: _Network, ways: int | None, head_seed: int, **options: Any
) -> EmpiricalKernel:
    from metabridge import build
    from metabridge.models.mlp import MLP

    config, shape, has_images, mean, std, variables = network
    # The parameters are float32 even where training computed in bfloat16.
    precise = dataclasses.replace(config.model, precision="float32")
    model = build.model(precise, shape[0])
    params = variables["params"]
    # Statistics in float32 would round what they normalise.
    stats = cast(variables["batch_stats"], options["dtype"])
    if not isinstance(params, dict) or "body" not in params:
        raise ValueError(f"{config.algorithm} has no parameters of a body")
    head, scale = _own_head(params, ways), 1.0
    if head is None:
        example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        features = jax.eval_shape(
            lambda x: model.apply({"params": params["body"], "batch_stats": stats}, x),
            example,
        )
        dimension = features.shape[1]
        outputs = config.evaluation.ways if ways is None else ways
        rng = np.random.default_rng(head_seed)
        head = {"weights": rng.standard_normal((dimension, outputs))}
        scale = 1.0 if isinstance(model, MLP) else dimension**-0.5

    largest = 255.0 if has_images else 1.0

    def apply(params: Any, inputs: Any) -> Any:
        centre, spread = (jnp.asarray(each, inputs.dtype) for each in (mean, std))
        x = (inputs / largest - centre) / spread
        variables = {"params": params["body"], "batch_stats": stats}
        features = model.apply(variables, x, train=False)
        values = scale * (features @ params["head"]["weights"])
        return values + params["head"].get("bias", 0.0)

    def prepare(inputs: np.ndarray) -> np.ndarray:
        return _checked(inputs, shape, has_images)

    own = {"body": params["body"], "head": head}
    return empirical(apply, own, prepare=prepare, **options)


def _own_head(params: dict[str, Any], ways: int | None) -> dict[str, Any] | None:
    """The learner's linear head of so many ways; None without any."""
    head = params.get("head")
    linear = head.get("linear") if isinstance(head, dict) else None
    if linear is None or ways not in (None, linear["weights"].shape[1]):
        return None
    return dict(linear)


def _checked(
    inputs: np.ndarray, shape: tuple[int, ...], has_images: bool
) -> np.ndarray:
    """Inputs of a call, if they can be what the run is of."""
    if inputs.shape[1:] != shape:
        what, advice = "inputs", ""
        if has_images:
            what, advice = "images", ": resize them, or do not flatten them"
        raise ValueError(
            f"this run's {what} are [N, {', '.join(map(str, shape))}], but these are "
            f"{list(inputs.shape)}{advice}"
        )
    if has_images and inputs.dtype.kind == "f" and inputs.size:
        low, high = inputs.min(), inputs.max()
        if low < 0 or high > 255 or (0 < high <= 1 and (inputs % 1).any()):
            raise ValueError(
                "pixels must be from 0 to 255, not normalised, but these are from "
                f"{low:.3g} to {high:.3g}: pass uint8 images"
            )
    # Wider integers would be taken for indices.
    return np.asarray(inputs, np.float64)
