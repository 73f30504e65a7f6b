"""Empirical tangent kernels: of a real network with the parameters that it has.

``Theta = J J^T`` with the Jacobian J of the outputs in all parameters, and ``Sigma``
the part of it that the parameters of the head have. These are the kernels of the
network's linearisation at its parameters, to which gradient flow on the square loss
belongs as to an infinitely wide network; only now Theta is random, or trained.

References:
  Jacot, Gabriel, Hongler. Neural tangent kernel: Convergence and generalization in
    neural networks. NeurIPS 2018, https://arxiv.org/abs/1806.07572.
  Novak, Sohl-Dickstein, Schoenholz. Fast finite width neural tangent kernel. ICML 2022,
    https://arxiv.org/abs/2206.08720 (Jacobian contraction, which this is).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.kernels.flax_networks import pure_function
from metabridge.theory.kernels.jacobian import Groups, Network, blocks_of, gram
from metabridge.theory.types import (
    Array,
    CoupledKernels,
    Kernels,
    check_inputs,
    check_whole,
)

Path = tuple[str, ...]
HeadSelector = str | Sequence[str] | Callable[[Path], bool]
"""``"decoder/dense"``: all parameters whose path begins so; several of these; or a
function of a path, as ``("decoder", "dense", "kernel")``."""
Outputs = Literal["trace", "full"] | int
DType = Literal["float32", "float64"]
_ALIKE = {"float32": 1e-3, "float64": 1e-6}
"""Relative change of outputs that an input beside it may make, by rounding."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EmpiricalKernel:
    """The tangent kernel of a network; made by `empirical`.

    Attributes:
      network: the function.
      leaves: its parameters.
      paths: their names.
      head: places of the head's among them.
      outputs: see `empirical`.
      block: likewise.
      dtype: likewise.
      max_bytes: likewise.
      prepare: checks the inputs of a call and changes them, if need be.
    """

    scalable: ClassVar[bool] = False
    """Multiples of an input need be none."""
    infinite: ClassVar[bool] = False
    """It is of one network: ``f_0`` is a function, and not random."""
    network: Network
    leaves: tuple[Num[np.ndarray, "..."], ...]
    paths: tuple[Path, ...]
    head: frozenset[int]
    outputs: Outputs
    block: int
    dtype: DType
    max_bytes: float
    prepare: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def coupled(self) -> bool:
        """Whether it has a row for each output of an input."""
        return self.outputs == "full"

    def __repr__(self) -> str:
        sizes = [leaf.size for leaf in self.leaves]
        return (
            f"empirical({sum(sizes):,} parameters, "
            f"{sum(sizes[i] for i in self.head):,} of the head, "
            f"outputs={self.outputs!r}, {self.dtype})"
        )

    def __call__(
        self, x1: Num[Array, "N *X"], x2: Num[Array, "M *X"] | None = None
    ) -> Kernels:
        """Kernels ``[N, M]``; ``[N K, M K]``, output by output, if they are coupled."""
        places = range(len(self.leaves))
        body = tuple(place for place in places if place not in self.head)
        head, rest = self._products(x1, x2, (tuple(sorted(self.head)), body))
        kind = CoupledKernels if self.coupled else Kernels
        return kind(head, head + rest)

    def parts(
        self, x1: Num[Array, "N *X"], x2: Num[Array, "M *X"] | None = None
    ) -> dict[str, Float[np.ndarray, "R C"]]:
        """The part of Theta of each layer, by its parameters' path without the name.

        A path is ``"body/Conv_0"``; the parts sum to Theta.
        """
        layers: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            layers.setdefault("/".join(path[:-1] or path), []).append(place)
        found = self._products(x1, x2, tuple(map(tuple, layers.values())))
        return dict(zip(layers, found, strict=True))

    def function(self, x: Num[Array, "N *X"]) -> Float[np.ndarray, "N K"]:
        """The network's outputs ``f_0``, for the `initial` of a predictor."""
        with self._precision():
            inputs = self._inputs("x", x)
            self._count(inputs)
            leaves = jax.device_put(list(self.leaves))
            blocks = blocks_of(inputs, self.block)
            values = [np.asarray(_outputs(self.network, leaves, b)) for _, b in blocks]
        return np.concatenate(values)[: len(x)].astype(np.float64)

    def count_outputs(self, x: Num[Array, "N *X"]) -> int:
        """The number K of the network's outputs for such inputs."""
        with self._precision():
            return self._count(self._inputs("x", x))

    def _products(
        self, x1: Array, x2: Array | None, groups: Groups
    ) -> Float[np.ndarray, "G R C"]:
        with self._precision():
            first = self._inputs("x1", x1)
            second = None if x2 is None else self._inputs("x2", x2)
            if second is not None and first.shape[1:] != second.shape[1:]:
                raise ValueError(
                    f"the inputs differ in shape: {list(first.shape[1:])} and "
                    f"{list(second.shape[1:])}"
                )
            if second is not None and second.dtype != first.dtype:
                wider = np.result_type(first, second)
                first, second = first.astype(wider), second.astype(wider)
            count = self._count(first)
            self._check_independence(first)
            outputs = np.eye(count, dtype=self.dtype)
            if not isinstance(self.outputs, str):
                outputs = outputs[[self.outputs]]
            found = gram(
                self.network, self.leaves, first, second, groups,
                outputs=outputs, coupled=self.coupled,
                block=self.block, max_bytes=self.max_bytes,
            )  # fmt: skip
        return found / count if self.outputs == "trace" else found

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        # A GPU's default for float32 has 10 bits.
        highest = jax.default_matmul_precision("highest")
        with float64(), jax.enable_x64(self.dtype == "float64"), highest:
            yield

    def _inputs(self, what: str, x: Array) -> np.ndarray:
        inputs = np.asarray(x)
        check_inputs(f"`{what}`", inputs)
        if self.prepare is not None:
            inputs = self.prepare(inputs)
        # Wider integers may be indices, as those of tokens.
        if inputs.dtype.kind in "iu" and inputs.dtype.itemsize > 2:
            return inputs
        return inputs.astype(self.dtype)

    def _count(self, x: np.ndarray) -> int:
        """The number of outputs, once the function has been found to be one of those.

        Raises:
          ValueError: outputs that are not ``[N, K]``, or no such output.
        """
        one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        found = jax.eval_shape(self.network.outputs, list(self.leaves), one)
        shape = getattr(found, "shape", None)
        if shape is None or len(shape) != 2 or shape[0] != 1 or not shape[1]:
            what = type(found).__name__ if shape is None else list(shape)
            raise ValueError(
                f"`apply` must give [N, K] for N inputs, but gave {what} for one of "
                f"shape {list(x.shape[1:])}"
            )
        if not isinstance(self.outputs, str) and self.outputs >= shape[1]:
            raise ValueError(
                f"`outputs` is {self.outputs}, but the network has {shape[1]} outputs, "
                "counted from 0"
            )
        return shape[1]

    def _check_independence(self, x: np.ndarray) -> None:
        if len(x) < 2:
            return
        pairs, leaves = (x[:2], x[[0, 0]]), list(self.leaves)
        one, two = (np.asarray(_outputs(self.network, leaves, p))[0] for p in pairs)
        if np.abs(one - two).max() > _ALIKE[self.dtype] * np.abs(one).max():
            raise ValueError(
                "the outputs of an input change with the other inputs of its batch, as "
                "by batch normalisation in training mode: normalise by running "
                "statistics (train=False, or model.eval() of an NNX module)"
            )


