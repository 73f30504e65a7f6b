"""Sweeps over families of networks: their numbers, intervals and files."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from metabridge import theory
from metabridge.theory.closeness import kernel_sweep
from metabridge.theory.closeness.estimate import estimate
from metabridge.theory.closeness.sweep_result import estimate_slope
from tests.theory.cases import equal_tasks, textbook

HEAD = theory.gradient_flow("head", time=1.0)
TIMES, OUTER, JITTERS = (0.0, 0.3), (2.0, math.inf), (0.0, 0.1)


def draw(seed: int) -> tuple[theory.Tasks, theory.Tasks]:
    return equal_tasks(seed % 1000), equal_tasks(seed % 1000 + 1000, 2)


def small(**changes: object) -> theory.Sweep:
    """Two draws of two networks, at one time."""
    options = {
        "kernels": textbook, "values": (1, 3), "inner": HEAD, "adaptation": HEAD,
        "draws": 2,
    }  # fmt: skip
    return theory.sweep(draw, **options | changes)  # type: ignore[arg-type]


def made() -> theory.Sweep:
    """A sweep of numbers that follow powers of the depth, ``-1`` and ``-1.2``."""
    depths, powers = np.asarray([1.0, 2.0, 4.0, 8.0]), np.asarray([-1.0, -1.2])
    gap = (3.0 * depths[:, None] ** powers)[:, None, None, None]
    gap[0] = 1e3
    nothing = np.full_like(gap, math.nan)
    return theory.Sweep(
        "depth", tuple(depths), (0.1,), (math.inf,), (0.0,), gap, gap**2, nothing, gap,
        fitted_from=2.0,
    )  # fmt: skip


@pytest.mark.extended
@pytest.mark.parametrize("at_once", [2000, 0])
def test_cells_are_those_of_compare(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernels of all points at once, and by chunks of unseen tasks."""
    monkeypatch.setattr(kernel_sweep, "_AT_ONCE", at_once)
    seeds: list[int] = []
    count = 2 if at_once else 1

    def seen(seed: int) -> tuple[theory.Tasks, theory.Tasks]:
        seeds.append(seed)
        return draw(seed)

    found = theory.sweep(
        seen, kernels=textbook, values=(3, 1), inner=HEAD, adaptation=HEAD,
        times=TIMES, outer_times=OUTER, jitter=JITTERS, draws=count,
    )  # fmt: skip
    assert found.values == (1.0, 3.0)
    assert found.gap.shape == (2, 2, 2, 2, count)
    assert len(set(seeds)) == count
    for row in (0, -1):
        for d, seed in enumerate(dict.fromkeys(seeds)):
            tasks, unseen = draw(seed)
            one = theory.compare(
                textbook((1, 3)[row]), tasks, unseen, adaptation=HEAD, time=OUTER[0],
                inner=theory.gradient_flow("head", time=TIMES[1]), jitter=JITTERS[1],
            )  # fmt: skip
            for name in ("gap", "relative_gap", "transfer", "agreement"):
                cell = getattr(found, name)[row, 1, 0, 1, d]
                assert cell == pytest.approx(getattr(one, name), rel=1e-8)


def test_random_networks_are_drawn_with_fixed_tasks() -> None:
    tasks, unseen = draw(0)
    seeds: list[int] = []

    def family(width: float, seed: int) -> theory.KernelFn:
        seeds.append(seed)
        return textbook(1, last_W_std=1.0 + seed / 2**33 / width)

    found = theory.sweep(
        tasks, unseen, kernels=family, values=(1, 8), axis="width", inner=HEAD,
        adaptation=HEAD, draws=3,
    )  # fmt: skip
    assert len(set(seeds)) == 3
    assert len(set(found.gap.ravel())) == 6
    assert {"width", "time", "gap"} <= found.rows[0].keys()
    assert found.times == (1.0,)


def test_loops_may_follow_the_axis() -> None:
    def inner(time: float, depth: float) -> theory.Inner:
        return theory.gradient_flow("all", time=time / depth)

    found = small(inner=inner, adaptation=inner, draws=1, times=TIMES)
    tasks, unseen = draw(int(np.random.SeedSequence([0, 0]).generate_state(1)[0]))
    loop = theory.gradient_flow("all", time=TIMES[1] / 3)
    one = theory.compare(textbook(3), tasks, unseen, inner=loop, adaptation=loop)
    assert found.gap[1, 1, 0, 0, 0] == pytest.approx(one.gap, rel=1e-8)


