"""Comparing the two, and how the comparison behaves with depth and time."""

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.closeness.compare import closeness_of
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.predictor import Predicted
from tests.theory import reference
from tests.theory.cases import (
    LOOPS,
    as_tasks,
    equal_tasks,
    tanh_tasks,
    textbook,
    unequal_tasks,
)

HEAD = theory.gradient_flow("head", time=1.0)
DEPTHS = (64, 256, 1024)


def test_compare_equals_the_reference() -> None:
    inner, naive_inner = LOOPS["MAML"]
    adaptation, naive_adaptation = LOOPS["ANIL"]
    tasks, test = unequal_tasks(0), unequal_tasks(1, 2)
    naive = reference.relu(2)
    _, gbml = reference.gbml(naive, tasks, naive_inner)
    eye = np.eye(2)
    C, new = np.kron(np.ones((3, 3)), eye), np.kron(np.ones((1, 3)), eye)
    _, mtl = reference.mtl(naive, tasks, C, new)
    gaps, transfers = [], []
    for task in test:
        first = reference.predict(naive, mtl, naive_adaptation, task)
        second = reference.predict(naive, gbml, naive_adaptation, task)
        gaps.append(np.linalg.norm(first - second))
        bare = task._replace(support_y=np.zeros_like(task.support_y))
        own = reference.predict(naive, gbml, naive_adaptation, bare)
        transfers.append(np.linalg.norm(own))
    result = theory.compare(
        textbook(2), as_tasks(tasks), as_tasks(test),
        inner=inner, adaptation=adaptation,
    )  # fmt: skip
    np.testing.assert_allclose(result.gaps, gaps, rtol=1e-8)
    np.testing.assert_allclose(result.transfers, transfers, rtol=1e-8)
    assert result.gap == pytest.approx(np.mean(gaps))
    assert result.transfer == pytest.approx(np.mean(transfers))
    assert result.relative_gap == pytest.approx(np.mean(np.divide(gaps, transfers)))


def test_one_task_equals_a_batch_of_one() -> None:
    tasks, batch = equal_tasks(2), equal_tasks(3, 1)
    single = theory.Tasks(
        batch.support_x[0], batch.support_y[0], batch.query_x[0], batch.query_y[0]
    )
    kernel = textbook(1)
    first, second = (
        theory.compare(kernel, tasks, test, inner=HEAD, adaptation=HEAD)
        for test in (batch, single)
    )
    assert first.gap == second.gap
    assert first.relative_gap == second.relative_gap


def test_a_predictor_takes_one_task_a_batch_and_a_list() -> None:
    tasks, test = equal_tasks(4), equal_tasks(5, 2)
    predictor = theory.mtl_predictor(textbook(1), tasks)
    batch = predictor(test.support_x, test.support_y, test.query_x, adaptation=HEAD)
    assert np.shape(batch) == (2, 5, 2)
    ragged = predictor(
        [test.support_x[0], test.support_x[1][:2]],
        [test.support_y[0], test.support_y[1][:2]],
        [test.query_x[0][:1], test.query_x[1]],
        adaptation=HEAD,
    )
    assert isinstance(ragged, list)
    np.testing.assert_allclose(ragged[0], batch[0][:1], rtol=0, atol=1e-12)
    assert ragged[1].shape == (5, 2)
    single = predictor(
        test.support_x[0], test.support_y[0], test.query_x[0], adaptation=HEAD
    )
    np.testing.assert_allclose(single, batch[0], rtol=0, atol=1e-12)


def test_labels_in_float32_and_jax_arrays_are_welcome() -> None:
    import jax.numpy as jnp

    tasks = equal_tasks(6)
    fields = (tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y)
    single = theory.Tasks(*(jnp.asarray(field, jnp.float32) for field in fields))
    kernel = textbook(1)
    actual = theory.gbml_kernel(kernel, single, inner=HEAD)
    assert actual.dtype == np.float64
    expected = theory.gbml_kernel(kernel, tasks, inner=HEAD)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.extended
def test_sweep_equals_compare() -> None:
    tasks, test = equal_tasks(7), equal_tasks(8, 3)
    sweep = theory.depth_sweep(
        tasks, test, depths=(3, 1), times=(0.0, 0.4), inner=HEAD, adaptation=HEAD,
        train_on="joint", last_W_std=1.4, W_std=1.2, b_std=0.3,
    )  # fmt: skip
    assert sweep.depths == (1, 3)
    for row, depth in enumerate(sweep.depths):
        for column, time in enumerate(sweep.times):
            expected = theory.compare(
                textbook(depth, last_W_std=1.4, W_std=1.2, b_std=0.3), tasks, test,
                inner=theory.gradient_flow("head", time=time), adaptation=HEAD,
                train_on="joint",
            )  # fmt: skip
            np.testing.assert_allclose(
                sweep.cells[row][column].gaps, expected.gaps, rtol=1e-7
            )
    assert (sweep.gap <= sweep.bound * (1 + 1e-12)).all()
    assert np.isclose(sweep.gap, sweep.bound).any()


