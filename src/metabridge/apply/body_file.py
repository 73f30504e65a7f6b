"""A body in one safetensors file, with a card in Markdown beside it.

The file holds parameters and batch statistics; the JSON entry ``metabridge`` of its
metadata holds what rebuilds the learner. Nothing in it is run, and no array is read
before its names, shapes and types are those that the configuration in it gives.
"""

import dataclasses
import json
import os
import stat
import string
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from metabridge import build
from metabridge.apply.body import Body, from_run, reading_of, without_paths
from metabridge.build import Shapes
from metabridge.config import ResolvedConfig, resolved_from_json, to_json
from metabridge.config.fields import Positive, Range, typed
from metabridge.config.sections import Side
from metabridge.data.reading import MAX_PIXELS
from metabridge.files import write_bytes
from metabridge.output import check_output
from metabridge.parallel import devices
from metabridge.precision import in_32_bits
from metabridge.task_shape import describe
from metabridge.types import Variables
from metabridge.units import format_accuracy
from metabridge.untrusted import expanded, is_safe, parse_json, quoted, shown

FORMAT = 1
"""Version of the header; a reader refuses a later one."""
_ENTRY, _SUFFIX = "metabridge", ".safetensors"
_TYPES = {"float32": ("F32", "F16"), "int32": ("I32",), "uint32": ("U32",)}
_SHAPES = {True: "image_shape", False: "input_shape"}
"""Entry of the header with the shape of an input, by whether that is an image."""
_IMAGE_SHAPE = tuple[Side, Side, Literal[1, 3]]
_INPUT_SHAPE = tuple[Annotated[int, Range(1, 1 << 20)], ...]
_Classes = Annotated[int, Range(1, 1_000_000)]
DTYPES = ("float32", "float16")
"""Types that the parameters in a file may have."""
_MOST_ROUNDING = 2.0**-10  # of an array's norm; that of normal numbers is a third


