"""The closeness over an axis of networks, with intervals over draws; its file."""

import dataclasses
import io
import itertools
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from metabridge import files, units
from metabridge.output import check_output
from metabridge.theory.closeness.compare import fit_slope
from metabridge.theory.closeness.estimate import Estimate, estimate
from metabridge.theory.types import Array
from metabridge.untrusted import expanded, read_arrays, shown

FIELDS = ("gap", "relative_gap", "agreement", "transfer")
_NAMES = ("time", "outer_time", "jitter")
_SYMBOLS = ("λτ", "training time", "jitter")
COLUMNS = (*_NAMES, *FIELDS)
"""Of the rows of a sweep, beside that of its axis."""
_FORMAT, _VERSION = "metabridge.theory.Sweep", 1
_AXES = ("values", "times", "outer_times", "jitters")


class Slope(NamedTuple):
    """Powers of the axis that the gaps follow."""

    time: float
    outer_time: float
    jitter: float
    gap: Estimate
    relative_gap: Estimate


def estimate_slope(
    axis: Sequence[float] | Array, values: Float[Array, "V D"]
) -> Estimate:
    """The power b of ``values ~ axis^b``: the mean of the fits to each of D draws."""
    return estimate(np.asarray([fit_slope(axis, own) for own in np.asarray(values).T]))


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """Closeness by a network's number, inner time, training time, jitter and draw.

    Attributes:
      axis: name of the number that tells the networks apart, for example "depth".
      values: V of them.
      times: M, of the inner loop in training; NaN where it has none.
      outer_times: O, of training.
      jitters: J, added to the diagonals of training.
      gap: of each draw, see `Closeness`; so are the next three.
      relative_gap: gap over transfer.
      agreement: share of the queries on which both name one class, or NaN.
      transfer: what training contributed to GBML's prediction.
      fitted_from: the values at least this large give the slopes.
      seed: of the draws.
    """

    axis: str
    values: tuple[float, ...]
    times: tuple[float, ...]
    outer_times: tuple[float, ...]
    jitters: tuple[float, ...]
    gap: Float[np.ndarray, "V M O J D"]
    relative_gap: Float[np.ndarray, "V M O J D"]
    agreement: Float[np.ndarray, "V M O J D"]
    transfer: Float[np.ndarray, "V M O J D"]
    fitted_from: float = 0.0
    seed: int = 0

    @property
    def draws(self) -> int:
        """D, the number of draws."""
        return self.gap.shape[-1]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row a cell: the numbers of the axes by name, an `Estimate` a field.

        The order is that of the axes, the jitter changing fastest.
        """
        return [
            {self.axis: value}
            | dict(zip(_NAMES, setting, strict=True))
            | {name: estimate(getattr(self, name)[at, *place]) for name in FIELDS}
            for at, value in enumerate(self.values)
            for place, setting in self.settings()
        ]

    @property
    def slopes(self) -> tuple[Slope, ...]:
        """The slopes at each inner time, training time and jitter, in this order."""
        axis = np.asarray(self.values, np.float64)
        keep = (axis >= self.fitted_from) & (axis > 0)
        tables = self.gap, self.relative_gap

        def fit(table: np.ndarray, place: tuple[int, ...]) -> Estimate:
            return estimate_slope(axis[keep], table[keep][:, *place])

        return tuple(
            Slope(time, outer, jitter, *(fit(t, place) for t in tables))
            for place, (time, outer, jitter) in self.settings()
        )

    def settings(self) -> list[tuple[tuple[int, ...], tuple[float, float, float]]]:
        """The places and numbers of the axes besides that of the networks."""
        axes = (self.times, self.outer_times, self.jitters)
        places = itertools.product(*(range(len(axis)) for axis in axes))
        return list(zip(places, itertools.product(*axes), strict=True))

    def table(self) -> str:
        """The rows in Markdown, and the slopes below them.

        An axis of one number is left out, but for that of the networks.
        """
        lengths = zip(_NAMES, self.gap.shape[1:], strict=False)
        axes = [name for name, length in lengths if length > 1]
        classes = bool(np.isfinite(self.agreement).any())
        fields = [name for name in FIELDS if classes or name != "agreement"]
        rows = [{**row, self.axis: number(row[self.axis])} for row in self.rows]
        rows += [
            {self.axis: "slope", **slope._asdict()}
            for slope in self.slopes
            if not math.isnan(slope.gap.mean)
        ]
        cells = [
            [row[self.axis], *(number(row[name]) for name in axes)]
            + [str(row.get(name, "")) for name in fields]
            for row in rows
        ]
        columns = [self.axis, *axes, *fields]
        return units.markdown_table([c.replace("_", " ") for c in columns], cells)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw gap and relative gap against the axis, with intervals, to an image."""
        from metabridge.theory.closeness.sweep_figure import GAPS, draw

        target = check_output(path, "path")
        panels = {name: self._lines(field) for field, name in GAPS.items()}
        draw(self.axis, self.values, panels).savefig(target, dpi=120)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sweep whole or not at all, an ``.npz`` file; `load` reads it."""
        target, buffer = check_output(path, "path"), io.BytesIO()
        np.savez(buffer, format=_FORMAT, version=_VERSION, **vars(self))
        files.write_bytes(target, buffer.getvalue())

    def _lines(self, field: str) -> list[tuple[str, list[Estimate]]]:
        """Estimates over the axis for each setting, under a label of what varies."""
        varied = [length > 1 for length in self.gap.shape[1:-1]]
        lines = []
        for (place, setting), slopes in zip(self.settings(), self.slopes, strict=True):
            parts = zip(_SYMBOLS, setting, varied, strict=True)
            label = [f"{what} = {number(v)}" for what, v, vary in parts if vary]
            slope = getattr(slopes, field)
            label += [] if math.isnan(slope.mean) else [f"slope {slope}"]
            found = [estimate(own) for own in getattr(self, field)[:, *place]]
            lines.append((", ".join(label), found))
        return lines

    def __repr__(self) -> str:
        ends = dict.fromkeys((self.values[0], self.values[-1]))
        last = estimate(self.relative_gap[-1, -1, -1, -1])
        return (
            f"Sweep({self.axis} {' to '.join(map(number, ends))}, times "
            f"{', '.join(map(number, self.times))}, {self.draws} draws: relative gap "
            f"{last} at the last of all)"
        )

    def __str__(self) -> str:
        return self.table()


def load(path: str | os.PathLike[str]) -> Sweep:
    """Read what `Sweep.save` wrote; nothing in the file is run.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no sweep, or of a later version.
    """
    source = expanded(path)
    try:
        return _parse(read_arrays(source))
    except OSError:
        raise
    # A forged archive can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{shown(source)} is no sweep that Sweep.save wrote: {shown(error)}"
        ) from error


def _parse(arrays: dict[str, np.ndarray]) -> Sweep:
    if str(arrays.pop("format", "")) != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    version = int(arrays.pop("version"))
    if version != _VERSION:
        raise ValueError(f"its version is {version}, and this release reads {_VERSION}")
    wanted = {field.name for field in dataclasses.fields(Sweep)}
    if arrays.keys() != wanted:
        raise ValueError(f"it holds {sorted(arrays)}, not {sorted(wanted)}")
    values, times, outer_times, jitters = (
        tuple(map(float, arrays[name])) for name in _AXES
    )
    axes = values, times, outer_times, jitters
    tables = {name: arrays[name] for name in FIELDS}
    wanted = *map(len, axes), tables["gap"].shape[-1]
    for name, table in tables.items():
        if table.dtype != np.float64 or table.shape != wanted:
            raise ValueError(f"its {name} is {table.dtype} {table.shape}, not {wanted}")
    return Sweep(
        str(arrays["axis"]), *axes, **tables,
        fitted_from=float(arrays["fitted_from"]), seed=int(arrays["seed"]),
    )  # fmt: skip


def number(value: float) -> str:
    """A number of an axis as people write it."""
    return "–" if math.isnan(value) else f"{value:g}".replace("inf", "∞")
