"""Products ``J J^T`` of a network's Jacobian, in blocks of inputs.

The rows of the Jacobian of a panel of inputs are held at once, as many as the memory
allows, and multiplied with those of one block of columns after another, which are made
anew for each panel. The whole Jacobian is never held unless it fits; where it does not,
the product of a sum over outputs is made output by output.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from metabridge.parallel import devices
from metabridge.theory.kernels.evaluate import mirror_lower
from metabridge.theory.kernels.products import convolve_by_products
from metabridge.units import format_bytes

Apply = Callable[[Any, Any], Any]
"""``apply(params, x) -> [N, K]``."""
Groups = tuple[tuple[int, ...], ...]
"""Places of the parameters' leaves, in groups with a product each."""
_SHARE = 0.8
"""Of the free memory that may be taken, whatever the limit."""
_KEPT = 32
_STRIP = 2048
"""Columns of rows that are multiplied in float64 at a time."""
_BANDS, _LEAST_BAND = 4, 64
"""Bands of rows of a square, and the least rows of one."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A function of parameters and inputs.

    Attributes:
      apply: ``apply(params, x) -> [N, K]``; the outputs of an input must not depend on
        other inputs.
      structure: of the parameters' tree.
    """

    apply: Apply
    structure: Any

    def outputs(self, leaves: Sequence[Any], x: Any) -> Any:
        """The function's outputs ``[N, K]``."""
        return self.apply(jax.tree.unflatten(self.structure, leaves), x)

    def rows(
        self, groups: Groups, leaves: Sequence[Any], chosen: Any, x: Any
    ) -> list[jax.Array]:
        """Rows of the Jacobian in the parameters of each group, ``[B, k, P]``.

        Args:
          groups: places of parameters.
          leaves: the parameters.
          chosen: ``[k, K]``, 1 at the output of each of k rows, 0 elsewhere.
          x: B inputs.
        """

        def of_input(one: Any) -> list[jax.Array]:
            @convolve_by_products
            def values(leaves: Sequence[Any]) -> jax.Array:
                return self.outputs(leaves, one[None])[0]

            found, pull = jax.vjp(values, leaves)
            # Outputs may be of another type than the parameters.
            (of_leaves,) = jax.vmap(pull)(chosen.astype(found.dtype))
            flat = [leaf.reshape(len(chosen), -1) for leaf in of_leaves]
            return [jnp.concatenate([flat[i] for i in own], axis=1) for own in groups]

        return jax.vmap(of_input)(x)


def blocks_of(
    x: Num[np.ndarray, "N *X"], size: int, start: int = 0
) -> Iterator[tuple[slice, Num[np.ndarray, "B *X"]]]:
    """Inputs from `start` in blocks of one size, the last one filled up."""
    for first in range(start, len(x), size):
        some = x[first : first + size]
        yield slice(first, first + len(some)), some[np.arange(size) % len(some)]


class _TooLittleMemoryError(ValueError):
    """The rows of an input and the work on them take more than is allowed."""


class _Plan(NamedTuple):
    """Sizes of blocks and panels, in inputs, and the compiled program of a block."""

    block: int
    panel: int
    program: Callable[..., Any]


