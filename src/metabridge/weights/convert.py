"""A state dict of PyTorch's as the variables of one of our bodies."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from metabridge.types import Variables
from metabridge.untrusted import quoted
from metabridge.weights import names
from metabridge.weights.reading import Entry, StateDict
from metabridge.weights.resnets import RESNET, RESNET12
from metabridge.weights.source import Path, Source, to_flax, to_torch_shape
from metabridge.weights.vit import VIT

SOURCES: Mapping[str, Source] = {
    "resnet12": RESNET12,
    "resnet18": RESNET,
    "resnet50": RESNET,
    "vit_small": VIT,
    "vit_base": VIT,
}
"""Bodies that weights of PyTorch's can be read into, by name."""
_COLLECTIONS = ("params", "batch_stats")
_USUAL = (1, 224, 224, 3)


class Converted(NamedTuple):
    """A body with the weights of a state dict."""

    variables: Variables
    """``{"params": ..., "batch_stats": ...}`` of NumPy, float32."""
    options: dict[str, Any]
    """Fields of `ModelConfig` that the weights decide."""
    channels: int
    """Of the images."""
    prefix: str
    """What stands before the body's names in the file."""
    left_out: tuple[str, ...]
    """Names in the file that are no part of the body."""


def convert(
    entries: StateDict,
    model: str,
    make: Callable[[dict[str, Any]], nn.Module],
    *,
    image_size: tuple[int, int],
    key: str | None = None,
) -> Converted:
    """Convert the weights of a body that PyTorch has in a state dict.

    Args:
      entries: of `read_weights`.
      model: one of `SOURCES`.
      make: makes our body of the options that the weights decide.
      image_size: height and width.
      key: what the names of the body begin with, if several begin otherwise.

    Raises:
      ValueError: names, shapes or types that are not those of the body.
    """
    source = SOURCES[model]
    prefix = names.find_prefix(entries, source.anchor, key)
    inside, left_out = names.within(entries, prefix)
    outside = [name for name in inside if name.startswith(source.outside)]
    own = {name: entry for name, entry in inside.items() if name not in set(outside)}
    if not {source.anchor, source.stem} <= own.keys():
        template = _template(make({}), _USUAL)
        names.check_names(own, _wanted(template, source).values(), model)
    options = source.options(own)
    channels = _channels(own[source.stem], source.stem)
    _check_size(image_size, options.get("patch_size", 1))
    body = make(options)
    template = _template(body, (1, *image_size, channels))
    prepared = source.prepare(own, image_size, options.get("patch_size", 1))
    wanted = _wanted(template, source)
    names.check_names(prepared, wanted.values(), model)
    shapes = {
        name: to_torch_shape(template[path].shape, path[-1])
        for path, name in wanted.items()
    }
    found = {name: prepared[name].shape for name in shapes}
    names.check_shapes(found, shapes, model)
    arrays = {
        path: to_flax(_numbers(prepared[wanted[path]], wanted[path]), path[-1])
        if path in wanted
        else np.zeros(leaf.shape, leaf.dtype)
        for path, leaf in template.items()
    }
    nested = traverse_util.unflatten_dict(arrays)
    variables: Variables = {name: nested.get(name, {}) for name in _COLLECTIONS}
    whole = (*left_out, *(f"{prefix}{name}" for name in outside))
    return Converted(variables, options, channels, prefix, whole)


def _wanted(template: Mapping[Path, Any], source: Source) -> dict[Path, str]:
    """PyTorch's names of our arrays, in their order."""
    named = {path: source.name_of(path) for path in template}
    pairs = ((path, name) for path, name in named.items() if name is not None)
    return dict(sorted(pairs, key=lambda pair: pair[1]))


def _check_size(size: tuple[int, int], patch: int) -> None:
    if any(side % patch for side in size):
        near = max(min(size) // patch, 1) * patch
        raise ValueError(
            f"`image_size` is {size[0]}x{size[1]}, but its patches have {patch} "
            f"pixels: pass multiples of that, such as {near} or {near + patch}"
        )


def _channels(stem: Entry, name: str) -> int:
    if len(stem.shape) != 4:
        raise ValueError(f"{name} is {list(stem.shape)}, which is no convolution")
    return stem.shape[1]


def _template(body: nn.Module, shape: tuple[int, ...]) -> Mapping[Path, Any]:
    """Shapes and types of a body's variables by path; nothing is computed."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    example = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: body.init(keys, x, train=False), example)
    kept = {name: variables[name] for name in _COLLECTIONS if name in variables}
    flat: Any = traverse_util.flatten_dict(kept)
    return flat


def _numbers(entry: Entry, name: str) -> np.ndarray:
    array = entry.read()
    # bfloat16 is a kind of its own to NumPy.
    if array.dtype.kind not in "fV" or array.dtype.names is not None:
        raise ValueError(f"{quoted(name)} is of {array.dtype}, not of floats")
    if array.shape != entry.shape:
        raise ValueError(f"{quoted(name)} is {list(array.shape)}, not as it says")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise ValueError(f"{quoted(name)} holds numbers that are not finite in float32")
    return np.ascontiguousarray(single)
