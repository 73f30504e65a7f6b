"""The study from beginning to end: numbers, tables, figures, page."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from experiments.closeness import benchmark, compare, page, tables
from experiments.closeness.config import Benchmark, Compare
from experiments.closeness.data import Source
from metabridge.data import load_dataset

_SHOWN = ("dataset", "tasks", "seed")
"""Options that the page gives with its command."""


def run(config: Compare | Benchmark) -> Path:
    """Run a form of the study, and return its page; bad input raises at once."""
    study: Any = compare if isinstance(config, Compare) else benchmark
    dataset = load_dataset(config.dataset, data_dir=config.data_dir)
    source = Source(dataset, config)
    prepared = study.prepare(source)
    folder = config.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    found = study.measure(source, prepared)
    made = study.make_tables(config, found)
    sentences = benchmark.sentences(found)
    seconds = tables.seconds(found["seconds"])
    for table in (*made.values(), seconds):
        print(table.markdown() + "\n")
    print("\n".join(sentences))
    results = {"config": dataclasses.asdict(config), **found}
    text = json.dumps(_finite(results), indent=2, default=str, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    markdown = "\n\n".join(table.markdown() for table in made.values())
    (folder / "tables.md").write_text(markdown + "\n", encoding="utf-8")
    drawn = {}
    for name, figure in study.make_figures(source, found).items():
        drawn[name] = folder / f"{name}.png"
        figure.savefig(drawn[name], dpi=100)
    options = [f"--{name} {getattr(config, name)}" for name in _SHOWN]
    command = f"python -m experiments.{config.command} {' '.join(options)}"
    page.write(
        config.command,
        folder / "index.html",
        values=vars(config) | {"title": study.TITLE, "command": command},
        sentences=sentences,
        tables=made | {"seconds": seconds},
        figures=drawn,
        left_out=set(benchmark.STUDIES) - found.keys() if study is benchmark else set(),
    )
    return folder / "index.html"


def _finite(value: Any) -> Any:
    """The value with null for a slope that could not be fitted, say."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
