"""Calibration and conformal sets of the included bodies, on tasks of test classes.

    python -m experiments.how_sure --data-dir DATA

Sets of three kinds: thresholds from queries of the task, from validation tasks, and, of
tasks with several shots, from the support alone, each image of which is left out once
(jackknife+). Prints tables, and writes ``results.json``, the evaluations and a picture,
``reliability.png``, into the folder.
"""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import metabridge
from experiments.arguments import AtLeast, check
from metabridge.comparison.curves import COLOURS
from metabridge.config.fields import OpenShare
from metabridge.evaluation import draw_tasks
from metabridge.evaluation.calibration import Reliability, probabilities, reliability
from metabridge.evaluation.conformal import check_coverage
from metabridge.evaluation.scores import score
from metabridge.files import write_json
from metabridge.runs.evaluation import read_evaluation
from metabridge.runs.inputs import make_keys
from metabridge.types import TaskShape
from metabridge.units import format_accuracy, markdown_table

SCORES: tuple[Literal["lac", "aps"], ...] = ("lac", "aps")
_KINDS = {
    "by_task": "queries of the task",
    "by_validation": "validation tasks",
    "by_support": "its support alone",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure how sure the included bodies are on tasks of their test classes."""

    data_dir: Path
    """Folder of the data of both bodies."""
    output: Path = Path("runs/how-sure")
    """Folder of the results."""
    bodies: tuple[str, ...] = ("omniglot-conv4", "cifar_fs-conv4")
    """Included or published bodies, or files."""
    shots: tuple[int, ...] = (1, 5)
    """Shots of the test tasks."""
    coverage: OpenShare = 0.9
    """Share of the queries whose set is to hold their class."""
    tasks: Annotated[int, AtLeast(2)] = 2000
    """Test tasks, and validation tasks."""
    support_tasks: Annotated[int, AtLeast(0)] = 300
    """Test tasks of sets from the support; each fits a head for every image of it."""


def measure(options: Options, body: str, shots: int) -> dict[str, Any]:
    """Results of one body and number of shots, by conformity score."""
    found: dict[str, Any] = {"body": body, "shots": shots}
    for name in SCORES:
        changes = {
            "shots": shots,
            "tasks": options.tasks,
            "coverage": options.coverage,
            "conformity_score": name,
        }
        found[name] = metabridge.evaluate_body(
            body,
            changes,
            data_dir=options.data_dir,
            output=_file(options, body, shots, name),
        )
    if shots > 1 and options.support_tasks > 1:
        temperature = found["lac"]["calibration"]["temperature"]
        for name, sets in from_support(options, body, shots, temperature).items():
            found[name]["conformal"]["by_support"] = sets
    return found


def _file(options: Options, body: str, shots: int, name: str = SCORES[0]) -> Path:
    """Where an evaluation goes; what it keeps goes beside it."""
    return options.output / f"{Path(body).stem}-{shots}-{name}.json"


def from_support(
    options: Options, body: str, shots: int, temperature: float
) -> dict[str, dict[str, float]]:
    """Coverage and size of jackknife+ sets of the first test tasks, by score."""
    loaded = metabridge.load_body(body)
    config = loaded.config
    split = metabridge.load_dataset(config.data.dataset, data_dir=options.data_dir).test
    features = loaded.embed(np.asarray(split.inputs))
    evaluation = config.evaluation
    shape = TaskShape(evaluation.ways, shots, evaluation.queries)
    keys = jax.random.split(make_keys(config).test, options.tasks)
    drawn = draw_tasks(keys[: options.support_tasks], split, shape)
    head = {"head": evaluation.head, "C": evaluation.C, "penalty": evaluation.penalty}
    classifier = metabridge.FewShotClassifier(**head, temperature=temperature)
    held: dict[str, list[float]] = {name: [] for name in SCORES}
    sizes: dict[str, list[float]] = {name: [] for name in SCORES}
    labels, right = (
        np.repeat(np.arange(shape.ways), n) for n in (shots, shape.queries)
    )
    for support, query in zip(drawn.support, drawn.query, strict=True):
        classifier.fit_calibrate(features[support.ravel()], labels)
        for name in SCORES:
            sets = classifier.predict_set(
                features[query.ravel()], options.coverage, name
            )
            held[name].append(sets[np.arange(len(right)), right].mean())
            sizes[name].append(sets.sum(1).mean())
    return {name: _summary(held[name], sizes[name]) for name in SCORES}


def _summary(held: Sequence[float], sizes: Sequence[float]) -> dict[str, float]:
    covered, size = score(np.asarray(held)), score(np.asarray(sizes))
    return {
        "tasks": len(held),
        "coverage": covered.accuracy,
        "coverage_ci95": covered.ci95,
        "set_size": size.accuracy,
        "set_size_ci95": size.ci95,
    }


def table(found: Sequence[dict[str, Any]]) -> str:
    """Calibration, and then conformal sets, as tables in Markdown."""
    errors = [
        [
            each["body"],
            str(each["shots"]),
            *_calibration(each["lac"]["calibration"]),
        ]
        for each in found
    ]
    columns = ["body", "shots", "temperature"]
    for name in ("calibration error, %", "negative log-likelihood", "Brier score"):
        columns += [f"{name}, before", "after"]
    rows = [
        [each["body"], str(each["shots"]), title, *_sets(each, kind)]
        for each in found
        for kind, title in _KINDS.items()
        if any(each[name]["conformal"].get(kind) for name in SCORES)
    ]
    titles = ["body", "shots", "threshold from"]
    for name in SCORES:
        titles += [f"{name.upper()}: covered, %", "classes a set"]
    return f"{markdown_table(columns, errors)}\n\n{markdown_table(titles, rows)}"


def _calibration(calibration: dict[str, Any]) -> list[str]:
    before, after = calibration["before"], calibration["after"]
    cells = [f"{calibration['temperature']:.3f}"]
    cells += [f"{100 * scores['ece']:.2f}" for scores in (before, after)]
    for name in ("nll", "brier"):
        cells += [f"{s[name]:.4f} ± {s[f'{name}_ci95']:.4f}" for s in (before, after)]
    return cells


def _sets(each: dict[str, Any], kind: str) -> list[str]:
    cells = []
    for name in SCORES:
        sets = each[name]["conformal"].get(kind)
        if sets is None:
            cells += ["–", "–"]
            continue
        cells.append(format_accuracy(sets["coverage"], sets["coverage_ci95"]))
        cells.append(f"{sets['set_size']:.3f} ± {sets['set_size_ci95']:.3f}")
    return cells


def draw(options: Options, found: Sequence[dict[str, Any]]) -> Path:
    """Draw reliability before and after temperature, from the kept evaluations."""
    figure = Figure(figsize=(8.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    titles = "Probabilities as they are", "At the temperature of validation tasks"
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        panel.plot([0, 1], [0, 1], ":", color="0.4", linewidth=1)
        panel.set(title=title, xlabel="confidence", xlim=(0, 1), ylim=(0, 1.02))
        panel.grid(alpha=0.3)
        for each, colour in zip(found, itertools.cycle(COLOURS)):
            bins = _reliability(options, each, scaled=number == 1)
            name = f"{each['body']}, {each['shots']}-shot: {100 * bins.error:.1f} %"
            panel.plot(bins.confidence, bins.accuracy, ".-", label=name, color=colour)
        panel.legend(fontsize=7, title="calibration error", title_fontsize=7)
    panels[0].set_ylabel("accuracy")
    file = options.output / "reliability.png"
    figure.savefig(file, dpi=120)
    return file


def _reliability(
    options: Options, each: dict[str, Any], *, scaled: bool
) -> Reliability:
    """The reliability table of a kept evaluation, at the temperature if `scaled`."""
    file = _file(options, each["body"], each["shots"]).with_suffix(".npz")
    records = read_evaluation(file).closed
    temperature = each["lac"]["calibration"]["temperature"] if scaled else 1.0
    predicted = probabilities(records.outcome.logits, temperature)
    labels = np.broadcast_to(records.labels, predicted.shape[:2])
    return reliability(predicted, labels)


def main(options: Options) -> None:
    """Measure, print and write.

    Raises:
      ValueError: bad arguments, or data that is not there.
    """
    check(options)
    check_coverage(options.coverage)
    options.output.mkdir(parents=True, exist_ok=True)
    found = []
    for body in options.bodies:
        for shots in options.shots:
            found.append(measure(options, body, shots))
            print(f"{body}, {shots} shots: done", flush=True)
            write_json(options.output / "results.json", {"results": found})
    print(f"\n{table(found)}\n\nthe picture: {draw(options, found)}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"how_sure: {error}")
