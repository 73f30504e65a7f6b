"""A body in one file: safetensors, with everything else as JSON in its header.

The file holds parameters and batch statistics; the entry ``metabridge`` of its metadata
what rebuilds the learner. Nothing in it is run, and nothing is read from it before its
names, shapes and types are those that the configuration in it gives.
"""

import dataclasses
import json
import math
import stat
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from metabridge import build
from metabridge.apply.body import Body, reading_of, without_paths
from metabridge.build import Shapes
from metabridge.config import Config, check, from_json, to_json
from metabridge.data.reading import MAX_PIXELS
from metabridge.files import write_bytes
from metabridge.parallel import devices
from metabridge.precision import in_32_bits
from metabridge.types import Variables
from metabridge.untrusted import parse_json, quoted, shown

FORMAT = 1
"""Of the header; a reader refuses a later one."""
_ENTRY = "metabridge"
_TYPES = {"float32": "F32", "int32": "I32", "uint32": "U32"}
_MAX_SIDE, _MAX_CLASSES = 1024, 1_000_000


def write(path: Path, body: Body) -> None:
    """Writes a body, whole or not at all.

    Args:
      path: of the file.
      body: what to write. Where its data was, and a teacher's folder, are left out.
    """
    header = {
        "format": FORMAT,
        "config": json.loads(to_json(without_paths(body.config))),
        "image_shape": list(body.shapes.image_shape),
        "num_classes": body.shapes.num_classes,
        "mean": list(body.mean),
        "std": list(body.std),
        "about": body.about,
    }
    arrays = {k: np.asarray(v, order="C") for k, v in _named(body.variables).items()}
    # `save_file` would let nobody else read it.
    write_bytes(path, save(arrays, metadata={_ENTRY: json.dumps(header)}))


@in_32_bits
def read(path: Path) -> Body:
    """The body that `write` wrote; the file may be from anybody.

    Raises:
      ValueError: it is no such file, or not whole; what is wrong with it.
      OSError: there is none, or it cannot be read.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{shown(path)} is no regular file")
    if about.st_size > devices.free_host_bytes():
        raise ValueError(f"{shown(path)} has {about.st_size:,} bytes, more than memory")
    try:
        with safe_open(path, framework="numpy") as file:
            return _read(file)
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{shown(path)} is no exported body: {shown(error)}"
        ) from error


def _read(file: Any) -> Body:
    header = _header((file.metadata() or {}).get(_ENTRY))
    config = from_json(json.dumps(header["config"]))
    config = check(config)
    _ = reading_of(config).colour  # which is any text to `check`
    # A stranger's file does not raise the limit that images are held against.
    most = min(config.data.max_pixels, MAX_PIXELS)
    data = dataclasses.replace(config.data, max_pixels=most)
    config = dataclasses.replace(config, data=data)
    shapes = Shapes(_image_shape(header), _number(header, "num_classes", _MAX_CLASSES))
    mean, std = (_per_channel(header, name, shapes) for name in ("mean", "std"))
    template = _template(config, shapes)
    named = _named(template)
    _check_arrays(file, named)
    arrays = {name: file.get_tensor(name) for name in named}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    structure = jax.tree.structure(template)
    variables = jax.tree.unflatten(structure, list(arrays.values()))
    return Body(config, shapes, mean, std, variables, header["about"])


def _header(text: str | None) -> dict[str, Any]:
    """What stands in the metadata, each entry of its kind."""
    if text is None:
        raise ValueError("its metadata has no entry `metabridge`")
    header = parse_json(text)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    if header.get("format") != FORMAT or type(header["format"]) is not int:
        raise ValueError(
            f"its format is {quoted(header.get('format'))}, but this version reads "
            f"{FORMAT}; install a newer metabridge"
        )
    for name, kind in {"config": dict, "about": dict, "image_shape": list}.items():
        if not isinstance(header.get(name), kind):
            raise ValueError(f"`{name}` is {quoted(header.get(name))}")
    return header


def _number(header: dict[str, Any], name: str, most: int) -> int:
    value = header.get(name)
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"`{name}` is {quoted(value)}, but must be in [1, {most}]")
    return value


def _image_shape(header: dict[str, Any]) -> tuple[int, int, int]:
    shape = header["image_shape"]
    if (
        len(shape) != 3
        or any(type(n) is not int or not 1 <= n <= _MAX_SIDE for n in shape)
        or shape[2] not in (1, 3)
    ):
        raise ValueError(f"`image_shape` is {quoted(shape)}, which is no [H, W, 1 | 3]")
    return shape[0], shape[1], shape[2]


def _per_channel(
    header: dict[str, Any], name: str, shapes: Shapes
) -> tuple[float, ...]:
    values = header.get(name)
    channels = shapes.image_shape[2]
    if not isinstance(values, list) or len(values) != channels:
        raise ValueError(f"`{name}` is {quoted(values)}, not {channels} numbers")
    if any(type(v) is not float or not math.isfinite(v) for v in values):
        raise ValueError(f"`{name}` is {quoted(values)}, but must be finite")
    if name == "std" and min(values) <= 0:
        raise ValueError(f"`std` is {quoted(values)}, but must be positive")
    return tuple(values)


def _template(config: Config, shapes: Shapes) -> Variables:
    """Shapes and types of what the learner has learned; nothing is computed."""

    def variables() -> Variables:
        learner = build.learner(config, shapes)
        example = jnp.zeros((1, *shapes.image_shape), jnp.float32)
        state = learner.init(jax.random.key(0), example)
        return {"params": state.params, "batch_stats": state.batch_stats}

    try:
        return jax.eval_shape(variables)
    except Exception as error:  # of any kind: images may be too small for a body
        raise ValueError(f"its learner cannot be built: {shown(error)}") from error


def _named(variables: Variables) -> dict[str, Any]:
    leaves = jax.tree.leaves_with_path(variables)
    name = jax.tree_util.keystr
    return {name(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _check_arrays(file: Any, wanted: dict[str, Any]) -> None:
    found = set(file.keys())
    for name in sorted(found ^ wanted.keys()):
        what = "misses" if name in wanted else "has"
        raise ValueError(f"it {what} the array {quoted(name)}")
    for name, leaf in wanted.items():
        view = file.get_slice(name)
        shape, kind = tuple(view.get_shape()), view.get_dtype()
        if shape != leaf.shape or kind != _TYPES.get(str(leaf.dtype)):
            raise ValueError(
                f"{name} is {kind} {list(shape)}, but its configuration takes "
                f"{leaf.dtype} {list(leaf.shape)}"
            )