def test_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).standard_normal(5)
    low, high = scipy.stats.t.interval(
        0.95, 4, loc=values.mean(), scale=scipy.stats.sem(values)
    )
    found = estimate(values)
    np.testing.assert_allclose(
        [found.mean - found.half, found.mean + found.half], [low, high], rtol=1e-10
    )
    assert math.isnan(estimate(values[:1]).half)


@pytest.mark.extended
def test_intervals_cover_the_slope_of_a_power_law() -> None:
    """Of 2,000 sweeps of 5 draws, 95 % within four standard errors."""
    rng = np.random.default_rng(0)
    depths, slope = np.asarray([4.0, 16.0, 64.0, 256.0]), -0.96
    covered = 0
    for _ in range(2000):
        # Each draw has a level, a tilt and noise in its cells of its own.
        level, tilt = rng.normal(0.0, 0.5), rng.normal(0.0, 0.05, 5)
        noise = rng.normal(0.0, 0.1, (4, 5))
        values = np.exp(level + np.log(depths)[:, None] * (slope + tilt) + noise)
        found = estimate_slope(depths, values)
        covered += abs(found.mean - slope) <= found.half
    assert 0.93 <= covered / 2000 <= 0.97


def test_slopes_of_a_sweep() -> None:
    found = made()
    (slope,) = found.slopes
    assert slope.gap.mean == pytest.approx(-1.1)
    # t of one degree of freedom, 12.706, times a standard error of 0.1
    assert slope.gap.half == pytest.approx(1.2706, rel=1e-4)
    assert slope.relative_gap.mean == pytest.approx(-2.2)
    assert "agreement" not in found.table()


@pytest.mark.extended
def test_file_and_figure(tmp_path: Path) -> None:
    found = made()
    path = tmp_path / "sweep.npz"
    found.save(path)
    again = theory.load(path)
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert str(again) == str(found) == found.table()
    assert repr(found).startswith("Sweep(depth 1 to 8, times 0.1, 2 draws")
    found.plot(tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def other(path: Path, **changes: object) -> None:
    arrays = dict(np.load(path)) | changes
    np.savez(path, allow_pickle=True, **arrays)  # type: ignore[arg-type]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no archive": lambda path: path.write_bytes(b"no archive"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "another format": functools.partial(other, format="metabridge.Other"),
    "version is 99": functools.partial(other, version=99),
    "times": functools.partial(other, times=np.zeros(3)),
    "pickle": functools.partial(other, gap=np.asarray([None])),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.npz"
    made().save(path)
    DAMAGE[name](path)
    with pytest.raises(ValueError, match=r"sweep\.npz is no sweep"):
        theory.load(path)


@pytest.mark.extended
def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    calls: list[float] = []

    def family(depth: float) -> theory.KernelFn:
        calls.append(depth)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return textbook(int(depth))

    folder = tmp_path / "cells"
    with pytest.raises(KeyboardInterrupt):
        small(kernels=family, folder=folder)
    found = small(kernels=family, folder=folder)
    # Three calls for the settings each time, four cells, one of them twice.
    assert len(calls) == 3 + 4 + 1 + 3
    np.testing.assert_array_equal(found.gap, small().gap)
    assert small(folder=folder, draws=3).draws == 3
    for name, changes in {
        "times": {"times": (0.0,)}, "kernels": {"kernels": lambda d: textbook(2)},
        "loops": {"adaptation": theory.gradient_flow("head", time=2.0)},
        "tasks": {"seed": 1},
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=rf"other settings \(.*{name}"):
            small(folder=folder, **changes)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="holds other files"):
        small(folder=tmp_path)


