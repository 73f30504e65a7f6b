"""The old import name, ``theory``, which stays as an alias for one release."""

import importlib
import pkgutil
import sys
import warnings

from metabridge import theory

_MOVED = {
    "adaptation": "predictors.inner_loop",
    "architectures": "kernels.architectures",
    "compat": "kernels.neural_tangents",
    "diagnosis": "closeness.diagnose",
    "finite_width": "finite.width_study",
    "heads": "predictors.head_correlation",
    "image_kernel": "kernels.images.kernel",
    "image_tasks": "closeness.image_tasks",
    "images": "kernels.images.networks",
    "low_rank": "solvers.pivoted_cholesky",
    "named": "kernels.registry",
    "reading": "closeness.verdict",
    "system": "solvers.task_system",
    "trained": "finite.train_pair",
}
"""Documented modules of another name now; the others keep theirs, in a folder."""


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
    old = {name: f"metabridge.theory.{new}" for name, new in _MOVED.items()}
    for name in list(sys.modules):
        if f"{name}.".startswith("metabridge.theory."):
            sys.modules[name.removeprefix("metabridge.")] = sys.modules[name]
            old.setdefault(name.rpartition(".")[2], name)
    for name, new in old.items():
        module = sys.modules[f"theory.{name}"] = sys.modules[new]
        if not hasattr(theory, name):
            setattr(theory, name, module)
