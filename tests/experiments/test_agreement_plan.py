"""The plan of the study of agreement: what is done of each run, from its files."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.agreement import __main__ as command
from experiments.agreement import options, plan
from experiments.agreement.options import Options, completed, config_of, planned_runs
from metabridge.config import to_json


def _planned(tmp_path: Path) -> Options:
    return Options(
        widths=(16, 32), learners=("mtl", "anil"), plan=True, output=tmp_path,
        learning_rates=(0.01,),
    )  # fmt: skip


def _begin(run: options.Run, given: Options) -> Path:
    folder = given.folder / run.name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(to_json(config_of(run, completed(given))))
    return folder


@pytest.mark.extended
def test_a_plan_tells_done_stopped_and_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand, with times that only finished seeds of the same size and method have."""
    given = _planned(tmp_path)
    first, second, third = planned_runs(completed(given), {})[:3]
    assert [run.learner for run in (first, second, third)] == ["mtl"] * 3
    times = {"compile_seconds": 2.0, "train_seconds": 60.0, "evaluation_seconds": 38.0}
    (_begin(first, given) / "result.json").write_text(json.dumps(times))
    steps = config_of(second, completed(given)).train.steps
    begun = _begin(second, given)
    for step in (1, steps // 4):
        (begun / "checkpoints" / f"{step}").mkdir(parents=True)
    command.main(given)
    text = capsys.readouterr().out
    share = steps // 4 / steps
    assert f"| {first.name} | done | {steps:,} |" in text
    assert f"| {second.name} | stopped at {100 * share:.0f} % | {steps:,} |" in text
    assert f"| {third.name} | missing | {steps:,} | 60,000 | about 1.7 min |" in text
    assert text.count("| missing |") == 10
    assert "11 of 12 runs are to be trained, each on about 60,000 images" in text
    seconds = 100 * (1 - share) + 100
    assert f"2 of them will take about {plan.format_duration(seconds)}." in text
    assert "Of 9 no seed is finished yet" in text


@pytest.mark.extended
def test_a_plan_of_results_that_say_little(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A result without times is done; a damaged one is made anew, so it is not."""
    given = _planned(tmp_path)
    first, second = planned_runs(completed(given), {})[:2]
    (_begin(first, given) / "result.json").write_text('{"train_seconds": 3.0}')
    (_begin(second, given) / "result.json").write_text("{")
    command.main(given)
    text = capsys.readouterr().out
    assert f"| {first.name} | done |" in text
    assert f"| {second.name} | stopped at 0 % |" in text
    assert "Of 11 no seed is finished yet" in text
    assert "will take" not in text


def test_a_plan_refuses_runs_of_other_options(tmp_path: Path) -> None:
    given = _planned(tmp_path)
    _begin(planned_runs(completed(given), {})[0], given)
    with pytest.raises(
        ValueError, match=r"another configuration: evaluation.shots was"
    ):
        command.main(dataclasses.replace(given, shots=1))


@pytest.mark.extended
def test_a_plan_has_trials_until_rates_are_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = dataclasses.replace(_planned(tmp_path), learning_rates=(0.01, 0.03))
    command.main(given)
    text = capsys.readouterr().out
    # Four trials, of which two are among the twelve that are compared.
    assert text.count("| missing |") == 4 + 12 - 2
    assert "| width-16/mtl-0.03-0 | missing |" in text
    assert "| width-32/mtl-RATE-0 | missing |" in text
    accuracy = {"0.01": 0.5, "0.03": 0.6}
    for run in options.trial_runs(completed(given)):
        result = {"validation_accuracy": accuracy[f"{run.rate:g}"]}
        (_begin(run, given) / "result.json").write_text(json.dumps(result))
    command.main(given)
    text = capsys.readouterr().out
    assert "RATE" not in text
    assert "| width-32/mtl-0.03-0 | missing |" in text
    assert "10 of 14 runs are to be trained" in text


@pytest.mark.extended
def test_a_plan_of_nothing_to_do_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = _planned(tmp_path)
    for run in planned_runs(completed(given), {}):
        (_begin(run, given) / "result.json").write_text("{}")
    command.main(given)
    assert "\n0 of 12 runs are to be trained" in capsys.readouterr().out
