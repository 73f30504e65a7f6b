"""Learners of the user's own: what is refused, and what configurations say of them."""

import dataclasses
from typing import Literal

import pytest

from metabridge.config import (
    Config,
    DataConfig,
    LearnerOptions,
    MTLConfig,
    TrainConfig,
    from_json,
    register,
    resolve,
    to_json,
)
from metabridge.registry import LEARNERS
from tests.own import forgotten

pytestmark = pytest.mark.usefixtures(forgotten.__name__)
__all__ = ["forgotten"]


@dataclasses.dataclass(frozen=True)
class MineConfig(LearnerOptions):
    """Options of every kind."""

    shift: float = -1.0
    rounds: int = 3
    kind: Literal["long", "short"] = "short"


@dataclasses.dataclass(frozen=True)
class ByRecipeConfig(MineConfig):
    """The same of one that is not trained as it is tested."""

    episodic = False


def mine(model, optimizer, *, shift: float, rounds: int, kind: str):
    raise AssertionError("nothing is built here")


def test_a_registered_learner_is_known_by_its_name() -> None:
    register("mine", MineConfig, mine)
    config = Config(MineConfig(shift=-2.0, kind="long"))
    assert config.algorithm == "mine"
    assert from_json(to_json(config)) == config
    assert LEARNERS["mine"].load() is mine
    with pytest.raises(ValueError, match=r"`learner.kind` is 'wide'"):
        from_json(to_json(config).replace('"long"', '"wide"'))


@pytest.mark.parametrize("episodic", [True, False])
def test_what_is_left_open_follows_from_how_it_is_trained(episodic: bool) -> None:
    register("mine", MineConfig if episodic else ByRecipeConfig, mine)
    data = DataConfig(dataset="cifar_fs")
    resolved = resolve(Config(LEARNERS["mine"].traits(), data))
    if episodic:
        assert resolved.evaluation.head == "learner"
        assert resolved.train.train_ways == resolved.evaluation.ways
        assert resolved.train.train_queries
        with pytest.raises(ValueError, match="mine is evaluated on queries"):
            resolve(Config(MineConfig(), data, train=TrainConfig(train_queries=0)))
    else:
        as_mtl = resolve(Config(MTLConfig(), data))
        assert dataclasses.replace(resolved, learner=MTLConfig()) == as_mtl


def test_ranges_are_checked_like_those_of_built_in_learners() -> None:
    register("mine", MineConfig, mine)
    resolve(Config(MineConfig(shift=-5.0)))  # what it may be its factory knows
    with pytest.raises(ValueError, match="`shift` is nan, but must be finite"):
        resolve(Config(MineConfig(shift=float("nan"))))


def test_the_same_name_again_takes_the_place_of_the_first() -> None:
    @dataclasses.dataclass(frozen=True)
    class Later(LearnerOptions):
        pass

    def another(model, optimizer, **options):
        raise AssertionError("nothing is built here")

    register("mine", MineConfig, mine)
    register("mine", MineConfig, another)
    assert LEARNERS["mine"].load() is another
    register("mine", Later, lambda model, optimizer: None)
    assert Config(Later()).algorithm == "mine"
    with pytest.raises(ValueError, match=r"MineConfig are options of no known learner"):
        resolve(Config(MineConfig()))


def test_a_run_of_an_unknown_learner_says_what_to_do() -> None:
    register("mine", MineConfig, mine)
    text = to_json(Config(MineConfig()))
    LEARNERS.remove("mine")
    with pytest.raises(ValueError, match=r"'mine'.*`metabridge.register` has been"):
        from_json(text)


@dataclasses.dataclass(frozen=True)
class Required(LearnerOptions):
    shift: float


@dataclasses.dataclass(frozen=True)
class NoJSON(LearnerOptions):
    table: frozenset[int] = frozenset({1, 2})


class Plain(LearnerOptions):
    pass


@pytest.mark.parametrize(
    ("name", "options", "factory", "message"),
    [
        ("my-own", MineConfig, mine, "must be an identifier"),
        ("protonet", MineConfig, mine, "built-in learner: take another"),
        ("mine", MTLConfig, mine, "MTLConfig are the options of another learner"),
        ("mine", Plain, mine, "Plain must be a frozen dataclass derived"),
        ("mine", LearnerOptions, mine, "must be a frozen dataclass derived"),
        ("mine", MineConfig, lambda model, rule: None, "shift, rounds, kind.*'shift'"),
        ("mine", Required, lambda m, o, shift: None, "every field .* needs a default"),
        ("mine", NoJSON, lambda m, o, table: None, "but must be frozenset"),
    ],
)
def test_what_cannot_serve_is_refused(name, options, factory, message: str) -> None:
    before = dict(LEARNERS)
    with pytest.raises(ValueError, match=message):
        register(name, options, factory)
    assert before == dict(LEARNERS)
