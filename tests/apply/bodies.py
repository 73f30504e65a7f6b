"""Bodies that were never trained, which serves to compare two ways to apply them."""

import dataclasses

import jax
import numpy as np

from metabridge import build
from metabridge.apply import Body
from metabridge.config import Config, EvaluationConfig, ModelConfig, resolve
from metabridge.data import Dataset
from metabridge.learners import variables_of
from tests import toy
from tests.own import OPTIONS

SHAPE = {"ways": 3, "shots": 2, "queries": 4}


def dataset(*, channels: int = 3, size: int = 16) -> Dataset:
    return toy.dataset(channels=channels, size=size, spread=90.0)


def body(algorithm: str, data: Dataset, *, model: str = "mlp", **evaluation) -> Body:
    """Of random parameters."""
    options = {"tasks": 4, **SHAPE, **evaluation}
    config = resolve(
        Config(
            learner=OPTIONS[algorithm](),
            model=ModelConfig(model=model, width=8, depth=1),  # type: ignore[arg-type]
            evaluation=EvaluationConfig(**options),
        )
    )
    data_options = dataclasses.replace(config.data, rotations=False)
    config = dataclasses.replace(config, data=data_options)
    learner = build.learner(config, data)
    example = np.zeros((1, *data.input_shape), np.float32)
    with jax.numpy_dtype_promotion("standard"):
        state = learner.init(jax.random.key(3), jax.numpy.asarray(example))
    variables = jax.tree.map(np.asarray, jax.device_get(variables_of(state)))
    return Body(config, build.shapes_of(data), data.mean, data.std, variables)
