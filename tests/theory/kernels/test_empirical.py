"""Empirical tangent kernels against Jacobians by hand and neural-tangents."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from metabridge import theory
from metabridge.models.mlp import MLP, NTKDense
from metabridge.theory.kernels import jacobian
from metabridge.theory.kernels.evaluate import float64

RNG = np.random.default_rng(0)
PARAMS = {
    "body": {"w": RNG.standard_normal((5, 7)), "b": RNG.standard_normal(7)},
    "head": {"w": RNG.standard_normal((7, 3))},
}
X, Y = RNG.standard_normal((11, 5)), RNG.standard_normal((6, 5))


def network(params: Any, x: Any) -> Any:
    hidden = jnp.tanh(x @ params["body"]["w"] + params["body"]["b"])
    return hidden @ params["head"]["w"]


def rows(x: np.ndarray) -> dict[str, np.ndarray]:
    """The Jacobian of `network` by the chain rule, ``[N, K, P]`` of body and head."""
    hidden = np.tanh(x @ PARAMS["body"]["w"] + PARAMS["body"]["b"])
    eye = np.eye(3)
    head = np.einsum("nh,kl->nkhl", hidden, eye).reshape(len(x), 3, -1)
    inner = (1 - hidden**2)[:, None] * PARAMS["head"]["w"].T[None]
    weights = np.einsum("nd,nkh->nkdh", x, inner).reshape(len(x), 3, -1)
    return {"head": head, "body": np.concatenate([inner, weights], axis=2)}


def coupled(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Products of the rows of head and body, ``[N K, M K]``."""
    left, right = rows(x), rows(y)
    return {
        name: left[name].reshape(3 * len(x), -1) @ right[name].reshape(3 * len(y), -1).T
        for name in left
    }


