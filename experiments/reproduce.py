"""The paper's table and its efficiency figure, from the recipes.

    python -m experiments.reproduce --table main --datasets cifar_fs --data-dir DATA
    python -m experiments.reproduce --table efficiency --data-dir DATA

``main`` trains every algorithm on every dataset for 1 and 5 shots with several seeds,
by `experiments.recipes`, and prints accuracy (mean over seeds, 95 % interval over
tasks) beside what was published. ``efficiency`` trains MTL for several shares of its
steps, with the learning rate falling to zero in each, and draws accuracy against
training time, with MetaOptNet as the line to reach. What is finished in the folder is
taken as it is, what was begun goes on. Written there: the table as Markdown and JSON,
and the figure.

On a machine without an accelerator the recipes take weeks: ``--body conv4 --minutes 5``
gives every run a smaller body and the same training time, and the table says so.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from experiments import recipes
from experiments.report import markdown
from metabridge.comparison.run import train_in_a_process
from metabridge.config import ModelConfig, ResolvedConfig, resolve
from metabridge.files import write_json
from metabridge.runs import folder as run_folder

# With `minutes`, a validation must not take longer than what it judges.
_BRIEF_VALIDATION = 100
_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


@dataclasses.dataclass(frozen=True)
class Options:
    """Train what is missing of a table of the paper, and print it."""

    table: Literal["main", "efficiency"] = "main"
    """Accuracy of all, or of MTL against its training time."""
    algorithms: tuple[recipes.Name, ...] = ("mtl", "metaoptnet")
    """Rows of the main table."""
    budgets_of: Literal["mtl", "mtl_plus"] = "mtl"
    """Whose accuracy at several budgets the efficiency is, beside MetaOptNet's."""
    datasets: tuple[recipes.Dataset, ...] = ("cifar_fs", "fc100")
    """Which of them."""
    shots: tuple[Literal[1, 5], ...] = (1, 5)
    """Columns of the main table; the efficiency is that of the last of them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Runs of each."""
    data_dir: Path | None = None
    """Where the datasets are; see docs/data.md."""
    folder: Path = Path("runs/reproduce")
    """Of the runs and the results."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the bodies' computation."""
    body: Literal["conv4"] | None = None
    """Conv4 with 64 channels instead of the recipes' bodies."""
    minutes: float | None = None
    """Training time of every run instead of the recipes' steps."""
    quick: bool = False
    """A minute of everything on the built-in data, to see that it runs."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run."""

    algorithm: str
    dataset: str
    shots: int
    seed: int
    share: float | None = None
    """Of the recipe's steps, with the learning rate falling to zero in them; None for
    the recipe as it is."""

    @property
    def name(self) -> str:
        """Of its folder."""
        part = "" if self.share is None else f"-{self.share:g}"
        return f"{self.algorithm}-{self.dataset}-{self.shots}shot-{self.seed}{part}"


def jobs(options: Options) -> list[Job]:
    """All runs of a table, those of one seed after the other."""
    shots, name = options.shots[-1], options.budgets_of
    wanted: list[tuple[str, int, float | None]] = [
        ("metaoptnet", shots, None),
        *((name, shots, share) for share in _SHARES),
    ]
    if options.table == "main":
        columns = itertools.product(options.shots, options.algorithms)
        wanted = [(algorithm, shots, None) for shots, algorithm in columns]
    return [
        Job(algorithm, dataset, shots, seed, share)
        for seed in options.seeds
        for dataset in options.datasets
        for algorithm, shots, share in wanted
    ]


def config_of(job: Job, options: Options) -> ResolvedConfig:
    """The configuration of a run; ValueError for options that do not go together."""
    config = recipes.recipe(job.algorithm, job.dataset, job.shots)
    paper, share = config.train, job.share or 1.0
    train: dict[str, Any] = {"seed": job.seed}
    if paper.schedule == "plateau" and (job.share or options.minutes):
        # A plateau rule would end where it likes; a cosine fits any budget.
        train |= {"schedule": "cosine", "early_stop": None}
    if options.minutes is not None:
        # Steps follow from the time, and the pauses from the steps.
        tasks = min(paper.validation_tasks, _BRIEF_VALIDATION)
        train |= {"steps": None, "validate_every": None, "validation_tasks": tasks}
        train["minutes"] = options.minutes * share
    else:
        steps = max(round((paper.steps or 1) * share), 1)
        every = min(paper.validate_every or 1, steps)
        train |= {"steps": steps, "validate_every": every}
    if options.body is not None:
        model = ModelConfig(options.body, width=64)
        config = dataclasses.replace(config, model=model)
    config = recipes.changed(
        config,
        data={"data_dir": options.data_dir},
        model={"precision": options.precision},
        train=train,
    )
    return resolve(recipes.quick(config) if options.quick else config)


