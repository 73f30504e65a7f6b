"""MTL and GBML on unseen tasks: gaps by depth, accuracies, finite networks."""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments.closeness import data, explorer, figures, scope, tables
from experiments.closeness.config import Compare
from experiments.closeness.data import Source
from experiments.closeness.scope import FITTED_FROM
from experiments.closeness.tables import Table
from metabridge import theory
from metabridge.evaluation import score
from metabridge.theory.closeness import image_tasks
from metabridge.theory.finite import width_study

TITLE = "Multi-task learning and meta-learning, infinitely wide"
BESIDE = 1e-2
"""Time of the inner loops of MAML and BOIL, over the depth, in the depth study."""
_SETS = 5
"""Synthetic training sets that the depth study averages over."""
_TRAIN, _TEST = 8, 20
_IMAGE_TASKS = 8
_KERNEL_DEPTHS = (1, 30)
_FEW, _MANY = 0, 2
"""Added to the seed of the image tasks of the depth study, and of the accuracies."""
_MEANS = ("gap", "relative_gap", "transfer")

Pair = tuple[theory.Tasks, theory.Tasks]
"""Training tasks and unseen ones."""


def prepare(source: Source[Compare]) -> dict[int, Pair]:
    """Image tasks of both sizes, before any work."""
    image_tasks.check(source.dataset, source.shape())
    seed, tasks = source.config.seed, source.config.tasks
    sizes = {_FEW: (_IMAGE_TASKS, _IMAGE_TASKS), _MANY: (tasks, 2 * tasks)}
    return {
        more: (
            source.train(train, seed=seed + more),
            source.unseen(unseen, seed=seed + more + 1),
        )
        for more, (train, unseen) in sizes.items()
    }


def measure(source: Source[Compare], images: dict[int, Pair]) -> dict[str, Any]:
    """All numbers, as results.json holds them, and the seconds that they took."""
    config = source.config
    found: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    with _timed(seconds, "gaps, synthetic tasks"):
        found["synthetic"] = depth_study(config, _synthetic(config))
    with _timed(seconds, "critical line, adaptations, seeds"):
        found["scope"] = scope.measure(config)
    with _timed(seconds, f"gaps, {config.dataset}"):
        found["images"] = depth_study(config, [images[_FEW]])
    with _timed(seconds, f"accuracies, {config.dataset}"):
        found["accuracies"] = {
            str(time): accuracies(config, *images[_MANY], time)
            for time in (config.adaptation_time, math.inf)
        }
    widths: dict[str, Any] = {"widths": sorted(config.widths)}
    widths |= {"draws": config.draws, "seed": config.seed}
    rng = np.random.default_rng([config.seed, _SETS])
    few, unseen = data.tanh_tasks(rng, 3), data.tanh_tasks(rng, 8)
    with _timed(seconds, "finite networks, kernels"):
        found["kernel_widths"] = _as_dict(width_study.kernel_errors(few, **widths))
    with _timed(seconds, "finite networks, training"):
        trained = width_study.prediction_errors(few, unseen, **widths)
        found["prediction_widths"] = _as_dict(trained)
    with _timed(seconds, "curves of the explorer"):
        found["explorer"] = explorer.explore(config)
    return found | {"seconds": seconds}


