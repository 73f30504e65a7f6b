"""The ranges of numbers: each field has one, and numbers beyond it are refused."""

import dataclasses
import math
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

from metabridge import config as configs
from metabridge.config import Config
from metabridge.config.fields import Range, hints_of
from tests.own import OPTIONS

UNCHECKED = {
    "devices",  # which there are is not known here; `build.num_devices` checks it
    "init_shift",  # any finite number
    "drops",  # pairs, which `check` looks at together
    "train_sizes",  # likewise
}
SECTIONS = ("data", "model", "train", "evaluation")
KINDS = {name: type(getattr(Config(), name)) for name in SECTIONS} | OPTIONS


def ranges_of(hint: Any) -> Iterator[tuple[type, Range]]:
    if typing.get_origin(hint) is Annotated:
        yield from (
            (hint.__origin__, extra)
            for extra in hint.__metadata__
            if isinstance(extra, Range)
        )
    for part in typing.get_args(hint):
        yield from ranges_of(part)


def holds_numbers(hint: Any) -> bool:
    return hint in (int, float) or any(map(holds_numbers, typing.get_args(hint)))


NUMBERS = {
    name: (section, hint)
    for section, kind in KINDS.items()
    for name, hint in hints_of(kind).items()
    if typing.get_origin(hint) is not typing.ClassVar and holds_numbers(hint)
}


def with_value(name: str, value: float) -> Config:
    section, _ = NUMBERS[name]
    if section in OPTIONS:
        return Config(learner=OPTIONS[section](**{name: value}))
    changed = dataclasses.replace(getattr(Config(), section), **{name: value})
    return dataclasses.replace(Config(), **{section: changed})


def test_every_number_has_a_range() -> None:
    without = {n for n, (_, hint) in NUMBERS.items() if not list(ranges_of(hint))}
    assert without == UNCHECKED


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() - UNCHECKED))
def test_numbers_beyond_their_range_are_refused(name: str) -> None:
    kind, limits = next(ranges_of(NUMBERS[name][1]))
    beyond = [math.nextafter(limits.least, -math.inf), *limits.without, -1e300]
    if math.isfinite(limits.most):
        beyond += [math.nextafter(limits.most, math.inf), 1e300]
    if kind is int:
        beyond = [limits.least - 1, limits.most + 1, 10**30, -(10**30)]
    for value in beyond:
        with pytest.raises(ValueError, match=f"`{name}` is .*, but must be "):
            configs.resolve(with_value(name, kind(value)))
    for value in {limits.least, limits.most} - set(limits.without):
        if not math.isfinite(value):
            continue
        try:  # the ends are in the range; another check may still object to them
            configs.resolve(with_value(name, kind(value)))
        except ValueError as error:
            assert f"`{name}` is {value}, but must be at" not in str(error)  # noqa: PT017
