"""MTL and ANIL in trained networks of finite width, with any number of outputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import theory
from metabridge.models.mlp import MLP
from metabridge.theory.finite import descent, networks
from metabridge.theory.finite.methods import Network, training_outputs
from metabridge.theory.finite.train_pair import train_pair
from metabridge.theory.finite.width_study import prediction_errors, uncentred
from tests.theory.cases import sphere, textbook
from tests.theory.finite.test_width_study import LOOPS

HEAD = theory.gradient_flow("head", time=1.0)


def tasks(seed: int, count: int = 2, outputs: int = 3) -> theory.Tasks:
    """Targets tanh(W x) with several outputs."""
    rng = np.random.default_rng(seed)
    fields = []
    weights = rng.standard_normal((count, 20, outputs)) / 20**0.5
    for size in (4, 5):
        x = np.stack([sphere(rng, size, 20) for _ in range(count)])
        fields += [x, np.tanh(np.einsum("tnd,tdk->tnk", x, weights))]
    return theory.Tasks(*fields)


def column(given: theory.Tasks, index: int) -> theory.Tasks:
    """One output of tasks."""
    return theory.Tasks(
        given.support_x, np.asarray(given.support_y)[..., [index]],
        given.query_x, np.asarray(given.query_y)[..., [index]],
    )  # fmt: skip


@pytest.mark.extended
@pytest.mark.parametrize("algorithm", ["MTL", "ANIL"])
def test_outputs_are_as_of_networks_with_one(algorithm: str) -> None:
    """The same body under each column of the heads."""
    batch, network = networks.batch_of(tasks(0)), Network(MLP(16, 2))
    params = networks.initialise(jax.random.key(0), batch, network.body, shared=False)
    inner = LOOPS[algorithm]
    together = training_outputs(network, inner, params, params, uncentred(batch))
    assert together.shape == (2, 5, 3)
    for index in range(3):
        own = networks.batch_of(column(tasks(0), index))
        one = params | {name: params[name][..., [index]] for name in ("head", "heads")}
        alone = training_outputs(network, inner, one, one, uncentred(own))
        np.testing.assert_allclose(
            together[..., index], alone[..., 0], rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
def test_predictions_of_several_outputs_near_their_limit_with_width() -> None:
    result = prediction_errors(tasks(1), tasks(2), widths=(16, 256), depth=1, draws=2)
    for name, errors in result.errors.items():
        small, large = errors.mean(1)
        assert large < small / 2, name


@pytest.mark.extended
def test_centred_networks_begin_at_zero() -> None:
    batch, network = networks.batch_of(tasks(3)), Network(MLP(8, 1))
    params = networks.initialise(jax.random.key(1), batch, network.body, shared=True)
    centred = network.centre(params, batch)
    outputs = training_outputs(network, None, params, params, centred)
    np.testing.assert_allclose(outputs, centred.query_0, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_pairs_near_their_limit_with_width() -> None:
    train, unseen = tasks(4, 3), tasks(5, 4)
    distances = []
    for width in (16, 512):
        errors = []
        for seed in range(2):
            pair = train_pair(
                train, width=width, depth=2, time=0.3, steps=40, seed=seed
            )
            assert pair.left.keys() == pair.training_time.keys() == {"MTL", "ANIL"}
            assert all(0 < left < 1 for left in pair.left.values())
            close = pair.compare(unseen, adaptation=HEAD)
            limit = pair.limit(train, unseen, adaptation=HEAD)
            assert 0 <= close.agreement <= 1
            errors.append(
                [
                    np.linalg.norm(np.subtract(ours, theirs)) / np.linalg.norm(theirs)
                    for ours, theirs in (
                        (close.mtl, limit.mtl), (close.gbml, limit.gbml),
                    )
                ]
            )  # fmt: skip
        distances.append(np.mean(errors, 0))
    small, large = distances
    assert (large < small / 2).all()


@pytest.mark.extended
def test_a_step_that_diverges_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training time stays what it was."""
    rates = []
    descend = descent.descend

    def watched(*given: Any, **options: Any) -> Any:
        rates.append((options["lr"], options["steps"]))
        params, share = descend(*given, **options)
        return params, share if len(rates) > 1 else share * jnp.nan

    monkeypatch.setattr(descent, "descend", watched)
    pair = train_pair(tasks(9), width=8, depth=1, time=0.1, steps=3)
    (full, few), (half, more), *_ = rates
    assert (half, more) == (full / 2, 2 * few)
    assert pair.training_time["MTL"] == pytest.approx(3 * full)


@pytest.mark.extended
def test_limit_is_that_of_the_predictors() -> None:
    train, unseen = tasks(6), tasks(7)
    pair = train_pair(train, width=8, depth=1, time=0.1, steps=5)
    limit = pair.limit(train, unseen, adaptation=HEAD)
    kernel = textbook(1)
    mtl = theory.mtl_predictor(kernel, train, time=pair.training_time["MTL"])
    expected = mtl(unseen.support_x, unseen.support_y, unseen.query_x, adaptation=HEAD)
    np.testing.assert_allclose(limit.mtl, expected, rtol=0, atol=1e-10)


def test_bad_arguments() -> None:
    train = tasks(8)
    pair = train_pair(train, width=8, depth=1, time=0.1, steps=2)
    with pytest.raises(ValueError, match="adapt their head"):
        pair.compare(train, adaptation=theory.gradient_flow("all", time=1.0))
    with pytest.raises(ValueError, match="`width`"):
        train_pair(train, width=0, depth=1, time=0.1, steps=2)