def empirical(
    apply: Any,
    params: Any = None,
    *,
    head: HeadSelector = "head",
    outputs: Outputs = "trace",
    block: int = 32,
    dtype: DType = "float64",
    max_bytes: float = 4e9,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> EmpiricalKernel:
    """The empirical tangent kernel of a network, a kernel as any other.

    Args:
      apply: ``apply(params, x) -> [N, K]``, a pure function that treats each input by
        itself; a Flax Linen module, with its variables for `params`; or a Flax NNX
        module, without `params` (call ``model.eval()`` first). What a module has beside
        parameters, such as batch statistics, is kept as it is.
      params: a tree of floating-point parameters, or a Linen module's variables.
      head: which of them are the head's: the beginning of their path, as "head" or
        "decoder/dense", several such, or a function of the path as a tuple of names.
        Places in lists and tuples count as names: "4".
      outputs: "trace" averages the kernels of the K outputs (in the limit of infinite
        width all are equal); a number is that output's kernel; "full" couples them:
        ``[N K, M K]``, and both predictors, `compare` and `diagnose` solve the coupled
        system of any tasks with K outputs.
      block: inputs whose Jacobian is made at a time, at most.
      dtype: of the Jacobian; its products are float64. On a CPU "float32" makes rows in
        about half the time. A matrix made in one call is positive
        semi-definite to the round-off of float64 in both, but in float32 eigenvalues
        below 1e-7 of the largest are of the rounded Jacobian, and between calls (as
        the tiles of many points are) rows may be rounded differently.
      max_bytes: memory to take beside the result, at most. As many rows of the
        Jacobian as it holds are reused for all columns; the fewer, the more often rows
        are made. With "trace" it is the rows of one output after another that are held
        where those of all do not fit.
      prepare: function of the inputs as they come, to check or change them.

    Returns:
      A kernel with `function` for ``initial=``, and `parts` by layer.

    Raises:
      TypeError: parameters that are not floating point, or no function.
      ValueError: a head of no parameters or of all; in a call, outputs that are not
        ``[N, K]`` or depend on other inputs, or too little memory.

    Example:
      >>> kernel = theory.empirical(module, variables, head="Dense_2")
      >>> mtl = theory.mtl_predictor(kernel, tasks, initial=kernel.function)
    """
    if not isinstance(outputs, str):
        check_whole("outputs", outputs, 0)
    elif outputs not in ("trace", "full"):
        raise ValueError(
            f"`outputs` must be 'trace', 'full' or the number of one, not {outputs!r}"
        )
    check_whole("block", block, 1)
    if dtype not in get_args(DType):
        raise ValueError(f"`dtype` must be 'float32' or 'float64', not {dtype!r}")
    if not max_bytes > 0:
        raise ValueError(f"`max_bytes` must be positive, but is {max_bytes}")
    function, tree = pure_function(apply, params, dtype)
    named, structure = jax.tree_util.tree_flatten_with_path(tree)
    paths = tuple(_names(path) for path, _ in named)
    leaves = tuple(
        _parameter(path, leaf, dtype)
        for path, (_, leaf) in zip(paths, named, strict=True)
    )
    places = _find_head(head, paths)
    return EmpiricalKernel(
        Network(function, structure), leaves, paths, places,
        outputs, block, dtype, float(max_bytes), prepare,
    )  # fmt: skip


def _names(path: Any) -> Path:
    """The names on the way to a parameter; NNX's state ends in one of its own."""
    keystr = functools.partial(jax.tree_util.keystr, simple=True)
    of_state = len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value")
    return tuple(keystr((key,)) for key in (path[:-1] if of_state else path))


def _parameter(path: Path, leaf: Any, dtype: DType) -> np.ndarray:
    array = np.asarray(leaf)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"the parameter {'/'.join(path)!r} is {array.dtype}, but must be floating "
            "point: let `apply` hold what is not differentiated"
        )
    return array.astype(dtype)


def _find_head(head: HeadSelector, paths: Sequence[Path]) -> frozenset[int]:
    """Places of the head's parameters."""
    if callable(head):
        found = frozenset(i for i, path in enumerate(paths) if head(path))
    else:
        several = [head] if isinstance(head, str) else head
        starts = [tuple(one.strip("/").split("/")) for one in several]
        found = frozenset(
            i
            for i, path in enumerate(paths)
            if any(path[: len(start)] == start for start in starts)
        )
    if not 0 < len(found) < len(paths):
        top = ", ".join(dict.fromkeys(path[0] if path else "" for path in paths))
        much = "all" if found else "none"
        raise ValueError(
            f"`head` is {head!r}, which is {much} of the parameters: name those of the "
            f"last layer by the beginning of their path; there are {top}"
        )
    return found


@functools.partial(jax.jit, static_argnums=0)
def _outputs(network: Network, leaves: list, x: Any) -> Any:
    return network.outputs(leaves, x)
