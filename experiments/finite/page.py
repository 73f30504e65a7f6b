"""Table, findings and figure of the study, all from the numbers of results.json."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.finite.measure import KERNELS, LIMIT, TRAINED
from metabridge.comparison.curves import COLOURS
from metabridge.units import markdown_table

Numbers = dict[str, Any]
_COLUMNS = {
    "relative_gap": "relative gap",
    "agreement": "same class, %",
    "mtl_accuracy": "MTL, %",
    "gbml_accuracy": "ANIL, %",
    "untrained_accuracy": "untrained, %",
}
_PANELS = ("relative_gap", "agreement", "gbml_accuracy")


def page(found: Numbers) -> str:
    """The findings in Markdown."""
    settings = found["settings"]
    intro = (
        f"Kernels of Conv4, trained on {settings['images']:,} images of "
        f"{settings['dataset']}, in the predictors of MTL and of ANIL: "
        f"{settings['tasks']} training tasks, {settings['unseen']} unseen ones, 5-way "
        f"{settings['shots']}-shot; the trained networks themselves on "
        f"{settings['test_tasks']} test tasks. Means over {settings['seeds']} seeds, "
        "and their range. The infinitely wide network has four convolutions and "
        "neither pooling nor normalisation, of which no kernel in closed form is known."
    )
    parts = ["# Closeness of real networks", intro, table(found), answer(found)]
    return "\n\n".join([*parts, "![By width](finite.png)"]) + "\n"


def table(found: Numbers) -> str:
    """A row a kernel and width, means over seeds with their range."""
    rows = [
        [name, "" if width is None else str(width), *map(_cell, _values(own))]
        for name, width, own in _groups(found)
    ]
    return markdown_table(("kernel or network", "width", *_COLUMNS.values()), rows)


def answer(found: Numbers) -> str:
    """What the numbers say, sentence by sentence."""
    sentences = []
    widths = found["settings"]["widths"]
    for name in KERNELS:
        gaps = [_mean(found, name, width, "relative_gap") for width in widths]
        if len(gaps) == 1:
            sentences.append(
                f"With the kernel {name} the relative gap is {gaps[0]:.2f}."
            )
            continue
        change = "falls" if gaps[-1] < gaps[0] else "does not fall"
        sentences.append(
            f"With the kernel {name} the relative gap {change} from width {widths[0]} "
            f"({gaps[0]:.2f}) to {widths[-1]} ({gaps[-1]:.2f})."
        )
    width = widths[-1]
    trained = _mean(found, f"{TRAINED}, other seeds", width, "agreement")
    seeds = [_mean(found, f"two seeds of {m}", width, "agreement") for m in _METHODS]
    if not np.isnan([trained, *seeds]).any():
        sentences.append(
            f"Trained networks of width {width} name the same class on "
            f"{100 * trained:.1f} % of queries between MTL and ANIL of other seeds, "
            f"and on {100 * seeds[0]:.1f} % and {100 * seeds[1]:.1f} % between two "
            "seeds of MTL and of ANIL."
        )
    return " ".join(sentences)


_METHODS = ("MTL", "ANIL")


def draw(found: Numbers, path: Path) -> None:
    """Relative gap, agreement and accuracy by width."""
    figure = Figure(figsize=(11.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    widths = found["settings"]["widths"]
    names = [*KERNELS, TRAINED, f"{TRAINED}, other seeds"]
    panels = figure.subplots(1, len(_PANELS))
    for axes, field in zip(panels, _PANELS, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            own = [_seeds(found, name, width, field) for width in widths]
            if not all(own):
                continue
            means = np.asarray([np.mean(values) for values in own])
            low, high = ([f(values) for values in own] for f in (min, max))
            axes.plot(widths, means, "o-", color=colour, label=name)
            axes.fill_between(widths, low, high, color=colour, alpha=0.15, linewidth=0)
        limit = _seeds(found, LIMIT, None, field)
        if limit:
            axes.axhline(limit[0], color="black", linestyle="--", label=LIMIT)
        axes.set_xscale("log", base=2)
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.set_xlabel("channels of Conv4")
        scale = "" if field == "relative_gap" else " (share of queries)"
        axes.set_ylabel(_COLUMNS[field].removesuffix(", %") + scale)
        axes.set_ylim(bottom=0)
    handles, labels = [], []
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def _groups(found: Numbers) -> list[tuple[str, int | None, list[Numbers]]]:
    groups: dict[tuple[str, int | None], list[Numbers]] = {}
    for row in found["rows"]:
        groups.setdefault((row["kernel"], row["width"]), []).append(row)
    names = list(dict.fromkeys(name for name, _ in groups))
    ordered = sorted(groups, key=lambda key: (names.index(key[0]), key[1] or 0))
    return [(*key, groups[key]) for key in ordered]


def _seeds(found: Numbers, name: str, width: int | None, field: str) -> list[float]:
    return [
        row[field]
        for row in found["rows"]
        if (row["kernel"], row["width"]) == (name, width) and field in row
    ]


def _mean(found: Numbers, name: str, width: int | None, field: str) -> float:
    values = _seeds(found, name, width, field)
    return float(np.mean(values)) if values else float("nan")


def _values(rows: list[Numbers]) -> list[tuple[str, list[float]]]:
    return [(field, [r[field] for r in rows if field in r]) for field in _COLUMNS]


def _cell(column: tuple[str, list[float]]) -> str:
    field, values = column
    if not values:
        return ""
    scale, digits = (1.0, 3) if field == "relative_gap" else (100.0, 1)
    low, mean, high = (scale * f(values) for f in (min, np.mean, max))
    spread = "" if len(values) == 1 else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{mean:.{digits}f}{spread}"