def test_a_folder_tells_functions_and_all_networks_apart(tmp_path: Path) -> None:
    def loop(penalty: float) -> theory.Inner:
        return theory.spectral("head", g=lambda s: 1 / (s + penalty))

    def family(depth: float, scale: float = 1.0) -> theory.KernelFn:
        return textbook(int(depth), last_W_std=scale if depth == 3 else 1.0)

    run = functools.partial(small, kernels=family, draws=1, folder=tmp_path / "cells")
    found = run(inner=loop(0.1))
    np.testing.assert_array_equal(run(inner=loop(0.1)).gap, found.gap)
    with pytest.raises(ValueError, match=r"other settings \(loops\)"):
        run(inner=loop(9.0))
    with pytest.raises(ValueError, match=r"other settings \(kernels\)"):
        run(inner=loop(0.1), kernels=functools.partial(family, scale=2.0))
    steps = {"lr": 0.01, "momentum": 0.5, "steps": 3}
    own = functools.partial(run, folder=tmp_path / "momentum")
    own(inner=theory.spectral("head", g=theory.HeavyBall(**steps)))
    with pytest.raises(ValueError, match=r"other settings \(loops\)"):
        own(inner=theory.spectral("head", g=theory.Nesterov(**steps)))


@pytest.mark.extended
def test_coupled_outputs(tmp_path: Path) -> None:
    """As `compare` on pairs of inputs and outputs."""
    tasks, unseen = draw(0)
    rng = np.random.default_rng(0)
    size = np.asarray(tasks.query_x).shape[-1]
    params = {"body": rng.standard_normal((size, 5)), "head": np.eye(5)[:, :2]}

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ params["body"]) @ params["head"]

    kernel = theory.empirical(
        apply, params, head="head", outputs="full", dtype="float64"
    )
    found = theory.sweep(
        tasks, unseen, kernels=lambda width: kernel, values=(8,), axis="width",
        inner=HEAD, adaptation=HEAD, draws=1, jitter=np.float64(0.1),
        folder=tmp_path / "cells",
    )  # fmt: skip
    one = theory.compare(kernel, tasks, unseen, inner=HEAD, adaptation=HEAD, jitter=0.1)
    for name in ("gap", "relative_gap", "agreement", "transfer"):
        cell = getattr(found, name).item()
        assert cell == pytest.approx(getattr(one, name), rel=1e-6), name


def test_bad_calls() -> None:
    tasks, unseen = draw(0)
    run = functools.partial(
        theory.sweep, kernels=textbook, values=(1,), inner=HEAD, adaptation=HEAD
    )
    with pytest.raises(ValueError, match="all 5 draws would be equal"):
        run(tasks, unseen)
    with pytest.raises(ValueError, match="no unseen tasks"):
        run(lambda seed: tasks)
    with pytest.raises(ValueError, match="`values` must be one number or more"):
        run(draw, values=())
    for axis in ("time", "jitter", "gap"):
        with pytest.raises(ValueError, match=f"`axis` is '{axis}', which is another"):
            run(draw, axis=axis)
    with pytest.raises(ValueError, match="pass `times`"):
        run(draw, inner=lambda time, depth: HEAD)
    with pytest.raises(ValueError, match="has no time to vary"):
        run(draw, inner=theory.ridge("head", penalty=1.0), times=(0.1,))
    with pytest.raises(ValueError, match="`tasks` drew 2 things"):
        run(draw, unseen)


def test_too_many_points_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metabridge.parallel.devices.free_host_bytes", lambda: 1e4)
    with pytest.raises(ValueError, match="sweep over fewer training tasks"):
        small()


@pytest.mark.extended
def test_results_print_as_one_line() -> None:
    tasks, unseen = draw(0)
    kernel = textbook(1)
    predictor = theory.mtl_predictor(kernel, tasks)
    results = (
        predictor,
        predictor.report,
        theory.compare(kernel, tasks, unseen, inner=HEAD, adaptation=HEAD),
        theory.diagnose(tasks, unseen, kernel=kernel),
        made(),
        theory.depth_sweep(
            tasks, unseen, depths=(1,), times=(0.0,), inner=HEAD, adaptation=HEAD
        ),
        theory.evidence(kernel, tasks, noise=0.1),
        predictor.ensemble(3),
    )
    for result in results:
        text = repr(result)
        assert "\n" not in text
        assert len(text) < 150, text
        assert text.startswith(type(result).__name__ + "(")
    assert theory.__version__[0].isdigit()
