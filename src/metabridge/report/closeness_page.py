"""`metabridge report --theory RESULT`: the closeness of MTL and GBML, to explore."""

import os
from pathlib import Path

from metabridge.output import check_output
from metabridge.report import document
from metabridge.report.explorer import Explorer, read
from metabridge.report.markup import Markup, data, element, join, task_buttons


def closeness_report(
    result: str | os.PathLike[str],
    output: str | os.PathLike[str] = Path("report.html"),
) -> Path:
    """Writes the explorer of what ``make ntk-compare`` found.

    Args:
      result: its ``results.json``.
      output: the page.

    Returns:
      The page.

    Raises:
      ValueError: no such result, or a page that cannot be written.
    """
    page = check_output(output)
    explorer = read(result)
    text = document.document(
        "Metabridge: closeness of MTL and meta-learning",
        _body(explorer),
        [data("report-data", explorer.values)],
        ["chart.js", "closeness.js"],
    )
    if len(text.encode()) > document.MAX_BYTES:
        raise ValueError(
            f"the page would have {len(text.encode()):,} bytes; the limit is "
            f"{document.MAX_BYTES:,}: compare fewer depths or times"
        )
    page.write_text(text, encoding="utf-8")
    return page


def _body(explorer: Explorer) -> Markup:
    header = element(
        "header",
        element("p", "Metabridge report", class_="kicker"),
        element("h1", "How close are MTL and meta-learning?"),
        element(
            "p",
            "Two infinitely wide networks, trained in closed form on "
            f"{explorer.training_tasks} tasks: one by multi-task learning (MTL), one "
            "by gradient-based meta-learning (GBML, here ANIL). Both then adapt their "
            "head to a few points of a task that neither has seen. Deep networks with "
            "a short inner loop of meta-learning end nearly alike.",
            class_="subtitle",
        ),
    )
    main = element(
        "main",
        element(
            "section",
            element("h2", "One unseen task", id="explorer-title"),
            element(
                "div", _controls(explorer), _readings(), class_="explorer scripted"
            ),
            element("div", class_="figure", id="predictions-figure"),
            element("noscript", element("p", "The explorer needs JavaScript.")),
            id="explorer",
            aria_labelledby="explorer-title",
        ),
        element(
            "section",
            element("h2", "Against depth", id="depth-title"),
            element(
                "p",
                "The chosen time of the inner loop is drawn strongly, the others thin; "
                "the point is the network above. With a short inner loop both fall "
                "with depth; with a longer one the relative gap stays.",
                class_="note",
            ),
            element("div", class_="figure", id="gap-figure"),
            element("div", class_="figure", id="relative-figure"),
            id="depth",
            aria_labelledby="depth-title",
        ),
        element(
            "section",
            element("h2", "What is shown", id="about-title"),
            _ABOUT,
            id="about",
            aria_labelledby="about-title",
        ),
        id="content",
    )
    return join(header, main)


def _controls(explorer: Explorer) -> Markup:
    def slider(name: str, title: Markup, values: list[float], start: int) -> Markup:
        return element(
            "div",
            element("label", title, for_=name),
            element("output", for_=name, id=f"{name}-value"),
            element(
                "input", type="range", id=name, min=0, max=max(len(values) - 1, 0),
                step=1, value=start,
            ),
            class_="slider",
        )  # fmt: skip

    middle = (len(explorer.depths) - 1) // 2
    tasks = task_buttons(explorer.num_tasks)
    return element(
        "div",
        slider("depth-slider", join("Depth ", _var("L")), explorer.depths, middle),
        slider(
            "time-slider", join("Inner loop ", _var("λτ")), explorer.times,
            (len(explorer.times) - 1) // 2,
        ),
        slider("shots-slider", join("Shots"), explorer.shots,
               (len(explorer.shots) - 1) // 2),
        element("div", *tasks, class_="segments", role="group",
                aria_label="Unseen task"),
        class_="sliders",
    )  # fmt: skip


def _var(name: str) -> Markup:
    return element("var", name)


def _readings() -> Markup:
    def reading(name: str, title: str, what: str) -> Markup:
        return element(
            "div",
            element("dt", title),
            element("dd", element("strong", "–", id=name), element("span", what)),
        )

    return element(
        "dl",
        reading("gap", "Gap", "distance of the two predictions on the queries"),
        reading(
            "relative-gap", "Relative gap", "the same over what training contributed"
        ),
        class_="readings",
        aria_live="polite",
    )


_ABOUT = join(
    element(
        "p",
        "The input is an angle, the target a wave. Filled points are the support, "
        "which both predictors adapt to; rings are the queries, over which the gap is "
        "taken. More shots add points to every task and leave the others as they are.",
    ),
    element(
        "p",
        "The theorem (Wang, Zhao and Li, ICML 2021) bounds the gap by c (λτ + 1/L), "
        "with λτ the learning rate times the steps of the inner loop in training and L "
        "the number of hidden layers. The relative gap is shown beside it because what "
        "training contributes shrinks with depth as well.",
    ),
)