def of_outputs(matrix: np.ndarray, outputs: Any) -> np.ndarray:
    blocks = matrix.reshape(len(matrix) // 3, 3, -1, 3)
    if outputs == "trace":
        return np.einsum("nkmk->nm", blocks) / 3
    return matrix if outputs == "full" else blocks[:, outputs, :, outputs]


@pytest.mark.extended
@pytest.mark.parametrize("outputs", ["trace", "full", 1])
@pytest.mark.parametrize(("block", "max_bytes"), [(32, 4e9), (3, 2e4)])
def test_products_of_jacobians(outputs: Any, block: int, max_bytes: float) -> None:
    kernel = theory.empirical(
        network, PARAMS, outputs=outputs, block=block, max_bytes=max_bytes
    )
    for x, y in ((X, Y), (Y, X), (X, None)):
        parts = coupled(x, x if y is None else y)
        wanted = {name: of_outputs(part, outputs) for name, part in parts.items()}
        found = kernel(x, y)
        np.testing.assert_allclose(found.nngp, wanted["head"], atol=1e-13)
        np.testing.assert_allclose(found.of("body"), wanted["body"], atol=1e-13)
        for name, part in kernel.parts(x, y).items():
            np.testing.assert_allclose(part, wanted[name], atol=1e-13)
        if y is None:
            np.testing.assert_array_equal(found.ntk, found.ntk.T)
    assert found.ntk.dtype == np.float64


def test_single_precision_is_near() -> None:
    kernel = theory.empirical(network, PARAMS, dtype="float32")
    parts = coupled(X, X)
    wanted = of_outputs(parts["head"] + parts["body"], "trace")
    found = kernel(X).ntk
    assert 0 < np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert found.dtype == np.float64


@pytest.mark.parametrize("outputs", ["trace", "full", 1])
def test_single_precision_is_positive_semi_definite(outputs: Any) -> None:
    x = np.random.default_rng(1).standard_normal((40, 5))
    kernel = theory.empirical(
        network, PARAMS, dtype="float32", block=8, max_bytes=5e4, outputs=outputs
    )
    values = np.linalg.eigvalsh(kernel(x).nngp)
    # 7 features, of each output.
    rank = 21 if outputs == "full" else 7
    roundoff = 1e-14 * values[-1]
    assert (np.abs(values[:-rank]) < roundoff).all()
    assert values[-rank] > 1e-6 * values[-1]


@pytest.mark.parametrize("outputs", ["trace", "full", 1])
def test_outputs_of_another_type_than_the_parameters(outputs: Any) -> None:
    def rounded(params: Any, x: Any) -> Any:
        return network(params, x).astype(jnp.float32)

    found = theory.empirical(rounded, PARAMS, outputs=outputs)(X, Y)
    wanted = theory.empirical(network, PARAMS, outputs=outputs)(X, Y)
    np.testing.assert_allclose(found.ntk, wanted.ntk, rtol=1e-5, atol=1e-5)


def test_the_trace_takes_what_one_output_needs() -> None:
    """Whatever is allowed above that, for any number of inputs."""
    wide = {
        "body": {"w": RNG.standard_normal((5, 300)), "b": RNG.standard_normal(300)},
        "head": {"w": RNG.standard_normal((300, 10))},
    }
    row = 8.0 * sum(leaf.size for leaf in jax.tree.leaves(wide))
    wanted = theory.empirical(network, wide)(X[:2]).ntk
    for allowed in (5 * row, 10 * row, 15 * row, 20 * row, 40 * row):
        kernel = theory.empirical(network, wide, max_bytes=allowed)
        for count in (1, 2):
            found = kernel(X[:count]).ntk
            np.testing.assert_allclose(found, wanted[:count, :count], rtol=1e-12)


def test_indices_of_two_widths_and_a_function_that_has_no_hash() -> None:
    class Embedding:
        def __eq__(self, other: object) -> bool:
            return self is other

        def __call__(self, params: Any, x: Any) -> Any:
            return jnp.tanh(params["table"][x]).mean(1) @ params["head"]

    params = {"table": RNG.standard_normal((9, 3)), "head": RNG.standard_normal((3, 2))}
    kernel = theory.empirical(Embedding(), params)
    x = RNG.integers(0, 9, (4, 6))
    found = kernel(x.astype(np.int32), x.astype(np.int64)).ntk
    np.testing.assert_allclose(found, kernel(x).ntk, rtol=1e-12)


def test_products_of_long_rows_in_single_precision() -> None:
    left, right = (RNG.standard_normal((n, 5000)).astype(np.float32) for n in (4, 3))
    wanted = left.astype(np.float64) @ right.T.astype(np.float64)
    found = jacobian._product(jnp.asarray(left), jnp.asarray(right))
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 7, 130])
def test_the_lower_half_of_a_square(count: int, dtype: Any) -> None:
    """Of 130 rows in three bands; of 5,000 columns in strips."""
    rows = RNG.standard_normal((count, 5000)).astype(dtype)
    with float64():
        found = np.asarray(jacobian._lower_square(jnp.asarray(rows)))
    wanted = rows.astype(np.float64) @ rows.T.astype(np.float64)
    np.testing.assert_allclose(np.tril(found), np.tril(wanted), rtol=1e-12, atol=1e-10)


@pytest.mark.extended
def test_neural_tangents_agrees() -> None:
    nt = theory.neural_tangents()
    of_network = nt.empirical_ntk_fn(network, trace_axes=(-1,))
    with float64():
        wanted = np.asarray(of_network(X, Y, PARAMS))
    found = theory.empirical(network, PARAMS)(X, Y).ntk
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    init, apply, _ = nt.stax.serial(nt.stax.Dense(9), nt.stax.Relu(), nt.stax.Dense(2))
    _, params = init(jax.random.key(0), (-1, 5))
    assert theory.empirical(apply, params, head="2")(X).ntk.shape == (11, 11)
    for function in (nt.empirical_kernel_fn(apply), nt.empirical_ntk_fn(apply)):
        with pytest.raises(TypeError, match=re.escape("theory.empirical(apply, param")):
            theory.from_stax(function)


