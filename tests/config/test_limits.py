"""The ranges of whole numbers: each has one, and those beyond it are refused."""

import dataclasses
import typing

import pytest
from metabridge.config.limits import WHOLE

from metabridge import config as configs
from metabridge.config import ALGORITHMS, Config

# Which devices there are is not known here; `build.num_devices` checks it.
UNCHECKED = {"devices"}
SECTIONS = ("data", "model", "train", "evaluation")


def whole_fields() -> dict[str, str]:
    """Fields that hold whole numbers, and an algorithm or a section that has them."""
    kinds = {name: type(getattr(Config(), name)) for name in SECTIONS} | ALGORITHMS
    return {
        name: section
        for section, kind in kinds.items()
        for name, hint in typing.get_type_hints(kind).items()
        if hint is int or int in typing.get_args(hint)
    }


FIELDS = whole_fields()


def with_value(name: str, value: int) -> Config:
    section = FIELDS[name]
    if section in ALGORITHMS:
        return Config(learner=ALGORITHMS[section](**{name: value}))
    changed = dataclasses.replace(getattr(Config(), section), **{name: value})
    return dataclasses.replace(Config(), **{section: changed})


def test_every_whole_number_has_a_range() -> None:
    assert FIELDS.keys() - UNCHECKED == WHOLE.keys()


@pytest.mark.parametrize("name", WHOLE)
def test_numbers_beyond_their_range_are_refused(name: str) -> None:
    least, most = WHOLE[name]
    for value in (most + 1, 10**30):
        with pytest.raises(ValueError, match=f"`{name}` is .*at most {most}"):
            configs.resolve(with_value(name, value))
    with pytest.raises(ValueError, match=f"`{name}` is .*at least {least}"):
        configs.resolve(with_value(name, least - 1))
    # The ends are in the range; another check may still object to them.
    for value in (least, most):
        try:
            configs.resolve(with_value(name, value))
        except ValueError as error:
            assert f"`{name}` is {value}, but must be at" not in str(error)  # noqa: PT017
