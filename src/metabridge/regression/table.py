"""Tables of rows as regression tasks: a task is a group of rows."""

import collections
import csv
import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from metabridge.data.arrays import divisors
from metabridge.regression.tasks import SPLITS, Scale, SplitName, make_task
from metabridge.types import Task
from metabridge.units import shortened
from metabridge.untrusted import expanded, quoted, shown

_MOST_VALUES = 100  # of a column of text
_SHARES = {"train": 0.6, "validation": 0.2}
_LEAST_GROUPS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Rows in groups, the tasks, which are spread over three splits.

    Attributes:
      name: for messages and folders.
      inputs, targets: float32 ``[N, d]`` and ``[N, K]``, sorted by group, as they are.
      sizes: rows of each group, ``[G]``.
      groups: their names.
      splits: numbers of the groups of each split.
      columns: names of the columns of the inputs, then those of the targets.
      scale: means and deviations of the training groups.
    """

    name: str
    inputs: Float[np.ndarray, "N d"]
    targets: Float[np.ndarray, "N K"]
    sizes: Int[np.ndarray, "G"]
    groups: tuple[str, ...]
    splits: dict[str, Int[np.ndarray, "g"]]
    columns: tuple[tuple[str, ...], tuple[str, ...]]
    scale: Scale
    subspace: None = None

    @property
    def num_inputs(self) -> int:
        """Length of an input."""
        return self.inputs.shape[1]

    @property
    def num_outputs(self) -> int:
        """Length of a target."""
        return self.targets.shape[1]

    def count(self, split: SplitName) -> int:
        """Groups of a split."""
        return len(self.splits[split])

    def check(self, shots: int, queries: int) -> None:
        """Refuse tasks for which a group has too few rows.

        Raises:
          ValueError: names the smallest group.
        """
        smallest = int(self.sizes.argmin())
        rows = int(self.sizes[smallest])
        if rows < shots + queries:
            raise ValueError(
                f"group {quoted(self.groups[smallest])} of {shown(self.name)} has "
                f"{rows} row(s), but a task takes {shots} for its support and "
                f"{queries} to be asked for: pass fewer `shots`, `queries` or "
                "`test_queries`, or leave such groups out (`min_rows`)"
            )

    def describe(self) -> dict[str, Any]:
        """Columns, and a digest of all values."""
        hasher = hashlib.blake2b(digest_size=16)
        for array in (self.inputs, self.targets, self.sizes):
            hasher.update(np.ascontiguousarray(array).tobytes())
        inputs, targets = map(list, self.columns)
        return {"inputs": inputs, "targets": targets, "digest": hasher.hexdigest()}

    def task(
        self,
        split: SplitName,
        number: Int[Array, ""],
        key: Key[Array, ""],
        shots: int,
        queries: int,
    ) -> Task:
        """Rows of the group `number` of a split, drawn without replacement."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        group = jnp.asarray(self.splits[split])[number]
        places = jnp.arange(int(self.sizes.max()))
        order = jax.random.uniform(key, places.shape)
        inside = places < jnp.asarray(self.sizes)[group]
        drawn = jnp.argsort(jnp.where(inside, order, jnp.inf))[: shots + queries]
        rows = jnp.asarray(starts)[group] + drawn
        inputs = jnp.asarray(self.scale.inputs(self.inputs))[rows]
        targets = jnp.asarray(self.scale.targets(self.targets))[rows]
        return make_task(inputs, targets, shots, number)


