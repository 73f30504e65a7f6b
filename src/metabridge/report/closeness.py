"""`metabridge report --theory RESULT`: the closeness of MTL and GBML, to explore."""

import math
import os
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metabridge.config.fields import Range, typed
from metabridge.files import write_text
from metabridge.output import check_output
from metabridge.report import markup
from metabridge.report.markup import Markup, fill, task_buttons, text
from metabridge.untrusted import expanded, read_json, shown


def closeness_report(
    result: str | os.PathLike[str], output: str | os.PathLike[str] = Path("report.html")
) -> Path:
    """Write the explorer of a ``results.json`` of ``make ntk-compare``, a page."""
    path = check_output(output)
    training_tasks, values = read_explorer(result)
    controls = [
        _slider("depth", "Depth <var>L</var>", values["depths"]),
        _slider("time", "Inner loop <var>λτ</var>", values["times"]),
        _slider("shots", "Shots", values["shots"]),
    ]
    body = string.Template(markup.asset("closeness.html")).substitute(
        training_tasks=training_tasks,
        controls=text(controls),
        tasks=text(task_buttons(len(values["tasks"]))),
    )
    title = "Metabridge: closeness of MTL and meta-learning"
    page = markup.page(title, Markup(body), values, ["chart.js", "closeness.js"])
    if len(page.encode()) > markup.MAX_BYTES:
        raise ValueError(
            f"the page would have {len(page.encode()):,} bytes; the limit is "
            f"{markup.MAX_BYTES:,}: compare fewer depths or times"
        )
    write_text(path, page)
    return path


_POINTS = tuple[tuple[float, float], ...]


def _slider(name: str, title: str, values: Sequence[float]) -> Markup:
    last = len(values) - 1
    return fill("slider", name=name, title=Markup(title), last=last, middle=last // 2)


def read_explorer(path: str | os.PathLike[str]) -> tuple[int, dict[str, Any]]:
    """Read the number of training tasks, and the numbers that the script draws."""
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


def _checked(found: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    axes = {name: _numbers(found, name) for name in ("depths", "times", "shots")}
    if min(axes["depths"]) <= 0:
        raise ValueError("a depth is not positive")
    angles = _numbers(found, "angles")
    tasks = [
        {
            "target": _numbers(task, "target", len(angles)),
            "support": typed(_POINTS, task["support"], "support"),
            "query": typed(_POINTS, task["query"], "query"),
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
    return int(typed(float, found["training_tasks"], "training_tasks")), values


def _cell(cell: Any, sizes: dict[str, int], points: int) -> dict[str, Any]:
    for name, size in sizes.items():
        Range(0, size - 1).check(name, typed(int, cell[name], name))
    return {
        **{name: cell[name] for name in sizes},
        **{name: typed(float, cell[name], name) for name in ("gap", "relative_gap")},
        **{name: _numbers(cell, name, points) for name in ("mtl", "gbml")},
    }


def _numbers(values: Any, name: str, size: int | None = None) -> tuple[float, ...]:
    found = typed(tuple[float, ...], values[name], name)
    if not found or size not in (None, len(found)):
        raise ValueError(f"`{name}` holds {len(found)} numbers, not {size or 'some'}")
    return found
