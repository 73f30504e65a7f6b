"""A rate too large and inputs of low rank are named, and not a singular kernel."""

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.solvers.solve import Solver
from metabridge.theory.types import Layers
from tests.theory.cases import as_tasks, equal_tasks, one, textbook, unequal_tasks

NETWORK = textbook(2)
STILL = theory.gradient_flow("head", time=0.0)
HEAD = theory.gradient_flow("head", time=1.0)
TO_THE_END = theory.gradient_flow("all", time=np.inf)
SOLVERS: list[Solver] = ["cholesky", "conjugate_gradients"]


def _waves(seed: int, size: int = 1) -> theory.Tasks:
    """Sinusoids of inputs of few dimensions."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-5, 5, (3, 8, size))
    y = np.sin(x.sum(-1, keepdims=True))
    return theory.Tasks(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:])


def _limit(tasks: theory.Tasks, layers: Layers) -> float:
    """2 over the largest eigenvalue of all supports."""
    kernels = [NETWORK(task.support_x).of(layers) for task in tasks.each()]
    return 2.0 / max(float(np.linalg.norm(np.asarray(k), 2)) for k in kernels)


def _stated_limit(error: ValueError) -> float:
    assert not isinstance(error, theory.SingularKernelError)
    assert "too large" in str(error)
    return float(str(error).split("pass lr below ")[1])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("layers", ["head", "body", "all"])
@pytest.mark.parametrize("steps", [1, 10**6])
def test_inner_rate_too_large(solver: Solver, layers: Layers, steps: int) -> None:
    tasks = as_tasks(unequal_tasks(0))
    limit = _limit(tasks, layers)
    inner = theory.gradient_steps(layers, lr=1.001 * limit, steps=steps)
    with np.errstate(all="raise"), pytest.raises(ValueError, match="of task") as error:
        theory.gbml_predictor(NETWORK, tasks, inner=inner, solver=solver)
    np.testing.assert_allclose(_stated_limit(error.value), limit, rtol=1e-3)
    with pytest.raises(ValueError, match="too large"):
        theory.gbml_kernel(NETWORK, tasks, inner=inner)


def test_rate_at_the_limit_is_taken() -> None:
    tasks = as_tasks(unequal_tasks(1))
    inner = theory.gradient_steps("all", lr=_limit(tasks, "all"), steps=7)
    assert np.isfinite(theory.gbml_kernel(NETWORK, tasks, inner=inner)).all()


@pytest.mark.extended
def test_rate_too_large_in_adaptation() -> None:
    """By a predictor, by a diagnosis and by a sweep, which adapt by two routes."""
    train, unseen = equal_tasks(2), equal_tasks(3)
    fast = theory.gradient_steps("head", lr=10.0, steps=50)
    predictor = theory.mtl_predictor(NETWORK, train)
    task = one(unequal_tasks(4, size=8)[0])
    arguments = (task.support_x, task.support_y, task.query_x)
    with pytest.raises(ValueError, match=r"too large.*support of unseen task 0"):
        predictor(*arguments, adaptation=fast)
    with pytest.raises(ValueError, match=r"too large.*support of unseen task"):
        theory.diagnose(train, unseen, kernel=NETWORK, adaptation=fast)
    with pytest.raises(ValueError, match=r"too large.*support of unseen task"):
        theory.depth_sweep(
            train, unseen, depths=[2], times=[0.0], inner=STILL, adaptation=fast
        )


@pytest.mark.parametrize("solver", SOLVERS)
def test_inputs_of_one_dimension(solver: Solver) -> None:
    train, biased = _waves(0), textbook(2, b_std=0.1)
    says = "dimension 1, and on {} different ones it has rank 2.*`b_std`"
    with pytest.raises(theory.SingularKernelError, match=says.format(12)):
        theory.mtl_predictor(NETWORK, train, solver=solver)
    theory.mtl_predictor(biased, train, solver=solver)
    with pytest.raises(theory.SingularKernelError, match=says.format(24)):
        theory.gbml_predictor(NETWORK, train, inner=STILL, solver=solver)
    theory.gbml_predictor(biased, train, inner=STILL, solver=solver)


def test_inputs_of_one_dimension_wherever_a_kernel_is_inverted() -> None:
    train, unseen = _waves(1), _waves(2)
    calls = [
        lambda: theory.gbml_predictor(NETWORK, train, inner=TO_THE_END),
        lambda: theory.mtl_predictor(NETWORK, train, time=1.0)(
            unseen.support_x, unseen.support_y, unseen.query_x, adaptation=TO_THE_END
        ),
        lambda: theory.mtl_predictor(NETWORK, train, heads=(np.eye(3) + 1.0) / 2.0),
        lambda: theory.diagnose(train, unseen, kernel=NETWORK),
        lambda: theory.depth_sweep(
            train, unseen, depths=[2], times=[0.0], inner=STILL, adaptation=HEAD
        ),
    ]
    for call in calls:
        with pytest.raises(theory.SingularKernelError, match=r"dimension 1.*rank 2"):
            call()


@pytest.mark.extended
def test_biases_or_a_constant_feature_mend_it() -> None:
    """What the error advises, and what else a sweep and a diagnosis take."""
    train, unseen = _waves(3), _waves(4)
    biased = textbook(2, b_std=0.1)
    whole = theory.compare(biased, train, unseen, inner=STILL, adaptation=HEAD)
    sweep = theory.depth_sweep(
        train, unseen, depths=[2], times=[0.0], inner=STILL, adaptation=HEAD, b_std=0.1
    )
    np.testing.assert_allclose(sweep.gap[0, 0], whole.gap, rtol=1e-6)
    found = theory.diagnose(train, unseen, kernel=biased, inner=STILL, adaptation=HEAD)
    np.testing.assert_allclose(found.closeness.gap, whole.gap, rtol=1e-6)
    wider = [
        np.concatenate([x, np.ones_like(x)], -1)
        for x in (train.support_x, train.query_x)
    ]
    mended = theory.Tasks(wider[0], train.support_y, wider[1], train.query_y)
    assert np.isfinite(theory.mtl_predictor(NETWORK, mended).coefficients).all()


def test_a_linear_network_needs_layers() -> None:
    with pytest.raises(theory.SingularKernelError, match=r"dimension 2.*hidden layers"):
        theory.mtl_predictor(textbook(0), _waves(5, size=2))


def test_other_singular_kernels_keep_their_cause() -> None:
    """Inputs of one dimension that a network with biases is given twice."""
    train = _waves(6)
    train.query_x[0, 1] = train.query_x[0, 0]
    with pytest.raises(theory.SingularKernelError, match="query 1 of task 0 coincide"):
        theory.mtl_predictor(textbook(2, b_std=0.1), train)
