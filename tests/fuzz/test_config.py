"""The parser of configurations: any JSON, changed configurations, and valid ones."""

import dataclasses
import json
import math
import random
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metabridge import config as configs
from metabridge.config import Config
from metabridge.config.fields import Range, hints_of
from metabridge.untrusted import is_safe
from tests.fuzz.fuzzing import check, each_count, mutated, with_hostile_value
from tests.own import OPTIONS

# The checks of types that the tests run under draw at random which items they look at.
pytestmark = [
    pytest.mark.extended,
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),
]

SECTIONS = ("data", "model", "train", "evaluation")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -(10**400), 2**63, "\x1b[2J", "x" * 5000]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def texts(count: int) -> Iterator[str]:
    """Configurations with changed bytes, and with changed values."""
    generator = random.Random(0)
    valid = [configs.to_json(Config(learner=kind())) for kind in OPTIONS.values()]
    valid += [
        configs.to_json(configs.resolve(configs.from_json(text))) for text in valid
    ]
    for number in range(count):
        text = generator.choice(valid)
        if number % 2:
            yield mutated(text.encode(), generator).decode("utf-8", "surrogateescape")
        else:
            yield json.dumps(with_hostile_value(json.loads(text), generator))


def resolved(text: str) -> None:
    config = configs.from_json(text)
    assert configs.from_json(configs.to_json(config)) == config
    configs.resolve(config)


@each_count
def test_changed_configurations(count: int) -> None:
    report = check(resolved, texts(count), errors=(ValueError,))
    assert report.accepted > count // 20
    assert report.refused > count // 2


def quiet(examples: int) -> Any:
    """Settings under which the inputs are the same in each run."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=2000,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def accepts_or_refuses(value: Any) -> None:
    message = ""
    try:
        resolved(json.dumps(value))
    except ValueError as error:
        message = str(error)
    assert is_safe(message)
    assert len(message) < 2000


def test_any_json() -> None:
    quiet(200)(given(JSON)(accepts_or_refuses))()


@pytest.mark.slow
def test_any_json_10_000_times() -> None:
    quiet(10_000)(given(JSON)(accepts_or_refuses))()


def places() -> list[tuple[str, ...]]:
    """Every field of every algorithm, the sections themselves too."""
    found: set[tuple[str, ...]] = {("algorithm",), *((s,) for s in SECTIONS)}
    for algorithm, kind in OPTIONS.items():
        values = dataclasses.asdict(Config(learner=kind()))
        found |= {
            (algorithm, section, field)
            for section, fields in values.items()
            for field in fields
        }
    return sorted(found)


@st.composite
def one_field_replaced(draw: st.DrawFn) -> Any:
    """A valid configuration with one field that is any JSON value."""
    place = draw(st.sampled_from(places()))
    algorithm = place[0] if len(place) == 3 else "mtl"
    values = json.loads(configs.to_json(Config(learner=OPTIONS[algorithm]())))
    if len(place) == 3:
        values[place[1]][place[2]] = draw(JSON)
    else:
        values[place[0]] = draw(JSON)
    return values


def test_one_field_that_is_any_json() -> None:
    quiet(300)(given(one_field_replaced())(accepts_or_refuses))()


@pytest.mark.slow
def test_one_field_that_is_any_json_10_000_times() -> None:
    quiet(10_000)(given(one_field_replaced())(accepts_or_refuses))()


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """All values that a field of this type can have in JSON."""
    if typing.get_origin(hint) is Annotated:
        limits = [extra for extra in hint.__metadata__ if isinstance(extra, Range)]
        return (
            within(hint.__origin__, limits[0]) if limits else of_type(hint.__origin__)
        )
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        # Text that may be given for a path comes back as a path.
        kinds = [kind for kind in options if kind is not str or Path not in options]
        return st.one_of(list(map(of_type, kinds)))
    if typing.get_origin(hint) is Literal:
        return st.sampled_from(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if kinds[-1] is ...:
            return st.lists(of_type(kinds[0]), max_size=3).map(tuple)
        return st.tuples(*map(of_type, kinds))
    return {
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(),
        Path: st.text(st.characters(exclude_characters="\0")).map(Path),
        type(None): st.none(),
    }[hint]


def within(kind: type, limits: Range) -> st.SearchStrategy[Any]:
    """Numbers of a range, which the JSON of a configuration holds."""
    if kind is int:
        return st.integers(int(limits.least), int(limits.most))
    most = limits.most if math.isfinite(limits.most) else None
    drawn = st.floats(limits.least, most, allow_nan=False, allow_infinity=False)
    return drawn.filter(lambda value: value not in limits.without)


def section(kind: type) -> st.SearchStrategy[Any]:
    hints = hints_of(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return st.builds(kind, **{name: of_type(hints[name]) for name in names})


CONFIGS = st.builds(
    Config,
    learner=st.one_of([section(kind) for kind in OPTIONS.values()]),
    **{name: section(type(getattr(Config(), name))) for name in SECTIONS},
)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(100, marks=pytest.mark.extended),
        pytest.param(2000, marks=pytest.mark.slow),
    ],
)
def test_every_configuration_comes_back_from_json(count: int) -> None:
    def there_and_back(config: Config) -> None:
        text = configs.to_json(config)
        assert configs.from_json(text) == config
        assert configs.to_json(configs.from_json(text)) == text

    quiet(count)(given(CONFIGS)(there_and_back))()
