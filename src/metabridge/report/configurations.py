"""The configurations of runs side by side, their differences marked."""

import json
from collections.abc import Sequence

from metabridge.config import to_json
from metabridge.report.markup import Markup, element, join
from metabridge.report.numbers import MISSING
from metabridge.report.results_table import label, scrollable
from metabridge.report.runs import Run

_LONGEST = 300


def rows(runs: Sequence[Run]) -> list[tuple[str, list[str], bool]]:
    """Name, values and whether they differ, of each option and of what made the runs.

    An option that a run's learner does not have is missing there.
    """
    options = [_options(run) for run in runs]
    found = []
    names = dict.fromkeys(name for each in options for name in each)
    for name in sorted(names, key=_section_of):
        values = [each.get(name, MISSING) for each in options]
        found.append((name, values, len(set(values)) > 1))
    return found


_SECTIONS = ("", "learner", "data", "model", "train", "evaluation", "made by")


def _section_of(name: str) -> int:
    return _SECTIONS.index(name.rpartition(".")[0])


def _options(run: Run) -> dict[str, str]:
    config = json.loads(to_json(run.config))
    flat = {"algorithm": config.pop("algorithm")}
    for section, values in config.items():
        flat |= {f"{section}.{name}": _shown(value) for name, value in values.items()}
    return flat | {f"made by.{name}": _short(v) for name, v in run.made.items()}


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return _short(value if isinstance(value, str) else json.dumps(value))


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else value[:_LONGEST] + "…"


def configurations(runs: Sequence[Run]) -> Markup:
    """The table; the script hides what is alike."""
    head = [element("th", "Option", scope="col", class_="text")]
    head += [
        element("th", label(run.name, number), scope="col", class_="text")
        for number, run in enumerate(runs)
    ]
    found = rows(runs)
    body = []
    for name, values, differs in found:
        section, _, option = name.rpartition(".")
        mark = element("span", "differs", class_="mark") if differs else None
        shown = f"{section} " if section == _SECTIONS[-1] else f"{section}."
        title = join(
            element("span", shown, class_="section") if section else None, option, mark
        )
        cells = [element("td", element("code", value)) for value in values]
        body.append(
            element(
                "tr",
                element("th", title, scope="row", class_="text"),
                *cells,
                class_="differs" if differs else "alike",
            )
        )
    table = element(
        "table",
        element("caption", "Options of the runs", class_="hidden-label"),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_="options",
    )
    different = sum(differs for *_, differs in found)
    control = element(
        "label",
        element("input", type="checkbox", id="only-differences", checked=True),
        f"Only the {different} of {len(found)} options that differ",
        class_="check scripted",
    )
    if len(runs) < 2:
        return scrollable(table, "Options of the run")
    return join(control, scrollable(table, "Options of the runs"))
