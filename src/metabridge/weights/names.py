"""The names of a state dict: a body's prefix, what lacks and what is too much."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from metabridge.untrusted import quoted
from metabridge.weights.reading import StateDict

_SHOWN = 10
_COMPARED = 2000  # names among which a near one is looked for
_COUNTER = "num_batches_tracked"  # of PyTorch's batch normalisation, without effect


def find_prefix(names: Iterable[str], anchor: str, key: str | None) -> str:
    """Find what stands before a body's names, as in ``state_dict.module.``.

    Args:
      names: of a state dict.
      anchor: the name of an array that every such body has once.
      key: what the prefix begins with, where there are several.

    Raises:
      ValueError: several, or none that begins with `key`.
    """
    found = sorted(
        {
            name.removesuffix(anchor)
            for name in names
            if name == anchor or name.endswith(f".{anchor}")
        }
    )
    wanted = [p for p in found if key is None or f"{p}.".startswith(f"{key}.")]
    if len(wanted) == 1:
        return wanted[0]
    known = ", ".join(quoted(prefix.removesuffix(".")) for prefix in found[:_SHOWN])
    if wanted:
        raise ValueError(f"it holds several bodies: pass one of {known} as `key`")
    if key is None:
        return ""  # the names that lack are listed by who asks
    beside = f"known are {known}" if known else f"no name ends in {quoted(anchor)}"
    raise ValueError(f"it has no body under the `key` {quoted(key)}; {beside}")


def within(entries: StateDict, prefix: str) -> tuple[StateDict, list[str]]:
    """Entries below a prefix by the rest of their names, and the names of the others.

    PyTorch's counters of batches are in neither.
    """
    inside = {
        name.removeprefix(prefix): entry
        for name, entry in entries.items()
        if name.startswith(prefix) and not name.endswith(_COUNTER)
    }
    others = [name for name in entries if not name.startswith(prefix)]
    return inside, [name for name in others if not name.endswith(_COUNTER)]


def check_names(found: Iterable[str], wanted: Iterable[str], model: str) -> None:
    """Refuse a state dict that has not the very names of a body.

    Raises:
      ValueError: the first ten of those that lack, each with the nearest of those that
        are too much, and the first ten of these.
    """
    has, needs = list(found), list(wanted)
    surplus = [name for name in has if name not in set(needs)]
    missing = [name for name in needs if name not in set(has)]
    problems = []
    if missing:
        near = surplus[:_COMPARED]
        texts = [_with_nearest(name, near) for name in missing[:_SHOWN]]
        problems.append(f"it lacks {_listed(texts, len(missing))}")
    if surplus:
        texts = [quoted(name) for name in surplus[:_SHOWN]]
        problems.append(f"it has {_listed(texts, len(surplus))}, which {model} has not")
    if problems:
        raise ValueError("; ".join(problems))


def check_shapes(
    found: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    model: str,
) -> None:
    """Refuse arrays of other shapes than those of a body, naming the first ten."""
    wrong = [
        f"{quoted(name)} is {list(found[name])}, but {model} takes {list(shape)}"
        for name, shape in wanted.items()
        if found[name] != shape
    ]
    if wrong:
        raise ValueError(f"its shapes differ: {_listed(wrong[:_SHOWN], len(wrong))}")


def _with_nearest(name: str, names: list[str]) -> str:
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"{name} (nearest: {quoted(nearest[0])})" if nearest else name


def _listed(texts: list[Any], count: int) -> str:
    more = count - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")
