"""The figure of the study: distances against width, and between less within."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metabridge.comparison.curves import COLOURS

TITLES = {
    "disagreement": "different class, %",
    "chance_corrected": "1 − kappa",
    "logit_distance": "distance of logits",
}
"""Distances that are drawn."""
_GROUPS = {
    "within": ("two seeds of one method", COLOURS[0], "o"),
    "between": ("two methods, other seeds", COLOURS[1], "s"),
    "same_seed": ("two methods, same seed", COLOURS[2], "^"),
}
_LIMITS = {"anil": ("MTL, ANIL", "--"), "maml": ("MTL, MAML", ":")}


def draw(found: dict[str, Any], head: str, path: Path) -> None:
    """Draw distances of a head, a pair of rows for each depth."""
    depths = list(dict.fromkeys(rung["depth"] for rung in found["rungs"]))
    size = (4.2 * len(TITLES), 6.4 * len(depths))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 * len(depths), len(TITLES), squeeze=False)
    for row, depth in enumerate(depths):
        own = [rung for rung in found["rungs"] if rung["depth"] == depth]
        for column, name in enumerate(TITLES):
            above, below = panels[2 * row : 2 * row + 2, column]
            _distances(above, own, head, name)
            _limit(above, found["limit"].get(str(depth), {}), name)
            slope = next(
                each["slope"]
                for each in found["slopes"]
                if (each["depth"], each["head"], each["distance"])
                == (depth, head, name)
            )
            _difference(below, own, head, name, slope)
            layers = "" if depth is None else f"{depth} hidden layers: "
            above.set_title(f"{layers}{TITLES[name]}", fontsize=10)
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False)
    settings = found["settings"]
    adaptation = "each method's own adaptation" if head == "learner" else f"head {head}"
    figure.suptitle(
        f"{settings['dataset']}, {settings['model']}, {len(found['methods'])} methods, "
        f"{settings['seeds']} seeds, {adaptation}; 95 % intervals",
        fontsize=11,
    )
    figure.savefig(path, dpi=150)


def _distances(axes: Axes, rungs: list[Any], head: str, name: str) -> None:
    for group, (label, colour, marker) in _GROUPS.items():
        own = [rung["heads"][head]["distances"][name].get(group) for rung in rungs]
        if all(own):
            _line(axes, rungs, own, name, label=label, color=colour, marker=marker)
    _tidy(axes, rungs, TITLES[name])


def _difference(
    axes: Axes, rungs: list[Any], head: str, name: str, slope: dict[str, float]
) -> None:
    own = [rung["heads"][head]["distances"][name]["difference"] for rung in rungs]
    _line(axes, rungs, own, name, color=COLOURS[3], marker="D")
    axes.axhline(0.0, color="0.4", linewidth=1)
    low, middle, high = (
        f"{_shown(name, slope[end]):+.3g}" for end in ("low", "estimate", "high")
    )
    axes.set_title(f"each doubling: {middle} [{low}, {high}]", fontsize=9)
    _tidy(axes, rungs, "between less within")


def _line(
    axes: Axes, rungs: list[Any], own: list[dict[str, float]], name: str, **style: Any
) -> None:
    middle = [_shown(name, each["estimate"]) for each in own]
    # An interval of a bootstrap may leave its estimate out.
    errors = [
        [max(m - _shown(name, e["low"]), 0) for m, e in zip(middle, own, strict=True)],
        [max(_shown(name, e["high"]) - m, 0) for m, e in zip(middle, own, strict=True)],
    ]
    widths = [rung["width"] for rung in rungs]
    axes.errorbar(widths, middle, errors, markersize=4, capsize=3, **style)


def _limit(axes: Axes, limits: dict[str, Any], name: str) -> None:
    """Infinitely wide pairs as horizontal lines."""
    for other, numbers in limits.items():
        label, line = _LIMITS[other]
        axes.axhline(
            _shown(name, numbers[name]), color="0.3", linestyle=line, linewidth=1.2,
            label=f"infinite width: {label}",
        )  # fmt: skip


def _shown(name: str, value: float) -> float:
    return 100 * value if name == "disagreement" else value


def _tidy(axes: Axes, rungs: list[Any], label: str) -> None:
    widths = [rung["width"] for rung in rungs]
    axes.set(xscale="log", xlabel="width", ylabel=label)
    axes.minorticks_off()
    axes.set_xticks(widths, [f"{width}" for width in widths])
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