def read_table(
    path: str | os.PathLike[str],
    *,
    group: str,
    targets: Sequence[str],
    features: Sequence[str] = (),
    min_rows: int = 2,
    seed: int = 0,
) -> Table:
    """Read a file of comma separated values, a task a group.

    Args:
      path: UTF-8 text with a header.
      group: column that names the task of a row.
      targets: columns to predict, of numbers.
      features: columns to predict from; all others by default. A column of text
        becomes one of 0 and 1 for each of its values. A column ``split`` with train,
        validation and test spreads the groups; without one they are drawn, 3 : 1 : 1.
      min_rows: groups of fewer rows are left out.
      seed: of that draw.

    Raises:
      ValueError: no such column, a value that is missing or no number, a group in two
        splits, or too few groups.
    """
    file = expanded(path)
    header, rows = _read(file)
    where = shown(file)
    names = [group, *targets, *features]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ValueError(f"the column {quoted(twice)} is named twice; each has one use")
    for name in names:
        if name not in header:
            raise ValueError(
                f"{where} has no column {quoted(name)}; it has {quoted(header)}"
            )
    if min_rows > 2:
        place = header.index(group)
        counts = collections.Counter(row[place] for row in rows)
        rows = [row for row in rows if counts[row[place]] >= min_rows]
        if not rows:
            raise ValueError(
                f"no group of {where} has {min_rows} rows: pass a smaller `min_rows`"
            )
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    taken = list(features) or [n for n in header if n not in (*names, "split")]
    if not taken:
        raise ValueError(f"{where} has no column to predict from")
    pairs = [_encode(name, columns[name], where) for name in taken]
    input_names = tuple(name for names, _ in pairs for name in names)
    x = np.concatenate([values for _, values in pairs], axis=1)
    y = np.stack([_numbers(name, columns[name], where) for name in targets], axis=1)
    labels = np.asarray(columns[group], dtype=object)
    found, of_row = np.unique(labels.astype(str), return_inverse=True)
    order = np.argsort(of_row, kind="stable")
    sizes = np.bincount(of_row)
    if sizes.min() < 2:
        lone = found[sizes.argmin()]
        raise ValueError(
            f"group {quoted(str(lone))} of {where} has one row, but a task needs one "
            "for its support and one to be asked for: leave it out (`min_rows` 3)"
        )
    given = columns.get("split") if "split" not in names else None
    splits = _splits(of_row, found, given, seed, where)
    training = np.isin(of_row, splits["train"])
    scale = Scale.of(*_moments(x[training]), *_moments(y[training]))
    return Table(
        file.stem,
        x[order].astype(np.float32),
        y[order].astype(np.float32),
        sizes,
        tuple(map(str, found)),
        splits,
        (input_names, tuple(targets)),
        scale,
    )


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    where = shown(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = list(csv.reader(text, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{where} is no table of comma separated values ({shortened(error)})"
        ) from error
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise ValueError(f"{where} has no rows below its header")
    header = [name.strip() for name in lines[0]]
    if len(set(header)) != len(header):
        raise ValueError(f"the header of {where} has a name twice: {quoted(header)}")
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(header):
            raise ValueError(
                f"row {number} of {where} has {len(line)} value(s), but the header "
                f"names {len(header)} columns"
            )
    return header, lines[1:]


def _encode(
    name: str, values: Sequence[str], where: str
) -> tuple[list[str], Float[np.ndarray, "N c"]]:
    """A column as numbers; of text, a column for each value."""
    try:
        return [name], _numbers(name, values, where)[:, None]
    except ValueError:
        if _is_number(values[0]) or any(not value.strip() for value in values):
            raise
    found, of_row = np.unique(np.asarray(values, str), return_inverse=True)
    if len(found) > _MOST_VALUES:
        raise ValueError(
            f"the column {quoted(name)} of {where} is text of {len(found)} different "
            f"values, more than {_MOST_VALUES}: leave it out by naming `features`"
        )
    return [f"{name}={value}" for value in found], np.eye(len(found))[of_row]


def _is_number(value: str) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False


def _numbers(name: str, values: Sequence[str], where: str) -> Float[np.ndarray, "N"]:
    for row, value in enumerate(values, 1):
        if not _is_number(value):
            raise ValueError(
                f"row {row} of {where} has {quoted(value)} in the column "
                f"{quoted(name)}, but needs a finite number: fill it in, or leave the "
                "row out"
            )
    return np.asarray([float(value) for value in values])


def _splits(
    of_row: Int[np.ndarray, "N"],
    groups: Any,
    given: Sequence[str] | None,
    seed: int,
    where: str,
) -> dict[str, Int[np.ndarray, "g"]]:
    """The numbers of the groups of each split."""
    if given is not None:
        return _given_splits(of_row, groups, given, where)
    if len(groups) < _LEAST_GROUPS:
        raise ValueError(
            f"{where} has {len(groups)} group(s), but three splits need at least "
            f"{_LEAST_GROUPS}"
        )
    order = np.random.default_rng(seed).permutation(len(groups))
    held = [max(round(len(groups) * _SHARES["validation"]), 1)] * 2
    ends = np.cumsum([len(groups) - sum(held), *held])
    parts = np.split(order, ends[:-1])
    return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}


def _given_splits(
    of_row: Int[np.ndarray, "N"], groups: Any, given: Sequence[str], where: str
) -> dict[str, Int[np.ndarray, "g"]]:
    names = np.asarray(given, str)
    if unknown := next((n for n in given if n not in SPLITS), None):
        raise ValueError(
            f"the column 'split' of {where} has {quoted(unknown)}, but must say "
            f"{', '.join(SPLITS)}"
        )
    splits = {name: np.unique(of_row[names == name]) for name in SPLITS}
    for name, members in splits.items():
        if not len(members):
            raise ValueError(f"the split {name!r} of {where} has no group")
    every, counts = np.unique(np.concatenate(list(splits.values())), return_counts=True)
    if counts.max() > 1:
        both = groups[every[counts.argmax()]]
        raise ValueError(f"group {quoted(str(both))} of {where} is in two splits")
    return splits


def _moments(values: Float[np.ndarray, "N c"]) -> tuple[Any, Any]:
    """Mean and deviation of each column; the deviation of a constant one is 1."""
    mean = values.mean(0)
    return mean, divisors(mean, values.std(0))