def test_sweep_streams_unequal_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a task or two, and groups that split them, change nothing."""
    tasks, test = as_tasks(unequal_tasks(20)), as_tasks(unequal_tasks(21, 7))

    def kernels(
        x1: np.ndarray, x2: np.ndarray | None, *, depths: Sequence[int], **scales: float
    ) -> Iterator[theory.Kernels]:
        return (textbook(depth, **scales)(x1, x2) for depth in depths)

    # Shapes of all sizes, which `iterate_depths` would compile for.
    monkeypatch.setattr("metabridge.theory.closeness.sweep.iterate_depths", kernels)

    def sweep() -> theory.DepthSweep:
        return theory.depth_sweep(
            tasks, test, depths=(1, 5), times=(0.2,), inner=HEAD, last_W_std=1.2,
            adaptation=lambda time, depth: theory.gradient_flow("all", time=1 / depth),
        )  # fmt: skip

    whole = sweep()
    monkeypatch.setattr(streaming, "GROUP", 12)
    small = functools.partial(streaming.predict, pairs=300)
    monkeypatch.setattr(streaming, "predict", small)
    parts = sweep()
    for row, depth in enumerate(whole.depths):
        expected = theory.compare(
            textbook(depth, last_W_std=1.2), tasks, test,
            inner=theory.gradient_flow("head", time=0.2),
            adaptation=theory.gradient_flow("all", time=1 / depth),
        )  # fmt: skip
        for cell in (whole.cells[row][0], parts.cells[row][0]):
            assert len(cell.mtl) == 7
            for name in ("gaps", "transfers", "agreements"):
                np.testing.assert_allclose(
                    getattr(cell, name), getattr(expected, name), rtol=1e-7
                )
            for ours, theirs in zip(cell.mtl, expected.mtl, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_agreement_is_the_share_of_equal_classes() -> None:
    tasks, test = equal_tasks(22, outputs=4), equal_tasks(23, 6, outputs=4)
    result = theory.compare(textbook(1), tasks, test, inner=HEAD, adaptation=HEAD)
    mtl, gbml = np.argmax(result.mtl, -1), np.argmax(result.gbml, -1)
    np.testing.assert_array_equal(result.agreements, (mtl == gbml).mean(1))
    assert result.agreement == pytest.approx((mtl == gbml).mean())
    assert 0 < result.agreement < 1
    parts = Predicted(result.gbml, [np.zeros_like(part) for part in result.gbml])
    same = closeness_of(parts, parts)
    assert (same.agreement, same.gap, same.relative_gap) == (1.0, 0.0, 0.0)


def test_one_output_has_no_class_to_agree_on() -> None:
    tasks, test = equal_tasks(24, outputs=1), equal_tasks(25, 2, outputs=1)
    result = theory.compare(textbook(1), tasks, test, inner=HEAD, adaptation=HEAD)
    assert math.isnan(result.agreement)
    assert np.isnan(result.agreements).all()


@pytest.mark.extended
def test_predicted_classes_agree_at_depth() -> None:
    sweep = theory.depth_sweep(
        equal_tasks(26), equal_tasks(27, 20), depths=(1, 256), times=(0.0,),
        inner=HEAD, adaptation=HEAD, last_W_std=2**0.5,
    )  # fmt: skip
    shallow, deep = sweep.agreement[:, 0]
    assert shallow < deep
    assert deep >= 0.95


def test_another_adaptation_of_gbml() -> None:
    tasks, test = equal_tasks(28), equal_tasks(29, 3)
    kernel, every = textbook(2), theory.gradient_flow("all", time=0.4)
    arguments = (test.support_x, test.support_y, test.query_x)
    mtl = theory.mtl_predictor(kernel, tasks)(*arguments, adaptation=HEAD)
    maml = theory.gbml_predictor(kernel, tasks, inner=every)(*arguments)
    result = theory.compare(
        kernel, tasks, test, inner=every, adaptation=HEAD, gbml_adaptation=every
    )
    gaps = np.linalg.norm(np.subtract(mtl, maml), axis=(1, 2))
    np.testing.assert_allclose(result.gaps, gaps, rtol=1e-12)


@pytest.mark.extended
def test_inner_loop_as_a_function_of_time_and_depth() -> None:
    tasks, test = equal_tasks(9), equal_tasks(10, 3)
    sweep = theory.depth_sweep(
        tasks, test, depths=(2, 4), times=(0.6,), adaptation=HEAD,
        inner=lambda time, depth: theory.gradient_flow("all", time=time / depth),
    )  # fmt: skip
    expected = theory.compare(
        textbook(4), tasks, test, adaptation=HEAD,
        inner=theory.gradient_flow("all", time=0.15),
    )  # fmt: skip
    assert sweep.cells[1][0].gap == pytest.approx(expected.gap)


@pytest.mark.extended
def test_slopes_with_depth() -> None:
    """The theorem's rates, in the setting of the tables."""
    sweep = theory.depth_sweep(
        tanh_tasks(0, 8), tanh_tasks(1, 16), depths=DEPTHS, times=(0.0, 0.1, 1.0),
        inner=HEAD, adaptation=HEAD, last_W_std=2**0.5,
    )  # fmt: skip
    assert sweep.gap_slopes[0] == pytest.approx(-2, abs=0.15)
    assert sweep.relative_slopes[0] == pytest.approx(-1, abs=0.15)
    assert sweep.gap_slopes[1:] == pytest.approx([-1, -1], abs=0.15)


