"""Agreement of runs as tables in Markdown."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from metabridge.units import format_difference, markdown_table

TITLES = {
    "same_class": "same class, %",
    "kappa": "kappa",
    "divergence": "divergence, bits",
    "logit_distance": "logit distance",
}
"""Of the measures."""
MEANINGS = {
    "same_class": "share of queries that both give the same class",
    "kappa": "share of the same class, less what classifiers of these accuracies "
    "share by chance (0 chance, 1 equal)",
    "divergence": "Jensen-Shannon, of the softmaxes, in bits",
    "logit_distance": "relative, of centred logits (0 equal, 1.41 unrelated)",
}
"""What the measures are."""
OF_METHODS = (
    "Within: pairs of seeds of one method; between: pairs of runs of two methods with "
    "different seeds; the interval is of a bootstrap over seeds and tasks, with two "
    "seeds of each over tasks alone; same seed: pairs of runs of two methods with the "
    "same seed, and the same initialisation where the bodies are alike."
)
_MOST_PAIRS = 60


def agreement_text(found: dict[str, Any]) -> str:
    """The result of `agreement` as tables, and what their columns are."""
    task = found["task"]
    title = (
        f"{task['dataset']}, {task['ways']}-way {task['shots']}-shot, the same "
        f"{task['tasks']} {task['split']} tasks of seed {task['evaluation_seed']}"
    )
    parts = [title]
    names = [run["name"] for run in found["runs"]]
    for head, each in found["heads"].items():
        adaptation = (
            "each run's own adaptation" if head == "learner" else f"head {head}"
        )
        parts.append(f"## Pairs of runs, {adaptation}\n\n{_pairs(each, names)}")
        parts.append(f"## Methods, {adaptation}\n\n{_methods(each)}")
    if found["cka"]:
        parts.append(f"## Linear CKA of layers\n\n{_layers(found)}")
    if found["adapted"]:
        parts.append(
            f"## Linear CKA of a body before and after adaptation\n\n{_adapted(found)}"
        )
    return "\n\n".join([*parts, _NOTE])


_NOTE = "; ".join(
    [
        *(f"{name.replace('_', ' ')}: {what}" for name, what in MEANINGS.items()),
        "accuracy: points of the first run over the second on the same tasks, 95 % "
        f"interval, and d, the same in standard deviations of tasks. {OF_METHODS}",
    ]
)


def _pairs(each: dict[str, Any], names: Sequence[str]) -> str:
    columns = ["runs", *TITLES.values(), "accuracy, points", "d"]
    rows = []
    for pair in each["pairs"][:_MOST_PAIRS]:
        gap = pair["accuracy"]
        rows.append(
            [
                f"{names[pair['first']]}, {names[pair['second']]}",
                *(format_measure(name, pair[name]) for name in TITLES),
                format_difference(gap["mean"], gap["ci95"]),
                f"{gap['effect']:+.2f}",
            ]
        )
    left_out = len(each["pairs"]) - len(rows)
    more = f"\n\n{left_out} more pairs are in --output." if left_out else ""
    return markdown_table(columns, rows) + more


def _methods(each: dict[str, Any]) -> str:
    if not each["methods"]:
        return f"None: {each['no_methods']}."
    return markdown_table(METHOD_COLUMNS, method_rows(each["methods"]))


METHOD_COLUMNS = (
    "measure", "methods", "within", "between", "between less within", "same seed",
)  # fmt: skip


def method_rows(methods: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cells of `METHOD_COLUMNS` for each contrast of two methods."""
    rows = []
    for found in methods:
        name, gap = found["measure"], found["difference"]
        ends = ", ".join(format_measure(name, gap[end]) for end in ("low", "high"))
        rows.append(
            [
                TITLES[name],
                f"{found['first']}, {found['second']}",
                format_measure(name, found["within"]),
                format_measure(name, found["between"]),
                f"{format_measure(name, gap['estimate'])} [{ends}]",
                format_measure(name, found["same_seed"]),
            ]
        )
    return rows


def _layers(found: dict[str, Any]) -> str:
    """Means over the pairs of runs of each kind, as the other measures have them."""
    methods, seeds = (
        np.array([run[key] for run in found["runs"]]) for key in ("method", "seed")
    )
    same, alike = (each[:, None] == each for each in (methods, seeds))
    pairs = np.triu(np.ones_like(same), 1)
    rows = []
    for layer, matrix in found["cka"].items():
        values = np.asarray(matrix, np.float64)
        kinds = (same & ~alike, ~same & ~alike, ~same & alike)
        cells = [values[pairs & kind] for kind in kinds]
        rows.append([layer, *(f"{c.mean():.3f}" if c.size else "–" for c in cells)])
    return markdown_table(["layer", "within", "between", "same seed"], rows)


def _adapted(found: dict[str, Any]) -> str:
    layers = list(dict.fromkeys(n for each in found["adapted"].values() for n in each))
    rows = [
        [run, *(f"{each[name]:.3f}" if name in each else "–" for name in layers)]
        for run, each in found["adapted"].items()
    ]
    return markdown_table(["run", *layers], rows)


def format_measure(name: str, value: float | None) -> str:
    """A measure as its column shows it."""
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value:.1f}" if name == "same_class" else f"{value:.3f}"
