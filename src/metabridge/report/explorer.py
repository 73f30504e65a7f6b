"""The part of ``results.json`` of ``make ntk-compare`` that the page draws, checked."""

import math
import os
from typing import Any, NamedTuple

from metabridge.untrusted import expanded, quoted, read_json, shown


class Explorer(NamedTuple):
    """Curves of MTL and GBML by depth, time of the inner loop, shots and task."""

    depths: list[float]
    times: list[float]
    shots: list[float]
    num_tasks: int
    training_tasks: int
    values: dict[str, Any]
    """What the script reads; nothing but numbers."""


def read(path: str | os.PathLike[str]) -> Explorer:
    """Reads a result.

    Raises:
      ValueError: no file, or not what ``make ntk-compare`` writes.
    """
    file = expanded(path)
    if not file.is_file():
        raise ValueError(
            f"there is no result {shown(file)}: `make ntk-compare` writes "
            "results/ntk-compare/results.json"
        )
    values = read_json(file)
    found = values.get("explorer") if isinstance(values, dict) else None
    if not isinstance(found, dict):
        raise ValueError(
            f"{shown(file)} has no curves to explore: make it anew with "
            "`make ntk-compare`"
        )
    try:
        return _checked(found)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{shown(file)} is no result of `make ntk-compare`: {error}"
        ) from error


def _checked(found: dict[str, Any]) -> Explorer:
    axes = {name: _numbers(found[name]) for name in ("depths", "times", "shots")}
    if min(axes["depths"]) <= 0:
        raise ValueError("a depth is not positive")
    angles = _numbers(found["angles"])
    tasks = [
        {
            "target": _numbers(task["target"], len(angles)),
            "support": [_numbers(point, 2) for point in task["support"]],
            "query": [_numbers(point, 2) for point in task["query"]],
        }
        for task in found["tasks"]
    ]
    sizes = {
        "depth": len(axes["depths"]), "time": len(axes["times"]),
        "shots": len(axes["shots"]), "task": len(tasks),
    }  # fmt: skip
    cells = [_cell(cell, sizes, len(angles)) for cell in found["cells"]]
    places = {tuple(cell[name] for name in sizes) for cell in cells}
    if not cells or len(cells) != math.prod(sizes.values()) or len(places) < len(cells):
        raise ValueError("it lacks some combinations of depth, time, shots and task")
    values = {**axes, "angles": angles, "tasks": tasks, "cells": cells}
    trained = int(_number(found["training_tasks"]))
    return Explorer(
        axes["depths"], axes["times"], axes["shots"], len(tasks), trained, values
    )  # fmt: skip


def _cell(cell: Any, sizes: dict[str, int], points: int) -> dict[str, Any]:
    if not isinstance(cell, dict):
        raise ValueError(f"{quoted(cell)} is no combination")
    for name, size in sizes.items():
        if type(cell[name]) is not int or not 0 <= cell[name] < size:
            raise ValueError(f"a combination has no such {name}: {quoted(cell[name])}")
    return {
        **{name: cell[name] for name in sizes},
        "gap": _number(cell["gap"]),
        "relative_gap": _number(cell["relative_gap"]),
        "mtl": _numbers(cell["mtl"], points),
        "gbml": _numbers(cell["gbml"], points),
    }


def _numbers(values: Any, size: int | None = None) -> list[float]:
    if not isinstance(values, list) or not values:
        raise ValueError("a list of numbers is missing")
    if size is not None and len(values) != size:
        raise ValueError(f"a list has {len(values)} numbers, but should have {size}")
    return [_number(value) for value in values]


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{quoted(value)} is not a finite number")
    return float(value)
