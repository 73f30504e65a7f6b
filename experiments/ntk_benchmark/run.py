"""The benchmark from beginning to end: cells, tables, figures, page."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.ntk_benchmark import (
    accuracy,
    curves,
    failures,
    figures,
    tables,
    text,
)
from experiments.ntk_benchmark.cells import Cells
from experiments.ntk_benchmark.config import Config, check, resolved
from experiments.ntk_benchmark.data import Source
from experiments.ntk_benchmark.data import check as check_data
from experiments.presentation import page, table
from experiments.presentation.numbers import write_json
from metabridge.data import load_dataset

_STUDIES = {
    "accuracy": accuracy.study,
    "depth": curves.depth_study,
    "curves": curves.curve_study,
    "widths": curves.width_study,
    "failures": failures.study,
}
_GAPS = {
    "agreement": "Same predicted class",
    "gap": "Gap",
    "relative_gap": "Relative gap",
    "accuracy": "Accuracy",
    "mtl_accuracy": "Accuracy of MTL",
}
_CURVES = ("agreement", "gap", "relative_gap", "accuracy")


def run(config: Config) -> Path:
    """Makes the studies that are not there yet, and the page.

    Returns:
      The HTML page.

    Raises:
      ValueError: a bad argument, before any work.
      FileNotFoundError: the dataset is not there.
    """
    config = resolved(config)
    check(config)
    source = Source(load_dataset(config.dataset, data_dir=config.data_dir), config)
    check_data(source)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    cells = Cells(config.output_dir / "cells")
    found = {
        name: _STUDIES[name](source, cells)
        for name in _STUDIES
        if name in config.studies
    }
    all_tables = _tables(config, found)
    sentences = tables.sentences(found.get("failures", {}))
    for each in all_tables.values():
        print(each.text() + "\n")
    for sentence in sentences:
        print(sentence)
    seconds = table.seconds(cells.seconds)
    print(f"\n{seconds.text()}")
    results = {"config": dataclasses.asdict(config), **found, "seconds": cells.seconds}
    write_json(config.output_dir / "results.json", results)
    (config.output_dir / "tables.md").write_text(
        table.markdown(list(all_tables.values())), encoding="utf-8"
    )
    output = config.output_dir / "index.html"
    drawn = _draw(config, found)
    sections = text.sections(config, drawn, all_tables, sentences, seconds)
    page.write("Few-shot learning with infinitely wide networks", sections, output)
    return output


def _tables(config: Config, found: dict[str, Any]) -> dict[str, table.Table]:
    shape = f"{config.ways}-way {config.shots}-shot {config.dataset}"
    made: dict[str, table.Table] = {}
    if "accuracy" in found:
        own = found["accuracy"]
        made["accuracy"] = tables.accuracy(
            own, f"Accuracy on unseen tasks at infinite width, {shape}, 95 % interval"
        )
        made["agreement"] = tables.agreement(
            own, "Same predicted class as MTL trained on queries, same adaptation"
        )
        made["finite"] = tables.finite(
            own["finite"],
            f"Trained networks of width {config.accuracy_width}, {config.depth} hidden "
            f"layers, {config.finite_steps} steps, {shape}",
        )
    until = {"timed": f"adapted for {config.adaptation_time:g}", "end": "to the end"}
    if "depth" in found:
        for layers, name in (("anil", "ANIL"), ("maml", "MAML, time over depth")):
            for which, own in found["depth"][layers].items():
                for field in _CURVES:
                    made[f"depth {layers} {which} {field}"] = tables.by_depth(
                        own, field,
                        f"{_GAPS[field]} of MTL and {name}, {until[which]}, "
                        f"{own['unseen']} unseen tasks",
                    )  # fmt: skip
    for what, words in (("tasks", "training tasks"), ("shots", "shots")):
        for which in until if "curves" in found else ():
            own = {n: each[which] for n, each in found["curves"][what].items()}
            for field in _CURVES:
                made[f"{what} {which} {field}"] = tables.by_number(
                    own, field, words,
                    f"{_GAPS[field]} of MTL and ANIL by {words}, {until[which]}",
                )  # fmt: skip
    if "widths" in found:
        for field in ("agreement", "gap", "relative_gap", "mtl_accuracy"):
            title = _GAPS[field] + ("" if "accuracy" in field else " of MTL and ANIL")
            made[f"widths {field}"] = tables.by_width(
                found["widths"], field, f"{title}, trained networks"
            )
    if "failures" in found:
        made["failures"] = tables.failures(found["failures"], "When it fails")
    return made


def _draw(config: Config, found: dict[str, Any]) -> dict[str, Path]:
    drawn: dict[str, Path] = {}

    def path(name: str) -> Path:
        drawn[name] = config.output_dir / f"{name}.png"
        return drawn[name]

    if "accuracy" in found:
        figures.accuracies(found["accuracy"], config.dataset, path("accuracy"))
    if "depth" in found:
        for layers, name in (("anil", "ANIL"), ("maml", "MAML")):
            for which, own in found["depth"][layers].items():
                title = f"{name} and MTL on {config.dataset}"
                lines = figures.sweep_lines(own)
                output = path(f"depth-{layers}-{which}")
                figures.curves(lines, "hidden layers L", title, output)
        lines = figures.time_lines(found["depth"]["anil"]["timed"])
        title = f"ANIL and MTL on {config.dataset}"
        figures.curves(lines, "time λτ of the inner loop", title, path("time"))
    if "curves" in found:
        for name, words in (("tasks", "training tasks"), ("shots", "shots")):
            own = {n: each["timed"] for n, each in found["curves"][name].items()}
            title = f"ANIL and MTL on {config.dataset}"
            figures.curves(figures.number_lines(own), words, title, path(name))
    if "widths" in found:
        own = found["widths"]
        figures.curves(
            figures.width_lines(own), "width",
            f"Trained ANIL and MTL on {config.dataset} (dashed: infinite width)",
            path("widths"), limits=figures.width_limits(own),
        )  # fmt: skip
    return drawn