class Linen(nn.Module):
    """Batch normalisation between two dense layers."""

    train: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(7, name="body")(x)
        x = nn.BatchNorm(use_running_average=not self.train, name="norm")(x)
        return nn.Dense(3, use_bias=False, name="head")(jnp.tanh(x))


class NNX(nnx.Module):
    """The same network."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.body = nnx.Linear(5, 7, rngs=rngs)
        self.norm = nnx.BatchNorm(7, rngs=rngs)
        self.head = nnx.Linear(7, 3, use_bias=False, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(jnp.tanh(self.norm(self.body(x))))


@pytest.mark.extended
def test_modules_of_flax() -> None:
    model: Any = NNX(nnx.Rngs(0))
    model.eval()
    model.norm.mean[...] = jnp.linspace(-1.0, 1.0, 7)
    weights = {
        "body": {"kernel": model.body.kernel[...], "bias": model.body.bias[...]},
        "norm": {"scale": model.norm.scale[...], "bias": model.norm.bias[...]},
        "head": {"kernel": model.head.kernel[...]},
    }
    stats = {"norm": {"mean": model.norm.mean[...], "var": model.norm.var[...]}}
    variables = {"params": weights, "batch_stats": stats}
    linen = theory.empirical(Linen(), variables)
    other = theory.empirical(model)
    np.testing.assert_allclose(linen(X).ntk, other(X).ntk, rtol=1e-12)
    np.testing.assert_allclose(linen(X).nngp, other(X).nngp, rtol=1e-12)
    assert set(linen.parts(X)) == set(other.parts(X)) == {"body", "norm", "head"}
    np.testing.assert_allclose(
        linen.function(X), np.asarray(model(jnp.asarray(X, jnp.float32))), atol=1e-5
    )
    model.train()
    kernel = theory.empirical(model)
    with pytest.raises(ValueError, match="change with the other inputs of its batch"):
        kernel(X)


def test_images_in_uint8() -> None:
    images = RNG.integers(0, 256, (4, 5)).astype(np.uint8)
    kernel = theory.empirical(lambda p, x: network(p, x / 255), PARAMS)
    np.testing.assert_array_equal(kernel(images), kernel(images.astype(np.float64)))
    assert kernel.function(images).shape == (4, 3)


class Wide(nn.Module):
    """Two hidden layers and a head in the NTK parametrisation."""

    width: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return NTKDense(1, 1.0, name="head")(MLP(self.width, 2)(x) * self.width**0.5)


@pytest.mark.extended
def test_wide_networks_approach_the_infinite_one() -> None:
    wanted = theory.relu_network(2)(X)
    errors = []
    for width in (64, 1024):
        module = Wide(width)
        with float64():
            variables = module.init(jax.random.key(0), jnp.asarray(X))
        found = theory.empirical(module, variables, dtype="float32")(X)
        pairs = zip(found, wanted, strict=True)
        errors.append([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs])
    narrow, wide = np.asarray(errors)
    assert (wide < 0.1).all()
    assert (wide < narrow / 2).all()


def test_bad_input() -> None:
    def refused(message: str, error: type[Exception] = ValueError, **options: Any):
        given = {"apply": network, "params": PARAMS, **options}
        with pytest.raises(error, match=re.escape(message)):
            theory.empirical(**given)(X)

    refused("none of the parameters: name those of the last layer", head="last")
    refused("there are body, head", head=("body", "head"))
    refused("the network has 3 outputs, counted from 0", outputs=3)
    refused("raise `max_bytes`", max_bytes=1e3)
    refused("must give [N, K] for N inputs, but gave [1]",
            apply=lambda p, x: network(p, x)[:, 0])  # fmt: skip
    refused("the parameter 'step' is int64, but must be floating", TypeError,
            params={**PARAMS, "step": np.arange(3)})  # fmt: skip
    refused("pass the variables, {'params'", TypeError, apply=Linen(), params=PARAMS)
    refused("`params` is missing", TypeError, params=None)
    refused("must be a function apply(params, x)", TypeError, apply=3)