def export_body(
    run: str | os.PathLike[str] | Body,
    file: str | os.PathLike[str],
    *,
    licence: str | None = None,
    dtype: str = "float32",
    data_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the body of a run, and a card in Markdown beside it; return its path.

    A file in float16 takes half the space. An array of parameters that float16 would
    change by more than a thousandth of its norm, because numbers in it overflow or
    underflow, stays float32, and so do the batch statistics, whose rounding would count
    by their deviations and which are few. A body that is read is float32 in any case.

    Args:
      run: folder of a run, of which the best checkpoint is taken; or a body.
      file: to write, ``NAME.safetensors``; the card is ``NAME.md``.
      licence: of the body, for the card. Default: none is stated.
      dtype: of the parameters in the file, float32 or float16.
      data_dir: where the dataset of the run is, if not where the run found it.
    """
    path, beside = check_output_file(file, licence)
    if dtype not in DTYPES:
        known = " or ".join(DTYPES)
        raise ValueError(f"`dtype` is {quoted(dtype)}, but must be {known}")
    body = run if isinstance(run, Body) else from_run(expanded(run), data_dir=data_dir)
    if licence is not None:
        body = body.with_about(licence=licence)
    if dtype == "float16":
        body = body.with_about(dtype=dtype)
    text = make_card(body, file_name=path.name)
    write(path, body.with_about(card=text), dtype)
    beside.write_text(text, encoding="utf-8")
    return beside


def check_output_file(
    file: str | os.PathLike[str], licence: str | None
) -> tuple[Path, Path]:
    """Paths of a body's file and its card, if they can be written."""
    path = check_output(file, "file")
    beside = path.with_suffix(".md")
    if path.suffix != _SUFFIX:
        raise ValueError(f"`file` is {shown(path)}, but must end in {_SUFFIX}")
    if not is_safe(path.name) or '"' in path.name:
        raise ValueError(f"`file` is {shown(path)}: take a name that can be printed")
    for place in (path, beside):
        if place.exists():
            raise ValueError(f"{shown(place)} is there already: choose another name")
    if licence is not None and not is_safe(licence):
        raise ValueError("`licence` must be one line that can be printed")
    return path, beside


def write(path: Path, body: Body, dtype: str = "float32") -> None:
    """Write a body without the places of its data and of a teacher's folder."""
    header = {
        "format": FORMAT,
        "config": json.loads(to_json(without_paths(body.config))),
        _SHAPES[body.shapes.images]: list(body.shapes.input_shape),
        "num_classes": body.shapes.num_classes,
        "mean": list(body.mean),
        "std": list(body.std),
        "about": body.about,
    }
    arrays = {k: np.asarray(v, order="C") for k, v in _named(body.variables).items()}
    if dtype == "float16":
        parameters = {k: v for k, v in arrays.items() if k.startswith("params/")}
        arrays |= {k: _rounded(v) for k, v in parameters.items()}
    # `save_file` would let nobody else read it.
    write_bytes(path, save(arrays, metadata={_ENTRY: json.dumps(header)}))


def _rounded(array: np.ndarray) -> np.ndarray:
    """In float16 if that holds it, as it is if not."""
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    # Norms in float64: squares of small numbers in float32 are 0.
    exact = array.astype(np.float64)
    error = np.linalg.norm((half - exact).ravel())
    return half if error <= _MOST_ROUNDING * np.linalg.norm(exact.ravel()) else array


@in_32_bits
def read(path: Path) -> Body:
    """The body that `write` wrote; the file is not trusted."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{shown(path)} is no regular file")
    if about.st_size > devices.free_host_bytes():
        raise ValueError(f"{shown(path)} has {about.st_size:,} bytes, more than memory")
    try:
        with safe_open(path, framework="numpy") as file:
            return _read(file)
    except (SafetensorError, TypeError, ValueError) as error:
        raise ValueError(
            f"{shown(path)} is no exported body: {shown(error)}"
        ) from error


def _read(file: Any) -> Body:
    header = _header((file.metadata() or {}).get(_ENTRY))
    config = resolved_from_json(json.dumps(header["config"]))
    _ = reading_of(config).colour  # which is any text to `check`
    # An untrusted file does not raise the limit that images are held against.
    most = min(config.data.max_pixels, MAX_PIXELS)
    data = dataclasses.replace(config.data, max_pixels=most)
    config = dataclasses.replace(config, data=data)
    images = _SHAPES[False] not in header
    name = _SHAPES[images]
    shape = typed(_IMAGE_SHAPE if images else _INPUT_SHAPE, header.get(name), name)
    if not shape:
        raise ValueError(f"`{name}` is empty")
    classes = typed(_Classes, header.get("num_classes"), "num_classes")
    shapes = Shapes(tuple(shape), classes, images)
    mean = typed(tuple[(float,) * shape[-1]], header.get("mean"), "mean")
    std = typed(tuple[(Positive,) * shape[-1]], header.get("std"), "std")
    template = _template(config, shapes)
    named = _named(template)
    _check_arrays(file, named)
    arrays = []
    for name, leaf in named.items():
        array = file.get_tensor(name).astype(leaf.dtype, copy=False)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
        arrays.append(array)
    variables = jax.tree.unflatten(jax.tree.structure(template), arrays)
    return Body(config, shapes, mean, std, variables, header["about"])


def _header(text: str | None) -> dict[str, Any]:
    """The entry of the metadata, its values of the right types."""
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
    for name in ("config", "about"):
        if not isinstance(header.get(name), dict):
            raise ValueError(f"`{name}` is {quoted(header.get(name))}")
    return header


def _template(config: ResolvedConfig, shapes: Shapes) -> Variables:
    """Shapes and types of the learner's variables; nothing is computed."""

    def variables() -> Variables:
        learner = build.learner(config, shapes)
        example = jnp.zeros((1, *shapes.input_shape), jnp.float32)
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
        if shape != leaf.shape or kind not in _TYPES.get(str(leaf.dtype), ()):
            raise ValueError(
                f"{name} is {kind} {list(shape)}, but its configuration takes "
                f"{leaf.dtype} {list(leaf.shape)}"
            )


def make_card(body: Body, *, file_name: str, **further: str) -> str:
    """Markdown that describes a body to people, beside the file of this name.

    `further` rows, such as a digest, stand at the end of its table.
    """
    config, about = body.config, body.about
    model = config.model
    data = about.get("dataset", {})
    imported = about.get("imported")
    inputs = "images" if body.shapes.images else "inputs"
    origin = _trained(body) if imported is None else _imported(body, imported)
    of_width = f" width {model.width}" if model.model in ("conv4", "mlp") else ""
    rounded = f", rounded to {about['dtype']}" if "dtype" in about else ""
    versions = (f"{name} {v}" for name, v in about.get("versions", {}).items())
    rows = {
        **({"learner": config.algorithm} if imported is None else {}),
        "body": f"{model.model}{of_width}",
        "parameters": f"{about.get('parameters', 0):,}{rounded}",
        inputs: _inputs(body.shapes),
        **origin,
        "head": config.evaluation.head,
        "accuracy": _accuracy(about.get("result", {})),
        "licence": about.get("licence") or "not stated",
        "versions": ", ".join(versions),
        **further,
    }
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    name = "card.md" if imported is None else "imported_card.md"
    template = resources.files("metabridge.apply") / name
    dataset = _cell(data.get("name"))
    return string.Template(template.read_text(encoding="utf-8")).substitute(
        learner=config.algorithm,
        model=model.model,
        dataset=dataset,
        table=table,
        inputs=inputs,
        classification="image classification"
        if body.shapes.images
        else "classification of features and other numbers",
        file=file_name,
    )


def _inputs(shapes: Shapes) -> str:
    shape = shapes.input_shape
    if not shapes.images:
        kind = "features" if len(shape) == 1 else "numbers"
        return f"{' x '.join(map(str, shape))}, {kind}"
    height, width, channels = shape
    return f"{height} x {width}, {'grey' if channels == 1 else 'colour'}"


def _trained(body: Body) -> dict[str, Any]:
    """Rows of a body that a run has trained."""
    train, data = body.config.train, body.about.get("dataset", {})
    return {
        "trained on": f"{data.get('name')}, {body.shapes.num_classes} classes",
        "fingerprint of the data": data.get("fingerprint"),
        "training": f"{train.steps} steps, tasks of {train.train_ways} ways and "
        f"{train.train_shots} shots, {train.tasks_per_step} a step, seed {train.seed}",
    }


def _imported(body: Body, about: dict[str, Any]) -> dict[str, Any]:
    """Rows of a body that `import_body` has read."""
    return {
        "normalised by": f"mean {body.mean}, deviation {body.std}, of pixels in [0, 1]",
        "weights": f"{about.get('file')}, {about.get('bytes')} bytes",
        "SHA-256 of the weights": about.get("sha256"),
        "left out": f"{about.get('num_left_out')} arrays",
    }


def _accuracy(result: dict[str, Any]) -> str:
    if "accuracy" not in result:
        return "not measured"
    flips = "tested with mirror images, " if result.get("flips") else ""
    return (
        f"{format_accuracy(result['accuracy'], result['ci95'])} % "
        f"({describe(result)}, {result['tasks']} unseen "
        f"tasks, head {result['head']}, {flips}95 % interval)"
    )


def _cell(value: object) -> str:
    return shown(value).replace("|", "\\|")