def depth_study(config: Compare, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Gaps of ReLU networks by depth, averaged over pairs of task sets.

    Returns:
      The ``"anil"`` column of each time, the columns of ``"others"`` by name, and the
      ``"bound"`` of ANIL's gap by depth and time, with its constant.
    """
    depths, times = sorted(config.depths), sorted(config.times)
    cells: dict[Any, list[list[theory.Closeness]]] = {}
    for train, test in pairs:
        points, seen, unseen = theory.at_positions(train, test)
        kernels = theory.iterate_depths(points, depths=depths, last_W_std=2**0.5)
        for row, kernel in enumerate(map(theory.precomputed, kernels)):
            for name, options in _comparisons(config, depths[row]).items():
                close = theory.compare(kernel, seen, unseen, **options)
                cells.setdefault(name, [[] for _ in depths])[row].append(close)
    anil = _sweep(depths, times, [cells.pop(time) for time in times])
    others = _sweep(depths, [0.0] * len(cells), list(cells.values()))
    return {
        "depths": depths,
        "times": times,
        "anil": _columns(anil),
        "others": dict(zip(cells, _columns(others), strict=True)),
        "bound_constant": anil.bound_constant,
        "bound": anil.bound.tolist(),
    }


def _comparisons(config: Compare, depth: int) -> dict[Any, dict[str, Any]]:
    """Options of `theory.compare` at a depth; those of ANIL under its time."""
    flow = theory.gradient_flow
    head = flow("head", time=config.adaptation_time)
    every = flow("all", time=config.adaptation_time / depth)
    brief = BESIDE / depth
    own = {"inner": every, "gbml_adaptation": every}
    joint = {"inner": flow("head", time=0.0), "train_on": "joint"}
    options: dict[Any, dict[str, Any]] = {
        **{time: {"inner": flow("head", time=time)} for time in config.times},
        "MTL joint vs ANIL, time 0": joint,
        f"MTL vs MAML, time {BESIDE:g} / depth": {"inner": flow("all", time=brief)},
        f"MTL vs BOIL, time {BESIDE:g} / depth": {"inner": flow("body", time=brief)},
        "MTL vs MAML, each its own adaptation": own,
    }
    return {name: {"adaptation": head, **each} for name, each in options.items()}


def _sweep(
    depths: Sequence[int],
    times: Sequence[float],
    cells: Sequence[list[list[theory.Closeness]]],
) -> theory.DepthSweep:
    """Cells by time and depth, averaged over the pairs of task sets."""

    def mean(found: Sequence[theory.Closeness]) -> theory.Closeness:
        means = {n: float(np.mean([getattr(one, n) for one in found])) for n in _MEANS}
        return found[0]._replace(**means)

    rows = tuple(tuple(map(mean, row)) for row in zip(*cells, strict=True))
    return theory.DepthSweep(tuple(depths), tuple(times), rows, FITTED_FROM)


def _columns(sweep: theory.DepthSweep) -> list[dict[str, Any]]:
    """Each time of a sweep, by depth, with its slopes."""
    return [
        {name: getattr(sweep, name)[:, index].tolist() for name in _MEANS}
        | {
            "gap_slope": float(sweep.gap_slopes[index]),
            "relative_slope": float(sweep.relative_slopes[index]),
        }
        for index in range(len(sweep.times))
    ]


def accuracies(
    config: Compare, train: theory.Tasks, test: theory.Tasks, time: float
) -> dict[str, dict[str, Any]]:
    """Accuracy on unseen tasks of every method, at infinite width.

    The time is that of the head's flow; over the depth, of the body's and all layers'.
    """
    depth, flow = config.accuracy_depth, theory.gradient_flow
    kernel = theory.relu_network(depth)
    head = flow("head", time=time)
    mtl = functools.partial(theory.mtl_predictor, kernel, train)
    gbml = functools.partial(theory.gbml_predictor, kernel, train)
    methods: dict[str, Callable[[], theory.Predictor]] = {
        "MTL, joint": functools.partial(mtl, train_on="joint"),
        "MTL, queries": mtl,
        "MTL, independent heads": functools.partial(mtl, heads="independent"),
        "ANIL": functools.partial(gbml, inner=head),
        "MAML": functools.partial(gbml, inner=flow("all", time=time / depth)),
        "BOIL": functools.partial(gbml, inner=flow("body", time=time / depth)),
    }
    unseen = test.support_x, test.support_y, test.query_x
    found = {}
    for name, train_method in methods.items():
        predictor = train_method()
        predicted = predictor(*unseen, adaptation=predictor.inner or head)
        found[name] = score(tables.correct(test, list(predicted)))._asdict()
    return found


def make_tables(config: Compare, found: dict[str, Any]) -> dict[str, Table]:
    """All tables by the name that the page has for them."""
    images = f"{config.ways}-way {config.shots}-shot tasks of {config.dataset}"
    made = {}
    for prefix, own, tasks in (
        ("", found["synthetic"], "synthetic tasks"),
        ("image-", found["images"], images),
    ):
        for name, key, field, title in (
            ("gap", "anil", "gap", "Gap of MTL and ANIL"),
            ("relative", "anil", "relative_gap", "Relative gap"),
            ("others", "others", "gap", "Gap in other comparisons"),
        ):
            slopes = {"slope in L": _slopes(own, key)[field]}
            grid = _grid(own, key)
            made[prefix + name] = grid.table(f"{title}, {tasks}", field, slopes)
    made["bound"] = _bound(found["synthetic"])
    made |= scope.make_tables(config, found["scope"])
    made["accuracy"] = tables.methods(
        f"Accuracy on {2 * config.tasks} unseen {images}, "
        f"{config.accuracy_depth} hidden layers, with 95 % interval",
        {f"time {tables.number(float(t))}": c for t, c in found["accuracies"].items()},
        tables.accuracy,
    )
    for name, what in (
        ("kernel", "the tangent kernel of finite networks"),
        ("prediction", "the predictions of trained finite networks"),
    ):
        own = found[f"{name}_widths"]
        slopes = {"slope": map(tables.slope, own["slopes"].values())}
        title = f"Relative error of {what}"
        made[f"{name}-widths"] = tables.errors(own).table(title, "error", slopes)
    return made


def _grid(study: dict[str, Any], key: str) -> tables.Grid:
    """The comparisons with ANIL or the others of a depth study."""
    if key == "others":
        names, columns = list(study[key]), list(study[key].values())
    else:
        names, columns = tables.times(study["times"]), study[key]
    values = {f: np.transpose([column[f] for column in columns]) for f in figures.GAPS}
    return tables.Grid(tables.LAYERS, study["depths"], names, values)


def _slopes(study: dict[str, Any], key: str) -> dict[str, list[str]]:
    columns = study[key].values() if key == "others" else study[key]
    return {
        "gap": [tables.slope(column["gap_slope"]) for column in columns],
        "relative_gap": [tables.slope(column["relative_slope"]) for column in columns],
    }


def _bound(study: dict[str, Any]) -> Table:
    """ANIL's gap beside the bound ``c (time + 1 / depth)``."""
    grid, short = _grid(study, "anil"), tables.short
    rows = zip(grid.rows, grid.values["gap"], study["bound"], strict=True)
    cells = tuple(
        (str(depth), *(f"{short(g)} ≤ {short(b)}" for g, b in zip(*both, strict=True)))
        for depth, *both in rows
    )
    title = f"Gap ≤ {_note(study)}, synthetic tasks"
    return Table(title, (grid.corner, *grid.columns), cells)


def _note(study: dict[str, Any]) -> str:
    return f"bound {study['bound_constant']:.2g} (λτ + 1/L)"


def make_figures(
    source: Source[Compare], found: dict[str, Any]
) -> dict[str, figures.Figure]:
    """All figures by the name of their file."""
    (training, _), *_ = _synthetic(source.config)
    synthetic = found["synthetic"]
    over_time = _grid(synthetic, "anil").transposed(
        "time λτ of the inner loop in training", synthetic["times"]
    )
    bound = np.transpose(synthetic["bound"])[-len(over_time.rows) :]
    finite = {
        "tangent kernel at initialisation": found["kernel_widths"],
        "prediction after training": found["prediction_widths"],
    }
    return {
        "gap-synthetic": _by_depth(synthetic, "Synthetic tasks"),
        "scope": scope.make_figure(source.config, found["scope"]),
        "gap-images": _by_depth(found["images"], "Image tasks"),
        "gap-time": figures.lines(
            over_time, "Synthetic tasks", fields=figures.GAPS, dotted={"gap": bound},
            note=_note(synthetic),
        ),
        "predictions": figures.predictions(explorer.curves(source.config)),
        "kernels": figures.kernels(_matrices(training), _TRAIN),
        "finite-width": figures.finite_width(
            {title: tables.errors(own) for title, own in finite.items()},
            {t: [*map(tables.slope, o["slopes"].values())] for t, o in finite.items()},
        ),
    }  # fmt: skip


def _by_depth(study: dict[str, Any], title: str) -> figures.Figure:
    """Gap and relative gap against depth, a line a time, slopes in the legend."""
    grid, slopes = _grid(study, "anil"), _slopes(study, "anil")
    labels = {
        field: [f"{n}, slope {s}" for n, s in zip(grid.columns, own, strict=True)]
        for field, own in slopes.items()
    }
    return figures.lines(
        grid, f"{title} (slopes over L ≥ {FITTED_FROM})", fields=figures.GAPS,
        labels=labels, dotted={"gap": study["bound"]}, note=_note(study),
    )  # fmt: skip


def _synthetic(config: Compare) -> list[Pair]:
    rngs = [np.random.default_rng([config.seed, index]) for index in range(_SETS)]
    return [(data.tanh_tasks(r, _TRAIN), data.tanh_tasks(r, _TEST)) for r in rngs]


def _matrices(training: theory.Tasks) -> dict[str, np.ndarray]:
    """Kernels of MTL and ANIL on the training queries."""
    matrices = {}
    inner = theory.gradient_flow("head", time=0.1)
    for depth in _KERNEL_DEPTHS:
        kernel = theory.relu_network(depth, last_W_std=2**0.5)
        matrices[f"MTL, L = {depth}"] = theory.mtl_kernel(kernel, training)
        anil = theory.gbml_kernel(kernel, training, inner=inner)
        matrices[f"ANIL, λτ = 0.1, L = {depth}"] = anil
    return matrices


def _as_dict(result: width_study.Widths) -> dict[str, Any]:
    errors = {name: table.tolist() for name, table in result.errors.items()}
    return {"widths": result.widths, "errors": errors, "slopes": result.slopes}


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