def gram(
    network: Network,
    leaves: Sequence[Num[np.ndarray, "..."]],
    x1: Num[np.ndarray, "N *X"],
    x2: Num[np.ndarray, "M *X"] | None,
    groups: Groups,
    *,
    outputs: Float[np.ndarray, "k K"],
    coupled: bool,
    block: int,
    max_bytes: float,
) -> Float[np.ndarray, "G R C"]:
    """The product ``J(x1) J(x2)^T`` of each group of parameters, in float64.

    Args:
      outputs: of the network, by a row with 1 at its place; in the parameters' type.
      coupled: a row for each of these outputs, ``R = N k``; else their sum, ``R = N``.
      block: inputs whose rows are made at a time, at most.
      max_bytes: for what is held beside the result.

    Raises:
      ValueError: the rows of a single input, of one output unless they are coupled,
        do not fit into `max_bytes`.
    """
    each = len(outputs) if coupled else 1
    if not len(x1) or (x2 is not None and not len(x2)):
        count = len(x1 if x2 is None else x2)
        return np.zeros((len(groups), len(x1) * each, count * each))
    if x2 is not None and len(x2) < len(x1):  # the side that is held fits sooner
        turned = gram(
            network, leaves, x2, x1, groups,
            outputs=outputs, coupled=coupled, block=block, max_bytes=max_bytes,
        )  # fmt: skip
        return turned.transpose(0, 2, 1)

    held = jax.device_put(list(leaves))
    shape = len(groups), len(x1) * each, len(x1 if x2 is None else x2) * each
    result = np.zeros(shape)
    limit = min(max_bytes, _SHARE * devices.free_bytes())
    row = sum(leaf.nbytes for leaf in leaves)

    def plan_for(outputs: np.ndarray) -> _Plan:
        return _plan(network, leaves, x1, groups, outputs, block, limit)

    parts = [outputs]
    if not coupled and len(x1) * len(outputs) * row > limit:
        # Output by output, so that more inputs fit and their rows are made less often.
        parts = list(outputs[:, None])
    try:
        plan = plan_for(parts[0])
    except _TooLittleMemoryError:
        if coupled or len(parts) == len(outputs):
            raise
        parts = list(outputs[:, None])
        plan = plan_for(parts[0])
    for part in parts:
        _add(result, plan, held, x1, x2, part, each)
    return result


def _add(
    result: np.ndarray,
    plan: _Plan,
    held: list[jax.Array],
    x1: np.ndarray,
    x2: np.ndarray | None,
    outputs: np.ndarray,
    each: int,
) -> None:
    """Adds the products of the rows of these outputs to the result."""
    other, symmetric = x1 if x2 is None else x2, x2 is None

    def blocks(x: np.ndarray, start: int, stop: int) -> Iterator[tuple[slice, list]]:
        """Inputs from `start` to `stop` and their rows, filled up to a whole block."""
        for own, filled in blocks_of(x[:stop], plan.block, start):
            rows = plan.program(held, outputs, filled)
            yield own, [part.reshape(plan.block * each, -1) for part in rows]

    def multiply(start: int) -> None:
        """Rows of the result from one panel, which is gone before the next is made."""
        stop = min(start + plan.panel, len(x1))
        panel = _panel(blocks(x1, start, stop), start, plan, each)
        across = slice(start * each, stop * each)
        if symmetric:
            for own, part in zip(result, panel, strict=True):
                size = across.stop - across.start
                square = np.asarray(_lower_square(part), np.float64)[:size, :size]
                own[across, across] += mirror_lower(square)
        for own, rows in blocks(other, stop if symmetric else 0, len(other)):
            down = slice(own.start * each, own.stop * each)
            for into, left, right in zip(result, panel, rows, strict=True):
                tile = np.asarray(_product(left, right), np.float64)
                tile = tile[: across.stop - across.start, : down.stop - down.start]
                into[across, down] += tile
                if symmetric:
                    into[down, across] += tile.T

    for start in range(0, len(x1), plan.panel):
        multiply(start)


