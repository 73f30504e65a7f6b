"""The old import name, ``theory``, which stays as an alias for one release."""

import importlib
import pkgutil
import sys
import warnings

from metabridge import theory

_MOVED = {
    "finite_width": "finite.width_study",
    "image_tasks": "closeness.image_tasks",
    "named": "kernels.registry",
    "trained": "finite.train_pair",
}
"""Documented modules that have another name now."""


def install() -> None:
    """Make ``theory`` and its submodules the modules of `metabridge.theory`."""
    warnings.warn(
        "`import theory` is now `from metabridge import theory`; the old name goes "
        "with the next release",
        DeprecationWarning,
        stacklevel=3,
    )
    for found in pkgutil.walk_packages(theory.__path__, "metabridge.theory."):
        importlib.import_module(found.name)
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith("metabridge.theory."):
            sys.modules[name.removeprefix("metabridge.")] = module
    for old, new in _MOVED.items():
        module = sys.modules[f"metabridge.theory.{new}"]
        sys.modules[f"theory.{old}"] = module
        setattr(theory, old, module)
