"""Options of `metabridge train`: each name stands there once."""

import dataclasses
import re
from typing import Annotated

import pytest
import tyro

from metabridge import cli
from metabridge.cli.train import _with_options
from metabridge.config import LearnerOptions, MetaOptNetConfig, TrainConfig, register
from metabridge.config.registration import check_options, options_of
from metabridge.config.sections import SECTIONS
from metabridge.registry import LEARNERS
from tests.own import OPTIONS, forgotten

pytestmark = pytest.mark.usefixtures(forgotten.__name__)
__all__ = ["forgotten"]


def options(hint: object, name: str) -> type:
    """A registrable dataclass with one field of that name and type."""
    field = (name, hint, dataclasses.field(default=1.0))
    return dataclasses.make_dataclass(
        "MineConfig", [field], bases=(LearnerOptions,), frozen=True
    )


@pytest.mark.parametrize("algorithm", OPTIONS)
def test_no_built_in_learner_takes_the_option_of_another(algorithm: str) -> None:
    check_options(OPTIONS[algorithm])


@pytest.mark.parametrize(
    ("hint", "name", "message"),
    [
        (float, "C", r"`MineConfig.C` .* --C .* `EvaluationConfig.C`"),
        (int, "run_dir", r"`MineConfig.run_dir` .* --run-dir .* `RunOptions.run_dir`"),
        (bool, "help", r"`MineConfig.help` .* --help .* every command"),
        (float, "no_resume", r"--no-resume .* `RunOptions.resume`"),
        (
            Annotated[float, tyro.conf.arg(name="data_dir")],
            "place",
            r"`MineConfig.place` .* --data-dir .* `DataConfig.data_dir`",
        ),
    ],
)
def test_registering_refuses_an_option_that_is_taken(
    hint: object, name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        register("mine", options(hint, name), lambda model, optimizer, **_: None)
    assert "mine" not in LEARNERS


def test_two_fields_of_a_learner_with_one_option_are_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class TwiceConfig(LearnerOptions):
        first: Annotated[float, tyro.conf.arg(name="second")] = 1.0
        second: float = 2.0

    with pytest.raises(ValueError, match=r"TwiceConfig.second.* `TwiceConfig.first`"):
        check_options(TwiceConfig)


def test_another_name_for_the_option_is_taken() -> None:
    hint = Annotated[float, tyro.conf.arg(name="mine_C")]
    register("mine", options(hint, "C"), lambda model, optimizer, **_: None)
    assert options_of(LEARNERS["mine"].traits) == [("mine-C", "C")]


def test_the_names_are_those_that_the_parser_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "metaoptnet", "--help"])
    shown = set(re.findall(r"--([\w-]+)", capsys.readouterr().out))
    kinds = (*SECTIONS, MetaOptNetConfig)
    known = {name for kind in kinds for name, _ in options_of(kind)}
    assert known <= shown
    assert {"solver-C", "solver-penalty", "C", "penalty"} <= known


def test_comparing_takes_the_names_of_training() -> None:
    shared = TrainConfig(learning_rate=0.01, minutes=2.0)
    found = _with_options("metaoptnet --solver-C 2 --weight-decay 0.1", shared)
    assert found == (MetaOptNetConfig(C=2.0), {"weight_decay": 0.1})
    assert _with_options("metaoptnet", shared) == "metaoptnet"
