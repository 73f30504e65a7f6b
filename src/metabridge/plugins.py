"""Modules of the user's: those that register something, and functions in them."""

import importlib
import os
import sys
from collections.abc import Iterable
from types import ModuleType


def import_plugins(names: Iterable[str] = ()) -> None:
    """Import modules of the user's that register something.

    Args:
      names: of the modules, which are found in the working folder as well, before those
        in ``$METABRIDGE_PLUGINS`` (commas between them; ``$METABRIDGE_LEARNERS``, its
        name in version 0.1, is read too).

    Raises:
      ValueError: there is no module of such a name.
    """
    for variable in ("METABRIDGE_PLUGINS", "METABRIDGE_LEARNERS"):
        listed = os.environ.get(variable, "").split(",")
        names = [*names, *filter(None, map(str.strip, listed))]
    for name in filter(None, names):
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"the plug-in {name!r} must be the name of a module, not a path"
            )
        if import_own(name) is None:
            raise ValueError(
                f"there is no plug-in module {name!r} in {os.getcwd()} nor among those "
                "installed (--plugin, $METABRIDGE_PLUGINS, $METABRIDGE_LEARNERS)"
            )


def import_own(name: str) -> ModuleType | None:
    """Import a module, of the working folder, too; None if there is none."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, but not one that it needs
        return None