@pytest.mark.extended
@pytest.mark.parametrize("layers", ["head", "body", "all"])
def test_gap_falls_with_depth_for_every_inner_loop(layers: theory.Layers) -> None:
    sweep = theory.depth_sweep(
        tanh_tasks(2, 8), tanh_tasks(3, 16), depths=(16, 64, 256), times=(0.01,),
        inner=lambda time, depth: theory.gradient_flow(
            layers, time=time / (1 if layers == "head" else depth)
        ),
        adaptation=HEAD, last_W_std=2**0.5,
    )  # fmt: skip
    gaps = sweep.gap[:, 0]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


@pytest.mark.extended
def test_different_adaptation_does_not_close() -> None:
    """All layers on one side and the head on the other, at every depth."""
    tasks, test = tanh_tasks(4, 8), tanh_tasks(5, 8)
    for depth in (16, 256):
        kernel = textbook(depth)
        every = theory.gradient_flow("all", time=1.0 / depth)
        maml = theory.gbml_predictor(kernel, tasks, inner=every)
        mtl = theory.mtl_predictor(kernel, tasks)
        arguments = (test.support_x, test.support_y, test.query_x)
        first, second = maml(*arguments), mtl(*arguments, adaptation=HEAD)
        gaps = np.linalg.norm(np.subtract(first, second), axis=(1, 2))
        assert gaps.mean() > 0.1


def test_fit_slope() -> None:
    x = np.array([2.0, 4.0, 16.0])
    assert theory.fit_slope(x, 3 * x**-1.5) == pytest.approx(-1.5)
    assert math.isnan(theory.fit_slope([1.0], [1.0]))
    assert math.isnan(theory.fit_slope([1.0, 2.0], [1.0, 0.0]))
    assert math.isnan(theory.fit_slope([0, 1, 2], [1.0, 2.0, 3.0]))
    assert math.isnan(theory.fit_slope([2.0, 2.0], [1.0, 3.0]))


def test_the_relative_gap_of_a_transfer_below_round_off() -> None:
    """Kernels as of chaotic networks: points are uncorrelated but for 1e-20."""
    tasks, test = equal_tasks(30, 3), equal_tasks(31, 2)
    points, train, unseen = theory.at_positions(tasks, test)
    noise = np.random.default_rng(0).normal(size=(2, len(points), len(points)))
    tiny = 1e-20 * (noise + noise.transpose(0, 2, 1))
    eye = np.eye(len(points))
    kernel = theory.precomputed(theory.Kernels(eye + tiny[0], 3 * eye + tiny[1]))
    none = theory.gradient_flow("head", time=0.0)
    full = theory.gradient_flow("head", time=math.inf)
    found = theory.compare(kernel, train, unseen, inner=none, adaptation=full)
    mtl = theory.mtl_predictor(kernel, train).transferred(unseen, adaptation=full)
    gbml = theory.gbml_predictor(kernel, train, inner=none).transferred(
        unseen, adaptation=full
    )
    assert found.transfer < 1e-16
    expected = [
        np.linalg.norm(a - b) / np.linalg.norm(b)
        for a, b in zip(mtl, gbml, strict=True)
    ]
    assert found.relative_gap == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.relative_gap > 0.1
    # Nothing transferred and no gap: not measurable, rather than 0.
    zeros = Predicted([np.zeros((2, 1))], [np.ones((2, 1))])
    assert math.isnan(closeness_of(zeros, zeros).relative_gap)
