"""Imports neural-tangents 0.6.5 on JAX releases newer than it knows.

Novak, Xiao, Hron, Lee, Alemi, Sohl-Dickstein, Schoenholz. Neural Tangents: Fast and
easy infinite neural networks in Python. ICLR 2020, https://arxiv.org/abs/1912.02803.

Its last release imports names that JAX has since removed from `jax.core`,
`jax.util` and `jax.interpreters.ad`. They are lent to those modules for the duration
of the import and taken back after it; what neural-tangents still looks up while
running it finds through views of the modules that only its own files see. Its
`experimental` part exists for TensorFlow alone and is left out, which also saves
seven seconds. Works: `stax` kernels, `predict`, empirical kernels by Jacobian
contraction and NTK-vector products. Does not: structured derivatives.
"""

import contextlib
import importlib
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.core
import jax.interpreters.ad

_NAMES = {
    "jax.core": "AbstractValue DShapedArray Jaxpr JaxprEqn Literal Primitive "
    "ShapedArray Value Var eval_context",
    "jax.interpreters.ad": "UndefinedPrimal Zero config primitive_jvps "
    "source_info_util zeros_like_p",
    "jax.util": "safe_map safe_zip",
}
"""What neural-tangents imports, by the module it expects it in."""

_HOMES = "extend.core", "_src.core", "_src.util", "_src.interpreters.ad", "_src"
"""Modules of JAX where a removed name may still live."""

_EXPERIMENTAL = "neural_tangents.experimental"
_LOCK = threading.Lock()


def neural_tangents() -> Any:
    """The module `neural_tangents`, with `stax` and `predict`.

    JAX is left as it was, and TensorFlow is not imported.

    Raises:
      ImportError: neural-tangents is not installed.
    """
    with _LOCK:
        if "neural_tangents" in sys.modules:
            return sys.modules["neural_tangents"]
        with _lent_names() as lent:
            library = _import()
        _give_views(lent)
    return library


def _import() -> Any:
    stub = _EXPERIMENTAL not in sys.modules
    if stub:
        sys.modules[_EXPERIMENTAL] = types.ModuleType(_EXPERIMENTAL)
    try:
        return importlib.import_module("neural_tangents")
    except ModuleNotFoundError as error:
        if error.name != "neural_tangents":
            raise
        raise ImportError(
            "this kernel is built with neural-tangents, which is not installed; "
            "in the clone of Metabridge: pip install '.[theory]'. "
            "theory.relu_network and theory.relu_depths work without it"
        ) from error
    finally:
        if stub:
            del sys.modules[_EXPERIMENTAL]
            if "neural_tangents" in sys.modules:
                vars(sys.modules["neural_tangents"]).pop("experimental", None)


@contextlib.contextmanager
def _lent_names() -> Iterator[dict[str, dict[str, Any]]]:
    """Adds what is missing to the public modules of JAX, and takes it back."""
    lent = {module: _missing(module, names) for module, names in _NAMES.items()}
    created = []
    for module, values in lent.items():
        if module not in sys.modules:
            sys.modules[module] = types.ModuleType(module)
            created.append(module)
        vars(sys.modules[module]).update(values)
    try:
        yield lent
    finally:
        for module, values in lent.items():
            for name in values:
                delattr(sys.modules[module], name)
        for module in created:
            del sys.modules[module]


def _missing(module: str, names: str) -> dict[str, Any]:
    try:
        present = vars(importlib.import_module(module))
    except ImportError:
        present = {}
    return {name: _find(name) for name in names.split() if name not in present}


def _find(name: str) -> Any:
    for home in _HOMES:
        try:
            return getattr(importlib.import_module(f"jax.{home}"), name)
        except (ImportError, AttributeError):
            continue
    # Gone for good: only annotations and structured derivatives mention these.
    return type(name, (), {})


def _give_views(lent: dict[str, dict[str, Any]]) -> None:
    """Lets the files of neural-tangents, and no others, keep seeing the lent names."""
    ad = jax.interpreters.ad
    core_view = _view(jax.core, lent["jax.core"])
    views = {
        "core": (jax.core, core_view),
        "ad": (ad, _view(ad, lent["jax.interpreters.ad"])),
        "jax": (jax, _view(jax, {"core": core_view})),
    }
    for name, module in list(sys.modules.items()):
        if name.startswith("neural_tangents."):
            for attribute, (original, view) in views.items():
                if vars(module).get(attribute) is original:
                    setattr(module, attribute, view)


def _view(module: types.ModuleType, extra: dict[str, Any]) -> types.ModuleType:
    """A module that has `extra` and, for the rest, whatever `module` has."""
    view = types.ModuleType(module.__name__)
    vars(view).update(extra)
    vars(view)["__getattr__"] = lambda name: getattr(module, name)
    return view
