"""The part on weightings of tasks: MTL on sinusoids, whose losses differ widely.

The amplitudes are between 0.1 and 5, and so the squared errors of tasks differ by a
factor of up to 2,500: a mean over tasks is one over the largest. Every weighting has
its learning rate chosen on validation tasks, with the first seed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

from experiments.regression.options import Options
from experiments.regression.statistics import interval
from metabridge.config.weighting import Weighting
from metabridge.regression import MTL, RegressionConfig, TrainOptions
from metabridge.units import markdown_table

WEIGHTINGS = get_args(Weighting)
MEAN = "uniform"
Numbers = dict[str, Any]


class Weighed(NamedTuple):
    """A run."""

    weighting: Weighting
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Its folder, below that of the study."""
        return f"weightings/{self.weighting}-rate-{self.rate:g}-seed-{self.seed}"


def tuning_runs(options: Options) -> list[Weighed]:
    """Runs to choose learning rates by."""
    return [
        Weighed(weighting, rate, 0)
        for weighting in WEIGHTINGS
        for rate in options.weighting_lrs
    ]


def final_runs(options: Options, rates: Mapping[str, float]) -> list[Weighed]:
    """Runs of all seeds with the rates that were chosen."""
    return [
        Weighed(weighting, rates[weighting], seed)
        for seed in range(options.weighting_seeds)
        for weighting in WEIGHTINGS
    ]


def config_of(run: Weighed, options: Options) -> RegressionConfig:
    """The configuration of a run; of one seed all have the same test tasks."""
    train = TrainOptions(
        options.weighting_steps, learning_rate=run.rate, seed=run.seed,
        test_tasks=options.test_tasks,
    )  # fmt: skip
    return RegressionConfig(MTL(weighting=run.weighting), train=train)


def choose(found: Mapping[Weighed, Numbers]) -> dict[str, float]:
    """The rate of each weighting that explains most of the validation tasks."""
    rates, best = {}, {}
    for run, result in found.items():
        score = result.get("validation_r2")
        score = -math.inf if score is None else score
        if run.weighting not in rates or score > best[run.weighting]:
            rates[run.weighting], best[run.weighting] = run.rate, score
    return rates


def measure_weightings(
    options: Options, run: Callable[[RegressionConfig, str], Numbers]
) -> Numbers:
    """``weightings``, a list with the fields of `Weighed` beside the result of each.

    ``weighting_rates`` are the rates that were chosen.
    """

    def result(one: Weighed) -> Numbers:
        return run(config_of(one, options), one.name)

    rates = choose({one: result(one) for one in tuning_runs(options)})
    finals = final_runs(options, rates)
    return {
        "weightings": [result(one) | one._asdict() for one in finals],
        "weighting_rates": rates,
    }


def weighting_parts(found: Numbers) -> list[str]:
    """Text, table and answer."""
    its = found["settings"]
    rates = ", ".join(f"{rate:g}" for rate in its["weighting_lrs"])
    about = (
        f"MTL on 10-shot sinusoids, {its['weighting_steps']:,} steps of 25 of "
        f"1,000 fixed tasks, {its['weighting_seeds']} seeds; learning rates of {rates} "
        "chosen on validation tasks. Mean squared error on "
        f"{its['test_tasks']:,} unseen tasks, and its difference from the mean's with "
        "the same seed and tasks; 95 % intervals over seeds."
    )
    return [about, table(found), answer(found)]


def differences(found: Numbers) -> dict[str, tuple[float, float]]:
    """Error of each weighting less that of the mean, and half its interval."""
    by = _errors(found)
    return {
        name: interval([a - b for a, b in zip(own, by[MEAN], strict=True)])
        for name, own in by.items()
        if name != MEAN
    }


def table(found: Numbers) -> str:
    """A row a weighting."""
    by, against = _errors(found), differences(found)
    rows = []
    for name, own in by.items():
        mean, half = interval(own)
        less = "" if name == MEAN else "{:+.3f} ± {:.3f}".format(*against[name])
        rate = f"{found['weighting_rates'][name]:g}"
        rows.append([name, rate, f"{mean:.3f} ± {half:.3f}", less])
    columns = (
        "weighting",
        "learning rate",
        "mean squared error",
        "less that of uniform",
    )
    return markdown_table(columns, rows)


def answer(found: Numbers) -> str:
    """Which of the weightings are better or worse than the mean."""
    against = differences(found)
    better = [name for name, (mean, half) in against.items() if mean + half < 0]
    worse = [name for name, (mean, half) in against.items() if mean - half > 0]
    parts = [
        f"{word} than the mean, its interval without 0: {', '.join(names) or 'none'}."
        for word, names in (("Better", better), ("Worse", worse))
    ]
    return " ".join(parts)


def _errors(found: Numbers) -> dict[str, list[float]]:
    by: dict[str, list[float]] = {}
    for run in found["weightings"]:
        by.setdefault(run["weighting"], []).append(run["mse"])
    return by
