"""What both forms of the closeness study refuse, and their help."""

import functools
from pathlib import Path

import pytest

from experiments import arguments
from experiments.closeness import command
from experiments.closeness.config import Benchmark, Compare
from tests.experiments.refused import assert_help_names, assert_refused

FORMS = pytest.mark.parametrize("form", [Compare, Benchmark])
BAD = [
    (("--dataset", "mnist"), "unknown dataset 'mnist'"),
    (("--depths", "0", "4"), "`depths`"),
    (("--times", "-1"), "`times`"),
    (("--times", "nan"), "`times`"),
    (("--widths", "4", "4"), "twice"),
    (("--tasks", "1"), "`tasks`"),
    (("--seed", "-1"), "`seed`"),
    (("--dataset", "cifar_fs"), "data_dir"),
]
# The glyphs have to be drawn first.
UNDRAWABLE = [
    (Compare, ("--ways", "1000"), "has 703 classes"),
    (Compare, ("--shots", "30"), "images of a class"),
    (Compare, ("--tasks", "100000"), "share none"),
    (Benchmark, ("--ways", "1000"), "has 703 classes"),
    (Benchmark, ("--shot-counts", "30"), "images of a class"),
    (Benchmark, ("--side", "64"), "`side`"),
]


@pytest.mark.parametrize(
    ("form", "given", "says"),
    [
        *((form, *row) for form in (Compare, Benchmark) for row in BAD),
        *(pytest.param(*row, marks=pytest.mark.extended) for row in UNDRAWABLE),
    ],
)
def test_bad_options_are_refused_before_work(
    form: type[Compare | Benchmark],
    given: tuple[str, ...],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main = functools.partial(command.main, form)
    assert_refused(main, given, says, tmp_path / "output", capsys)


@FORMS
def test_output_must_not_be_a_file(
    form: type[Compare | Benchmark], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match="not a folder"):
        arguments.check(form(output_dir=tmp_path / "taken"))


@FORMS
def test_help_names_the_options(form: type[Compare | Benchmark]) -> None:
    options = ("--dataset", "--data-dir", "--depths", "--times", "--tasks", "--seed")
    assert_help_names(f"experiments.{form.command}", options)
