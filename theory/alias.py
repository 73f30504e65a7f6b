"""The old import name, ``theory``, which stays as an alias for one release."""

import importlib
import pkgutil
import sys
import warnings

from metabridge import theory


def install() -> None:
    """Make ``theory`` and its submodules the modules of `metabridge.theory`."""
    warnings.warn(
        "`import theory` is now `from metabridge import theory`; the old name goes "
        "with the next release",
        FutureWarning,
        stacklevel=3,
    )
    for found in pkgutil.walk_packages(theory.__path__, "metabridge.theory."):
        importlib.import_module(found.name)
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith("metabridge.theory."):
            sys.modules[name.removeprefix("metabridge.")] = module
