"""MTL, MAML, BOIL and ANIL trained on the same tasks in finite networks, side by side.

What `compare` does at infinite width, for any Flax body under a linear head: full-batch
gradient descent of every method from one initialisation, whose outputs are subtracted
throughout, so that all begin at 0 as their limits do. In the same units: the head is
standard normal, ``last_W_std`` is 1, `relu_network`'s default, and the body scales its
features as `metabridge.models.MLP` does, by ``1 / sqrt(D)``.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, get_args, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from metabridge.models.mlp import MLP
from metabridge.theory.closeness.compare import on_positions
from metabridge.theory.finite import networks, predictions
from metabridge.theory.finite.comparison import Comparison
from metabridge.theory.finite.descent import Descent, train
from metabridge.theory.finite.methods import LAYERS_OF, Loss, Method, Network
from metabridge.theory.finite.trained import TrainedNetworks
from metabridge.theory.kernels.evaluate import evaluate, precomputed
from metabridge.theory.kernels.relu import relu_network
from metabridge.theory.predictors.gbml import gbml_kernel
from metabridge.theory.predictors.inner_loop import Inner, gradient_flow
from metabridge.theory.predictors.mtl import mtl_kernel
from metabridge.theory.types import (
    Closeness,
    Tasks,
    check_choice,
    check_tasks,
    check_whole,
)

METHODS: tuple[Method, ...] = get_args(Method)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedPair:
    """MTL and ANIL after training from one initialisation, by gradient flow.

    Attributes:
      networks: both, as networks of several methods.
      time: of ANIL's inner loop.
    """

    networks: TrainedNetworks
    time: float

    @property
    def body(self) -> nn.Module:
        """That of both."""
        return self.networks.network.body

    @property
    def initial(self) -> Any:
        """Parameters that both began with."""
        return self.networks.initial[0]

    @property
    def trained(self) -> dict[str, Any]:
        """Parameters of "MTL" and "ANIL"."""
        return {name: own for name, (own,) in self.networks.trained.items()}

    @property
    def left(self) -> dict[str, float]:
        """Share of the training residual that each has left."""
        return {name: float(own[0]) for name, own in self.networks.left.items()}

    @property
    def training_time(self) -> dict[str, float]:
        """Learning rate times steps of each: the time to compare with in the limit."""
        return self.networks.training_time

    def compare(self, unseen: Tasks, *, adaptation: Inner) -> Closeness:
        """Predictions on unseen tasks, whose query labels are not needed.

        Raises:
          ValueError: an adaptation of other layers than the head that is not by
            gradient steps.
        """
        return _only(self.networks.compare(unseen, adaptation=adaptation))

    def limit(self, tasks: Tasks, unseen: Tasks, *, adaptation: Inner) -> Closeness:
        """The same at infinite width, after the same time of training on `tasks`."""
        return _only(self.networks.limit(tasks, unseen, adaptation=adaptation))


def _only(comparison: Comparison) -> Closeness:
    ((found,),) = (distance.closeness for distance in comparison.methods.values())
    return found


@overload
def train_pair(
    tasks: Tasks, *, steps: int, time: float, width: int = ..., depth: int = ...,
    seed: int = ...,
) -> TrainedPair: ...  # fmt: skip
@overload
def train_pair(
    tasks: Tasks, *, steps: int, inner: Inner | None = ...,
    body: nn.Module | None = ..., width: int | None = ...,
    depth: int | None = ..., methods: Sequence[str] = ...,
    first_order: bool = ..., linearised: bool = ..., loss: Loss = ...,
    lr: float | None = ..., momentum: float = ..., seeds: int = ..., seed: int = ...,
    dtype: str = ...,
) -> TrainedNetworks: ...  # fmt: skip
def train_pair(
    tasks: Tasks,
    *,
    steps: int,
    inner: Inner | None = None,
    time: float | None = None,
    body: nn.Module | None = None,
    width: int | None = None,
    depth: int | None = None,
    methods: Sequence[str] = METHODS,
    first_order: bool = False,
    linearised: bool = False,
    loss: Loss = "squared",
    lr: float | None = None,
    momentum: float = 0.0,
    seeds: int = 3,
    seed: int = 0,
    dtype: str = "float32",
) -> TrainedPair | TrainedNetworks:
    """Trains several methods on the same tasks, from the same initialisations.

    Gradient descent on the loss summed over the queries of all tasks: of MTL under a
    head for each task, which start alike; of the others after the inner loop on the
    task's support. Its step is half the largest stable one, ``1 / lambda`` with the
    largest eigenvalue of the method's tangent kernel over all initialisations. Where
    training diverges, steps of half the size are taken, twice as many.

    Args:
      tasks: training tasks of one size.
      steps: of gradient descent, see above.
      inner: inner loop of MAML, BOIL and ANIL, whose layers are the method's (all,
        body, head), whatever layers it names. `gradient_steps` are differentiated
        through; `gradient_flow` for a finite time is ANIL's alone.
      time: instead of `inner`, trains MTL and ANIL by gradient flow of this time, from
        one initialisation of the MLP, with the step of the infinite-width kernel, and
        returns a `TrainedPair`. Then only `width`, `depth` and `seed` may be given.
      body: Flax Linen module from inputs ``[N, *X]`` to features ``[N, D]``; a module
        of NNX by ``flax.nnx.bridge.to_linen``. `metabridge.models.MLP` by default. Its
        batch statistics stay as they are initialised.
      width: units of the MLP's hidden layers; 512 by default.
      depth: its hidden layers, at least 1; 3 by default.
      methods: of "MTL", "MAML", "BOIL" and "ANIL".
      first_order: the gradients of inner steps are constants in the outer gradient.
      linearised: train ``f_0 + J (theta - theta_0)``, the object of the theory.
      loss: "squared", ``1/2 ||f - y||^2``, or "cross_entropy" with one-hot labels; of
        inner steps too.
      lr: step size of all methods; it is then not halved.
      momentum: of the heavy ball, in [0, 1).
      seeds: number of initialisations, at least 1.
      seed: of the first.
      dtype: "float32" or "float64".

    Raises:
      TypeError: a body that is not a Linen module.
      ValueError: a number out of range, an unknown name, a body that does not give
        features, labels or an inner loop that do not fit.
      RuntimeError: training has diverged.

    Example:
      >>> inner = theory.gradient_steps("all", lr=0.1, steps=3)
      >>> trained = theory.train_pair(tasks, inner=inner, steps=200, width=256)
      >>> adaptation = theory.gradient_flow("head", time=1.0)
      >>> print(trained.compare(unseen, adaptation=adaptation))
    """
    if body is not None and not (width is None and depth is None):
        raise ValueError("`width` and `depth` are of the MLP: pass them, or `body`")
    width, depth = 512 if width is None else width, 3 if depth is None else depth
    sizes = {"width": width, "depth": depth, "steps": steps, "seeds": seeds}
    for name, value in sizes.items():
        check_whole(name, value, 1)
    network = Network(body or MLP(width, depth), loss, linearised, first_order)
    if time is not None:
        changed = {
            "inner": inner is not None, "body": body is not None,
            "methods": tuple(methods) != METHODS, "first_order": first_order,
            "linearised": linearised, "loss": loss != "squared", "lr": lr is not None,
            "momentum": momentum != 0, "seeds": seeds != 3, "dtype": dtype != "float32",
        }  # fmt: skip
        if names := [name for name, given in changed.items() if given]:
            raise ValueError(
                f"`time` is not for use with `{'`, `'.join(names)}`: pass "
                f"inner=theory.gradient_flow('head', time={time})"
            )
        return _train_by_flow(tasks, network, depth, time, steps, seed)
    _check(network, lr, momentum, dtype)
    _check_methods(methods)
    loops = {name: _inner_of(name, inner, network) for name in methods}
    if loss == "cross_entropy":
        _check_one_hot(tasks)
    options = Descent(steps, lr, momentum)
    return _train(tasks, network, loops, options, range(seed, seed + seeds), dtype)


def _train_by_flow(
    tasks: Tasks, network: Network, depth: int, time: float, steps: int, seed: int
) -> TrainedPair:
    loops = {"MTL": None, "ANIL": gradient_flow("head", time=time)}
    found = _train(
        tasks, network, loops, Descent(steps, None, 0.0), [seed], "float32",
        largest=_largest(tasks, depth, time),
    )  # fmt: skip
    return TrainedPair(found, time)


def _train(
    tasks: Tasks,
    network: Network,
    loops: dict[str, Inner | None],
    options: Descent,
    seeds: Sequence[int],
    dtype: str,
    *,
    largest: Mapping[str, float] | None = None,
) -> TrainedNetworks:
    """Trains each method from each initialisation; `largest` is that of `train`."""
    with predictions.precision(dtype):
        batch = networks.batch_of(tasks, jnp.dtype(dtype))
        starts = [
            networks.initialise(jax.random.key(seed), batch, network.body, shared=True)
            for seed in seeds
        ]
        batches = [network.centre(start, batch) for start in starts]
        found = {
            name: train(
                name, network, loop, starts, batches, options,
                largest=(largest or {}).get(name),
            )
            for name, loop in loops.items()
        }  # fmt: skip
    return TrainedNetworks(
        network,
        loops,
        jax.device_get(starts),
        {name: params for name, (params, _, _) in found.items()},
        {name: np.asarray(left) for name, (_, left, _) in found.items()},
        {name: own for name, (_, _, own) in found.items()},
        batch.query_x.shape[2:],
        dtype,
    )


def _largest(tasks: Tasks, depth: int, time: float) -> dict[str, float]:
    """The largest eigenvalue of each kernel at infinite width."""
    points, train = on_positions(tasks)
    kernel = precomputed(evaluate(relu_network(depth), points))
    inner = gradient_flow("head", time=time)
    return {
        "MTL": float(np.linalg.eigvalsh(mtl_kernel(kernel, train))[-1]),
        "ANIL": float(np.linalg.eigvalsh(gbml_kernel(kernel, train, inner=inner))[-1]),
    }


def _check(network: Network, lr: float | None, momentum: float, dtype: str) -> None:
    body: Any = network.body
    if not isinstance(body, nn.Module):
        raise TypeError(
            f"`body` must be a Flax Linen module, not {type(body).__name__}: wrap a "
            "class of NNX by flax.nnx.bridge.to_linen(Class, *args)"
        )
    if not isinstance(body, Hashable):
        raise TypeError(
            "`body` has fields that cannot be hashed: pass tuples for lists"
        )
    check_choice("loss", network.loss, get_args(Loss))
    check_choice("dtype", dtype, ("float32", "float64"))
    if lr is not None and not 0 < lr < math.inf:
        raise ValueError(f"`lr` must be positive and finite, but is {lr}")
    if not 0 <= momentum < 1:
        raise ValueError(f"`momentum` must be in [0, 1), but is {momentum}")


def _check_methods(methods: Sequence[str]) -> None:
    if isinstance(methods, str):
        raise ValueError(f"`methods` must be a sequence of names: ({methods!r},)")
    if not methods:
        raise ValueError(f"`methods` is empty; known are {', '.join(METHODS)}")
    for name in methods:
        check_choice("method", name, METHODS)
        if list(methods).count(name) > 1:
            raise ValueError(f"`methods` names {name} twice: pass each once")


def _inner_of(name: str, inner: Inner | None, network: Network) -> Inner | None:
    """The inner loop of a method on its own layers; None for MTL."""
    if name == "MTL":
        return None
    if inner is None:
        raise ValueError(
            f"{name} needs an inner loop: pass inner=theory.gradient_steps('all', "
            "lr=..., steps=...)"
        )
    if inner.loop == "steps":
        return dataclasses.replace(inner, layers=LAYERS_OF[name])
    flow = inner.loop == "flow" and math.isfinite(inner.time)
    if (
        name == "ANIL"
        and flow
        and network.loss == "squared"
        and not network.first_order
    ):
        return dataclasses.replace(inner, layers="head")
    raise ValueError(
        f"{name} cannot have the inner loop {inner.loop!r} here: pass "
        "inner=theory.gradient_steps('all', lr=..., steps=...). ANIL alone also takes "
        "gradient_flow('head', time=...), finite, with loss='squared' and second-order"
    )


def _check_one_hot(tasks: Tasks) -> None:
    for index, task in enumerate(check_tasks(tasks)):
        for name, labels in (("support", task.support_y), ("query", task.query_y)):
            if labels is None or not len(labels):
                continue
            if (labels < 0).any() or not np.allclose(labels.sum(1), 1.0):
                raise ValueError(
                    f"loss='cross_entropy' needs labels that are one-hot, but rows of "
                    f"`{name}_y` of task {index} are not; pass theory.one_hot(labels, "
                    "ways), not centred"
                )
