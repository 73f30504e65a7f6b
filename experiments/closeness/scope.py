"""The scope of the closeness: critical networks, heads, and against other seeds.

Three studies on synthetic tasks, each with intervals over draws of the tasks.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.closeness import data, figures, tables
from experiments.closeness.config import Compare
from experiments.closeness.tables import Grid, Table
from metabridge import theory
from metabridge.theory.closeness.estimate import Estimate, estimate
from metabridge.theory.finite.train_pair import train_pair

TRAIN, TEST = 8, 20
FITTED_FROM = 64
"""Depths from here on give the slopes of the study of what adapts."""
INNER = (0.01, 0.1, 1.0)
"""Times of the inner loops of MAML and BOIL, over the depth."""
SEED_TIME = 0.01
"""Time of ANIL's inner loop in the study of seeds."""
_SEED_DEPTH, _SEED_STEPS, _SEEDS = 2, 300, 2
_NETWORKS = {
    "ReLU, critical": ("relu", 2**0.5, 0.0),
    "erf, critical": ("erf", math.pi**0.5 / 2, 0.0),
    "ReLU, W_std = 1.2, b_std = 0.5": ("relu", 1.2, 0.5),
    "erf, W_std = 0.8, b_std = 0.3": ("erf", 0.8, 0.3),
}


def measure(config: Compare) -> dict[str, Any]:
    """The numbers of the three studies, as JSON holds them."""
    return {
        "critical": critical_study(config),
        "adaptations": adaptation_study(config),
        "seeds": seed_study(config),
    }


def draw(seed: int) -> tuple[theory.Tasks, theory.Tasks]:
    """Synthetic training and unseen tasks."""
    rng = np.random.default_rng(seed)
    return data.tanh_tasks(rng, TRAIN), data.tanh_tasks(rng, TEST)


def critical_study(config: Compare) -> dict[str, Any]:
    """Gaps by depth of networks on the critical line and off it, without inner loop.

    Critical are the scales at which two inputs come neither exponentially closer nor
    apart from layer to layer: Schoenholz, Gilmer, Ganguli, Sohl-Dickstein. Deep
    information propagation. ICLR 2017, https://arxiv.org/abs/1611.01232.
    """
    flow = theory.gradient_flow

    def network(depth: int, scales: tuple[Any, float, float]) -> theory.KernelFn:
        activation, W_std, b_std = scales
        return theory.fully_connected(
            depth, activation=activation, W_std=W_std, b_std=b_std
        )

    found = {
        name: theory.sweep(
            draw, kernels=functools.partial(network, scales=scales),
            values=config.critical_depths, inner=flow("head", time=0.0),
            adaptation=flow("head", time=config.adaptation_time),
            draws=config.task_draws, seed=config.seed,
        )
        for name, scales in _NETWORKS.items()
    }  # fmt: skip
    return {name: _columns(each)[0] for name, each in found.items()}


def adaptation_study(config: Compare) -> dict[str, Any]:
    """Gaps where both adapt all layers or the body as in training, or the head."""
    flow = theory.gradient_flow
    head = flow("head", time=config.adaptation_time)

    def loop(time: float, depth: int, layers: theory.Layers) -> theory.Inner:
        return flow(layers, time=time / depth)

    found: dict[str, Any] = {}
    loops: tuple[tuple[str, theory.Layers, bool], ...] = (
        ("all layers", "all", True),
        ("body", "body", True),
        ("head, MAML in training", "all", False),
    )
    for name, layers, own in loops:
        inner = functools.partial(loop, layers=layers)
        swept = theory.sweep(
            draw, kernels=functools.partial(theory.relu_network, last_W_std=2**0.5),
            values=config.depths, inner=inner, adaptation=inner if own else head,
            times=INNER, draws=config.task_draws, seed=config.seed,
            fitted_from=FITTED_FROM,
        )  # fmt: skip
        for time, column in zip(INNER, _columns(swept), strict=True):
            found[f"{name}, {time:g} / L"] = column
    return found


