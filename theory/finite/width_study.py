"""Finite networks beside their infinite-width limit: tangent kernels and training.

The networks are Flax MLPs in the NTK parametrisation (`metabridge.models.MLP`) with a
linear head, in float32. Their tangent kernel at initialisation is compared with
`mtl_kernel` and `gbml_kernel`, and their predictions after gradient descent to
convergence with `mtl_predictor` and `gbml_predictor`, given the network's own initial
function as ``f_0``. Inner loops adapt the head by gradient flow (ANIL); the outer
derivative goes through them, features and all. Both errors fall like ``width^-1/2``.

References:
  Wang, Zhao, Li. Bridging multi-task learning and meta-learning. ICML 2021,
    https://arxiv.org/abs/2106.09017, section 4.
  Lee et al. Wide neural networks of any depth evolve as linear models under gradient
    descent. NeurIPS 2019, https://arxiv.org/abs/1902.06720.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from metabridge.models.mlp import MLP
from metabridge.theory.closeness.compare import fit_slope
from metabridge.theory.finite import descent, networks
from metabridge.theory.finite.methods import Centred, Network, training_outputs
from metabridge.theory.kernels.relu import relu_network
from metabridge.theory.predictors.gbml import gbml_kernel, gbml_predictor
from metabridge.theory.predictors.inner_loop import gradient_flow
from metabridge.theory.predictors.mtl import mtl_kernel, mtl_predictor
from metabridge.theory.types import Tasks


@dataclasses.dataclass(frozen=True)
class Widths:
    """Relative errors of networks of several widths against their limit.

    Attributes:
      widths: W of them.
      errors: of each quantity, ``[W, draws]``.
    """

    widths: tuple[int, ...]
    errors: dict[str, Float[np.ndarray, "W draws"]]

    @property
    def slopes(self) -> dict[str, float]:
        """Powers of the width that the mean errors follow; -1/2 in theory."""
        return {
            name: fit_slope(self.widths, errors.mean(1))
            for name, errors in self.errors.items()
        }


def kernel_errors(
    tasks: Tasks,
    *,
    widths: Sequence[int],
    depth: int = 3,
    time: float = 1.0,
    draws: int = 3,
    seed: int = 0,
) -> Widths:
    """Empirical tangent kernels at initialisation against the formulas.

    Args:
      tasks: of one size, with one output and query labels.
      widths: units of the hidden layers.
      depth: hidden layers, at least 1.
      time: of ANIL's inner loop.
      draws: initialisations of each width.
      seed: of the first.

    Returns:
      Relative Frobenius errors of "MTL, shared heads", "MTL, independent heads" and
      "ANIL".
    """
    batch = networks.batch_of(tasks)
    if batch.query_y.shape[2] != 1:
        raise ValueError(
            "kernels are per output: pass tasks with one output; these have "
            f"{batch.query_y.shape[2]} outputs"
        )
    kernel, inner = relu_network(depth), gradient_flow("head", time=time)
    limits = {
        "MTL, shared heads": mtl_kernel(kernel, tasks, heads="shared"),
        "MTL, independent heads": mtl_kernel(kernel, tasks, heads="independent"),
        "ANIL": gbml_kernel(kernel, tasks, inner=inner),
    }

    own = uncentred(batch)

    def measure(key: jax.Array, width: int) -> dict[str, float]:
        network, errors = Network(MLP(width, depth)), {}
        for name, limit in limits.items():
            shared = "independent" not in name
            start = networks.initialise(key, batch, network.body, shared=shared)
            loop = inner if name == "ANIL" else None
            actual = descent.tangent_kernel(network, loop, start, own)
            errors[name] = _relative(actual, limit)
        return errors

    return _measure(measure, widths, draws, seed)


def prediction_errors(
    tasks: Tasks,
    test_tasks: Tasks,
    *,
    widths: Sequence[int],
    depth: int = 2,
    time: float = 1.0,
    adaptation_time: float = 1.0,
    draws: int = 3,
    seed: int = 0,
    tolerance: float = 1e-4,
    max_steps: int = 20_000,
) -> Widths:
    """Predictions of trained networks on unseen tasks against the predictors.

    Gradient descent at half the largest stable step on ``1/2 ||F - Y||^2`` over all
    queries, until the residual is `tolerance` times what it was. The arguments that are
    not listed are those of `kernel_errors`.

    Args:
      tasks: training tasks of one size.
      test_tasks: unseen tasks likewise; query labels are not used but needed.
      adaptation_time: of the head's adaptation to an unseen task, for both.
      max_steps: of gradient descent.

    Returns:
      Relative errors of "MTL, shared heads" and "ANIL", in the Euclidean norm over all
      query outputs.

    Raises:
      RuntimeError: training has not converged after `max_steps`.
    """
    batch, test = networks.batch_of(tasks), networks.batch_of(test_tasks)
    kernel, inner = relu_network(depth), gradient_flow("head", time=time)
    adaptation = gradient_flow("head", time=adaptation_time)
    limits = {
        "MTL, shared heads": mtl_kernel(kernel, tasks),
        "ANIL": gbml_kernel(kernel, tasks, inner=inner),
    }
    lr = {name: 1.0 / np.linalg.eigvalsh(K)[-1].item() for name, K in limits.items()}

    own, unseen = uncentred(batch), uncentred(test)
    outputs = jax.jit(training_outputs, static_argnums=(0, 1))

    def measure(key: jax.Array, width: int) -> dict[str, float]:
        network = Network(MLP(width, depth))
        params = networks.initialise(key, batch, network.body, shared=True)

        def initial(x: np.ndarray) -> np.ndarray:
            values = network.values(params, params, jnp.asarray(x, jnp.float32))
            return np.asarray(values, np.float64)

        predictors = {
            "MTL, shared heads": mtl_predictor(kernel, tasks, initial=initial),
            "ANIL": gbml_predictor(kernel, tasks, inner=inner, initial=initial),
        }
        errors = {}
        for name, predictor in predictors.items():
            trained, left = descent.descend(
                network, inner if name == "ANIL" else None, params, params, own,
                lr=lr[name], momentum=0.0, steps=max_steps, tolerance=tolerance,
            )  # fmt: skip
            if not left <= tolerance:
                raise RuntimeError(
                    f"{name} of width {width} keeps {float(left):.1e} of its residual "
                    f"after {max_steps} steps; allow more with max_steps"
                )
            # After MTL "head" is still what all heads started from: a new task's.
            adapted = outputs(network, adaptation, trained, params, unseen)
            expected = predictor(
                test_tasks.support_x, test_tasks.support_y, test_tasks.query_x,
                adaptation=adaptation,
            )  # fmt: skip
            errors[name] = _relative(adapted, np.reshape(expected, adapted.shape))
        return errors

    return _measure(measure, widths, draws, seed)


def uncentred(batch: networks.Batch) -> Centred:
    """Tasks for a network whose initial outputs are not subtracted."""
    support_y, query_y = batch.support_y, batch.query_y
    return Centred(
        batch.support_x, support_y, jnp.zeros_like(support_y),
        batch.query_x, query_y, jnp.zeros_like(query_y),
    )  # fmt: skip


def _measure(
    measure: Callable[[jax.Array, int], dict[str, float]],
    widths: Sequence[int],
    draws: int,
    seed: int,
) -> Widths:
    if not len(widths) or min(widths) < 1 or draws < 1:
        raise ValueError(
            f"`widths` must be positive and `draws` at least 1, but are "
            f"{list(widths)} and {draws}"
        )
    keys = jax.random.split(jax.random.key(seed), draws)
    table = [[measure(key, width) for key in keys] for width in widths]
    errors = {
        name: np.asarray([[cell[name] for cell in row] for row in table])
        for name in table[0][0]
    }
    return Widths(tuple(widths), errors)


def _relative(actual: jax.Array, expected: np.ndarray) -> float:
    error = np.asarray(actual, np.float64) - expected
    return float(np.linalg.norm(error) / np.linalg.norm(expected))
