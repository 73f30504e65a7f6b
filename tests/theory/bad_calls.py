"""What the calls of `bad_input` are made of, and networks without a kernel."""

# pyright: reportArgumentType=false, reportCallIssue=false

import functools
import importlib.abc
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from metabridge import theory


class Case(NamedTuple):
    """A call, the class of its error, and parts of the message."""

    call: Callable[[], Any]
    error: str
    says: tuple[str, ...]


def case(call: Callable[[], Any], *says: str, error: str = "ValueError") -> Case:
    """A call that must raise an error whose message has these parts."""
    return Case(call, error, says)


def fresh(outputs: int = 2) -> list[np.ndarray]:
    """Supports, their labels, queries, their labels: 3 tasks in 6 dimensions."""
    rng = np.random.default_rng(0)
    shapes = ((3, 4, 6), (3, 4, outputs), (3, 5, 6), (3, 5, outputs))
    return [rng.standard_normal(shape) for shape in shapes]


def tasks(**changes: Any) -> theory.Tasks:
    """Good tasks, but for the changes."""
    names = ("support_x", "support_y", "query_x", "query_y")
    return theory.Tasks(**(dict(zip(names, fresh(), strict=True)) | changes))


def spoilt(index: int, value: float) -> theory.Tasks:
    """Tasks with one bad number in task 1."""
    fields = fresh()
    fields[index][1, 2, 0] = value
    return theory.Tasks(*fields)


def repeated(index: int) -> theory.Tasks:
    """Tasks with an input twice in task 1."""
    fields = fresh()
    fields[index][1, 3] = fields[index][1, 0]
    return theory.Tasks(*fields)


kernel = theory.relu_network(2)
head = theory.gradient_flow("head", time=1.0)
x = fresh()[0][0]
mtl = functools.partial(theory.mtl_predictor, kernel, tasks())
gbml = functools.partial(theory.gbml_predictor, kernel, tasks(), inner=head)


def kernel32(x1: np.ndarray, x2: np.ndarray | None = None) -> theory.Kernels:
    """Kernels in float32."""
    return theory.Kernels(*(k.astype(np.float32) for k in kernel(x1, x2)))


def spoilt_kernel(x1: np.ndarray, x2: np.ndarray | None = None) -> theory.Kernels:
    """Kernels that are NaN."""
    return theory.Kernels(*(k * np.nan for k in kernel(x1, x2)))


def indefinite(x1: np.ndarray, x2: np.ndarray | None = None) -> theory.Kernels:
    """Kernels that are no covariances."""
    kernels = kernel(x1, x2)
    if x2 is not None:
        return kernels
    return theory.Kernels(*(k - 3.0 * (k > 1.5) for k in kernels))


def tanh_network() -> None:
    """An activation whose kernel has no closed form."""
    stax = theory.neural_tangents().stax
    net = stax.serial(stax.Dense(1), stax.Elementwise(np.tanh), stax.Dense(1))
    network = theory.from_stax(net[2], name="tanh network")
    theory.gbml_predictor(network, tasks(), inner=head)


def no_weights() -> None:
    """The identity."""
    stax = theory.neural_tangents().stax
    theory.from_stax(stax.Identity()[2], name="identity")(x)


def nonlinear_last_layer() -> None:
    """A network that ends in an activation."""
    stax = theory.neural_tangents().stax
    net = stax.serial(stax.Dense(1), stax.Relu())
    theory.from_stax(net[2], name="bare")(x)


def kernel_of_pixels() -> None:
    """A network with an output for each pixel."""
    stax = theory.neural_tangents().stax
    net = stax.serial(stax.Dense(1), stax.Dense(1))
    theory.from_stax(net[2], name="pixels")(np.ones((2, 3, 3, 1)))


class _Hide(importlib.abc.MetaPathFinder):
    """Makes neural-tangents as good as not installed."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "neural_tangents":
            raise ModuleNotFoundError(name=fullname)


def without_neural_tangents() -> None:
    """A network of neural-tangents without neural-tangents."""
    for name in [name for name in sys.modules if name.startswith("neural_tangents")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Hide())
    try:
        theory.fully_connected(2)
    finally:
        sys.meta_path.pop(0)


def sweep(**changes: Any) -> None:
    """A sweep over depths."""
    given: dict[str, Any] = {"depths": [1], "times": [0.0], "inner": head}
    theory.depth_sweep(tasks(), tasks(), adaptation=head, **(given | changes))