def seed_study(config: Compare) -> dict[str, Any]:
    """Differences of trained networks of one width, and of their limits.

    Of MTL and ANIL from one initialisation, and of each from two; over the mean norm
    of the two predictions, averaged over the unseen tasks. Times are twice those of
    ``W_std = sqrt(2)``, as finite networks have 1 in the last layer.
    """
    names = ("MTL and ANIL, one seed", "MTL, two seeds", "ANIL, two seeds")
    names = (*names, "MTL and ANIL, infinite width")
    differences: dict[str, list[float]] = {name: [] for name in names}
    head = theory.gradient_flow("head", time=2 * config.adaptation_time)
    for number in range(config.task_draws):
        seeds = np.random.SeedSequence([config.seed, number]).generate_state(1 + _SEEDS)
        tasks, unseen = draw(int(seeds[0]))
        pairs = [
            train_pair(
                tasks, width=config.seed_width, depth=_SEED_DEPTH, time=2 * SEED_TIME,
                steps=_SEED_STEPS, seed=int(seed),
            )
            for seed in seeds[1:]
        ]  # fmt: skip
        first, second = (pair.compare(unseen, adaptation=head) for pair in pairs)
        limit = pairs[0].limit(tasks, unseen, adaptation=head)
        compared = (
            [(first.mtl, first.gbml), (second.mtl, second.gbml)],
            [(first.mtl, second.mtl)],
            [(first.gbml, second.gbml)],
            [(limit.mtl, limit.gbml)],
        )
        for name, each in zip(names, compared, strict=True):
            differences[name].append(float(np.mean([_apart(*two) for two in each])))
    return {name: estimate(np.asarray(each)) for name, each in differences.items()}


def make_tables(config: Compare, found: Mapping[str, Any]) -> dict[str, Table]:
    """Tables of the three studies."""
    draws = f"mean of {config.task_draws} draws of the tasks with 95 % interval"
    made = {
        "scope critical": _by_depth(
            f"Relative gap without inner loop, {draws}", found["critical"],
            "relative_gap", config.critical_depths,
        )
    }  # fmt: skip
    for field, title in (("gap", "Gap"), ("relative_gap", "Relative gap")):
        made[f"scope {field}"] = _by_depth(
            f"{title} by the layers that both adapt on an unseen task, {draws}",
            found["adaptations"], field, config.depths,
        )  # fmt: skip
    rows = tuple((name, _written(each)) for name, each in found["seeds"].items())
    made["seeds"] = Table(
        f"Difference of two predictions over their norm, width {config.seed_width}, "
        f"{draws}",
        ("networks", "difference"),
        rows,
    )
    return made


def make_figure(config: Compare, found: Mapping[str, Any]) -> figures.Figure:
    """Relative gaps with intervals: by the network, and by what adapts."""
    return figures.intervals(
        {
            "without inner loop": (config.critical_depths, found["critical"]),
            "both adapt the same layers": (config.depths, found["adaptations"]),
        },
        "relative_gap",
    )


def _columns(sweep: theory.Sweep) -> list[dict[str, Any]]:
    """A column of each time of a sweep: estimates by depth, and their slopes."""
    fields, found = ("gap", "relative_gap"), []
    for time, slope in zip(sweep.times, sweep.slopes, strict=True):
        rows = [row for row in sweep.rows if row["time"] == time]
        column = {name: [row[name] for row in rows] for name in fields}
        found.append(column | {f"{n}_slope": getattr(slope, n) for n in fields})
    return found


def _apart(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """The mean over tasks of ``2 |a - b| / (|a| + |b|)``."""
    norm = np.linalg.norm
    pairs = zip(first, second, strict=True)
    return float(np.mean([2 * norm(a - b) / (norm(a) + norm(b)) for a, b in pairs]))


def _by_depth(
    title: str, columns: Mapping[str, Any], field: str, depths: Sequence[int]
) -> Table:
    """Estimates by depth, and their slopes in the last row."""
    own = list(columns.values())
    rows = list(zip(*(column[field] for column in own), strict=True))
    slopes = [_written(column[f"{field}_slope"]) for column in own]
    grid = Grid(tables.LAYERS, sorted(depths), list(columns), {field: rows})
    return grid.table(title, field, {"slope in L": slopes}, show=_written)


def _written(estimate: Sequence[float]) -> str:
    return str(Estimate(*estimate))
