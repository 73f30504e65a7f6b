"""Packages of the optional extras, imported when they are needed."""

import importlib
from typing import Any


def import_extra(module: str, purpose: str, extra: str) -> Any:
    """Import a module of an extra.

    Args:
      module: its name.
      purpose: what needs it, in the plural or as "reading ...", for the message.
      extra: the extra of ``setup.cfg`` that installs it.

    Raises:
      ModuleNotFoundError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs {error.name!r}, which is not installed; in the clone of "
            f"Metabridge: pip install '.[{extra}]'",
            name=error.name,
        ) from error
