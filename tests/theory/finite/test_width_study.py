"""Finite networks against the formulas: errors shrink with width."""

import jax
import numpy as np
import pytest

from metabridge import theory
from metabridge.models.mlp import MLP
from metabridge.theory.finite import descent, networks
from metabridge.theory.finite.methods import Network, training_outputs
from metabridge.theory.finite.width_study import (
    kernel_errors,
    prediction_errors,
    uncentred,
)
from tests.theory import reference
from tests.theory.cases import equal_tasks, tanh_tasks

LOOPS = {"MTL": None, "ANIL": theory.gradient_flow("head", time=0.5)}


@pytest.mark.slow
def test_kernel_errors_shrink() -> None:
    result = kernel_errors(tanh_tasks(0, 2), widths=(16, 256), depth=1, draws=3)
    for name, errors in result.errors.items():
        small, large = errors.mean(1)
        assert large < small / 2, name
    assert result.slopes["ANIL"] == pytest.approx(-0.5, abs=0.25)


@pytest.mark.parametrize("time", [0.5, 200.0])
def test_outputs_after_an_inner_flow_of_any_time(time: float) -> None:
    """Against the matrix exponential; 200 is some 300 over the largest eigenvalue."""
    network, inner = Network(MLP(40, 1)), theory.gradient_flow("head", time=time)
    batch = networks.batch_of(tanh_tasks(4, 2))
    params = networks.initialise(jax.random.key(0), batch, network.body, shared=True)
    found = training_outputs(network, inner, params, params, uncentred(batch))
    head = np.asarray(params["head"], np.float64)
    for outputs, task in zip(found, zip(*batch, strict=True), strict=True):
        support_x, support_y, query_x, _ = task
        support, query = (
            np.asarray(network.body.apply(params["body"], x), np.float64)
            for x in (support_x, query_x)
        )
        operator = reference.trained(support @ support.T, time)
        weights = support.T @ operator @ (support_y - support @ head)
        expected = query @ (head + weights)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["MTL", "ANIL"])
def test_contraction_equals_the_jacobian(algorithm: str) -> None:
    network, inner = Network(MLP(8, 2)), LOOPS[algorithm]
    batch = networks.batch_of(tanh_tasks(4, 2))
    params = networks.initialise(jax.random.key(0), batch, network.body, shared=True)
    tasks = uncentred(batch)
    kernel = descent.tangent_kernel(network, inner, params, tasks)
    jacobian = jax.jacrev(
        lambda moved: training_outputs(network, inner, moved, params, tasks)
    )(params)
    rows = np.concatenate(
        [np.reshape(leaf, (12, -1)) for leaf in jax.tree.leaves(jacobian)], axis=1
    )
    np.testing.assert_allclose(kernel, rows @ rows.T, rtol=1e-4, atol=1e-4)


@pytest.mark.extended
def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="2 outputs"):
        kernel_errors(equal_tasks(0), widths=(8,))
    with pytest.raises(ValueError, match="`widths`"):
        kernel_errors(tanh_tasks(0, 3), widths=())
    with pytest.raises(RuntimeError, match="width 8 keeps"):
        prediction_errors(tanh_tasks(0, 3), tanh_tasks(1, 3), widths=(8,), max_steps=2)


@pytest.mark.slow
def test_kernels_in_the_setting_of_the_table() -> None:
    """3 tasks, L = 3: errors of 0.18 at width 256 and 0.07 at 2048, slope -1/2."""
    result = kernel_errors(tanh_tasks(5, 3), widths=(256, 512, 1024, 2048), draws=3)
    for name, errors in result.errors.items():
        assert result.slopes[name] == pytest.approx(-0.5, abs=0.1), name
        assert 0.1 < errors.mean(1)[0] < 0.3, name
        assert 0.04 < errors.mean(1)[-1] < 0.1, name


@pytest.mark.slow
def test_predictions_of_trained_networks() -> None:
    result = prediction_errors(
        tanh_tasks(6, 3), tanh_tasks(7, 8), widths=(64, 256, 1024), draws=8
    )
    for name, slope in result.slopes.items():
        assert slope == pytest.approx(-0.5, abs=0.1), name