def run(options: Options) -> dict[str, Any]:
    """Trains what is missing; wrong options or folders raise before any training.

    Returns:
      ``{"jobs": [...]}``: fields of every `Job`, with its ``"result"`` or ``"error"``.
    """
    planned = [(job, config_of(job, options)) for job in jobs(options)]
    for job, config in planned:
        run_folder.check_run(options.folder / job.name, config, resume=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, (job, config) in enumerate(planned, start=1):
        print(f"{number} of {len(planned)}: {job.name}", file=sys.stderr, flush=True)
        path = options.folder / job.name / "result.json"
        error = None if path.is_file() else train_in_a_process(config, path.parent)
        outcome: dict[str, Any] = {"error": error}
        if error is None:
            outcome = {"result": json.loads(path.read_text(encoding="utf-8"))}
        found.append({**dataclasses.asdict(job), **outcome})
    return {"jobs": found}


def cell(found: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Accuracy over the seeds of one run: mean, interval over tasks, spread, cost.

    The runs share their test tasks, so the interval of the mean is the mean of theirs.
    """
    results = [job["result"] for job in found if "result" in job]
    if not results:
        return None
    names = ("accuracy", "ci95", "train_seconds")
    values = {name: np.asarray([result[name] for result in results]) for name in names}
    spread = values["accuracy"].std(ddof=1) if len(results) > 1 else float("nan")
    means = {name: float(each.mean()) for name, each in values.items()}
    return means | {"std": float(spread), "seeds": float(len(results))}


def main_table(found: dict[str, Any], options: Options) -> str:
    """Ours beside the published, in Markdown."""
    columns = ["algorithm", "dataset", "shots", "published, %", "ours, %"]
    rows = []
    for dataset, shots, algorithm in itertools.product(
        options.datasets, options.shots, options.algorithms
    ):
        published = recipes.reached(algorithm, dataset, shots)
        own = _select(found, algorithm=algorithm, dataset=dataset, shots=shots)
        cells = [algorithm, dataset, str(shots), published]
        rows.append(cells + _ours(own, len(options.seeds)))
    return markdown([*columns, "between seeds", "training"], rows) + _note(options)


def efficiency_table(found: dict[str, Any], options: Options) -> str:
    """Accuracy of MTL at several budgets, and MetaOptNet's, in Markdown."""
    columns = ["algorithm", "dataset", "budget", "accuracy, %", "between seeds"]
    rows = []
    points = [("metaoptnet", None), *((options.budgets_of, s) for s in _SHARES)]
    for dataset, (algorithm, share) in itertools.product(options.datasets, points):
        budget = "" if share is None else f"{share:.3g} of the steps"
        values = _select(found, dataset=dataset, algorithm=algorithm, share=share)
        ours = _ours(values, len(options.seeds))
        rows.append([algorithm, dataset, budget, *ours])
    return markdown([*columns, "training"], rows) + _note(options)


def efficiency_figure(found: dict[str, Any], options: Options, output: Path) -> None:
    """Test accuracy against training time: MTL's budgets, and MetaOptNet as a line."""
    figure = Figure(figsize=(5.2 * len(options.datasets), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(options.datasets), squeeze=False)[0]
    for axes, dataset in zip(panels, options.datasets, strict=True):
        own = {"dataset": dataset, "algorithm": options.budgets_of}
        budgets = (_select(found, **own, share=share) for share in _SHARES)
        points = [point for point in budgets if point is not None]
        axes.errorbar(
            [point["train_seconds"] / 60 for point in points],
            [100 * point["accuracy"] for point in points],
            [100 * point["ci95"] for point in points],
            color="#0072B2",
            marker="o",
            capsize=3,
            label="MTL" if options.budgets_of == "mtl" else "MTL, recipe mtl_plus",
        )
        line = _select(found, dataset=dataset, algorithm="metaoptnet", share=None)
        if line is not None:
            minutes = line["train_seconds"] / 60
            text = f"MetaOptNet, after {minutes:.3g} min"
            axes.axhline(100 * line["accuracy"], color="#D55E00", ls="--", label=text)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="training time, minutes", title=dataset)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    panels[0].set_ylabel(f"5-way {options.shots[-1]}-shot test accuracy, %")
    figure.savefig(output, dpi=150)


def _select(found: dict[str, Any], **fields: Any) -> dict[str, float] | None:
    """The `cell` of the jobs with these fields."""
    return cell([job for job in found["jobs"] if fields.items() <= job.items()])


def _ours(values: dict[str, float] | None, seeds: int) -> list[str]:
    if values is None:
        return ["failed", "", ""]
    accuracy = f"{100 * values['accuracy']:.2f} ± {100 * values['ci95']:.2f}"
    if values["seeds"] < seeds:
        accuracy += f" ({values['seeds']:.0f} of {seeds} seeds)"
    spread = "" if np.isnan(values["std"]) else f"± {100 * values['std']:.2f}"
    return [accuracy, spread, f"{values['train_seconds'] / 60:.3g} min"]


def _note(options: Options) -> str:
    if options.quick:
        return "\nQuick forms on the built-in data: these numbers mean nothing.\n"
    words = [
        f"5-way accuracy on 2,000 unseen tasks, mean over {len(options.seeds)} "
        "seed(s), 95 % interval over tasks, standard deviation between seeds."
    ]
    if options.body is not None:
        words.append("Ours with Conv4-64 instead of the published bodies.")
    if options.minutes is not None:
        words.append(f"{options.minutes:g} minutes of training each.")
    return "\n" + " ".join(words) + "\n"


def main(options: Options) -> None:
    """Trains, prints the table, and writes it with the figure."""
    found = run(options)
    if options.table == "main":
        text = main_table(found, options)
    else:
        text = efficiency_table(found, options)
        efficiency_figure(found, options, options.folder / "efficiency.png")
    write_json(options.folder / f"{options.table}.json", found)
    (options.folder / f"{options.table}.md").write_text(text, encoding="utf-8")
    print(text)
    if failed := [job for job in found["jobs"] if job.get("error")]:
        sys.exit(f"reproduce: {len(failed)} run(s) failed: {failed[0]['error']}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"reproduce: {error}")