def _plan(
    network: Network,
    leaves: Sequence[np.ndarray],
    x: np.ndarray,
    groups: Groups,
    outputs: np.ndarray,
    block: int,
    limit: float,
) -> _Plan:
    """Blocks that take a quarter of the memory at most, and panels of the rest."""
    row = sum(leaf.nbytes for leaf in leaves) * len(outputs)
    # A power of two: few shapes are compiled.
    size = min(block, 1 << max(len(x) - 1, 0).bit_length())
    while size > 1 and 8 * size * row > limit:
        size //= 2
    types = tuple((leaf.shape, leaf.dtype.name) for leaf in (*leaves, outputs))
    while True:
        of_block = (size, *x.shape[1:]), x.dtype.name
        program, work = _compiled(network, groups, types, of_block)
        if size == 1 or work <= limit / 4:
            break
        size //= 2
    # The last block's rows are there while the next one's are made.
    panels = max(int((limit - work) // (size * row)) - 1, 1)
    if work + size * row > limit:
        raise _TooLittleMemoryError(
            f"the Jacobian of one input needs {format_bytes(work + row)} ("
            f"{format_bytes(row)} a row, {format_bytes(work)} to make it), but "
            f"{format_bytes(limit)} may be taken: raise `max_bytes`, or pass "
            + ("outputs=0 or " if len(outputs) > 1 else "")
            + "dtype='float32'"
        )
    wanted = -(-len(x) // size)
    panels = -(-wanted // -(-wanted // panels))  # all about as large as the last
    return _Plan(size, max(panels, 1) * size, program)


def _panel(
    blocks: Iterator[tuple[slice, list]], start: int, plan: _Plan, each: int
) -> list[jax.Array]:
    """The rows of all blocks of a panel, put where they stay."""
    if plan.panel == plan.block:
        return next(blocks)[1]
    panel: list[jax.Array] = []
    for own, rows in blocks:
        if not panel:
            shapes = [(plan.panel * each, part.shape[1]) for part in rows]
            panel = [jnp.zeros(s, p.dtype) for s, p in zip(shapes, rows, strict=True)]
        panel = _place(panel, rows, (own.start - start) * each)
    return panel


@functools.lru_cache(maxsize=_KEPT)
def _compiled(
    network: Network, groups: Groups, leaves: Any, inputs: Any
) -> tuple[Callable[..., Any], int]:
    """The rows of a block, compiled, and the bytes that they and the work take."""
    *arguments, outputs = (jax.ShapeDtypeStruct(*one) for one in leaves)
    lowered = jax.jit(functools.partial(network.rows, groups)).lower(
        arguments, outputs, jax.ShapeDtypeStruct(*inputs)
    )
    program = lowered.compile()
    sizes: Any = program.memory_analysis()
    return program, sizes.output_size_in_bytes + sizes.temp_size_in_bytes


@functools.partial(jax.jit, donate_argnums=0)
def _place(panel: list[jax.Array], rows: list[jax.Array], start: Any) -> list:
    place = jax.lax.dynamic_update_slice_in_dim
    return [place(p, r, start, axis=0) for p, r in zip(panel, rows, strict=True)]


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    """``left right^T`` in float64.

    Rounded to float32 it would have eigenvalues below 0 where the rows are dependent.
    """
    with jax.enable_x64(True):
        return _product64(left, right)


def _lower_square(rows: jax.Array) -> jax.Array:
    """``rows rows^T`` in float64, right on and below the diagonal."""
    with jax.enable_x64(True):
        return _lower_square64(rows)


@jax.jit
def _product64(left: jax.Array, right: jax.Array) -> jax.Array:
    return _by_strips(_dot, left, right)


@jax.jit
def _lower_square64(rows: jax.Array) -> jax.Array:
    # In bands of rows: of four, three eighths of the square are left out.
    size = max(-(-len(rows) // _BANDS), _LEAST_BAND)

    def of(strip: jax.Array) -> list[jax.Array]:
        return [
            _dot(strip[start : start + size], strip[: start + size])
            for start in range(0, len(rows), size)
        ]

    bands = _by_strips(of, rows)
    padded = [jnp.pad(b, [(0, 0), (0, len(rows) - b.shape[1])]) for b in bands]
    return jnp.concatenate(padded)


def _dot(one: jax.Array, other: jax.Array) -> jax.Array:
    over_last = ((1,), (1,)), ((), ())
    return jax.lax.dot_general(
        one, other, over_last, precision=jax.lax.Precision.HIGHEST
    )


def _by_strips(of: Callable[..., Any], *rows: jax.Array) -> Any:
    """A sum over columns, in strips: all rows in float64 would take more memory."""

    def double(*parts: jax.Array) -> Any:
        return of(*(part.astype(jnp.float64) for part in parts))

    columns = rows[0].shape[1]
    if columns <= _STRIP:
        return double(*rows)
    whole = columns // _STRIP

    def add(index: jax.Array, total: Any) -> Any:
        strips = (
            jax.lax.dynamic_slice_in_dim(part, index * _STRIP, _STRIP, axis=1)
            for part in rows
        )
        return jax.tree.map(jnp.add, total, double(*strips))

    rest = double(*(part[:, whole * _STRIP :] for part in rows))
    return jax.lax.fori_loop(0, whole, add, rest)
