"""The study of agreement: its options, statistics, page and figure, and resuming."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.agreement import (
    figure,
    measure,
    options,
    page,
    rates,
    statistics,
)  # fmt: skip
from experiments.agreement.options import Options, completed, config_of, planned_runs
from metabridge.config import images_per_step
from metabridge.similarity.groups import PairTable, pair_table
from tests.report import fake
from tests.similarity.test_groups import draw

TINY = (
    "--model", "mlp", "--widths", "4", "8", "--learners", "mtl", "protonet",
    "--seeds", "2", "--images", "2000", "--tasks", "10", "--layer-images", "20",
    "--limit-tasks", "2", "--limit-unseen", "4", "--learning-rates", "0.5", "1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learners": ("mtl", "nobody")}, "unknown learner 'nobody' in `learners`"),
        ({"learners": ("mtl",)}, "`learners` has one method"),
        ({"seeds": 1}, "`seeds` is 1, but a figure within a method needs two"),
        ({"widths": (16,)}, r"`widths` is \[16\] alone, but a slope needs two"),
        ({"widths": (16, 16)}, "`widths` has a value twice"),
        ({"model": "resnet12"}, "`model` is 'resnet12', but must be a body with a"),
        ({"depths": (2, 3)}, "`depths` are of the mlp"),
        ({"learning_rates": (0.1, 0.1)}, "`learning_rates` has a value twice"),
        ({"images": 0}, "`images` must be finite and at least 1"),
    ],
)
def test_options_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        completed(Options(**given))


@pytest.mark.extended
def test_runs_see_as_many_images_and_meet_the_same_tasks() -> None:
    for model, widths in options.WIDTHS.items():
        given = completed(Options(model=model, widths=widths[:2], seeds=2))
        runs = planned_runs(given, {})
        assert len({run.name for run in runs}) == 7 * 2 * 2
        configs = [config_of(run, given) for run in runs]
        assert given.images is not None
        for config in configs:
            images = config.train.steps * images_per_step(config.train)
            assert given.images - images_per_step(config.train) < images
            assert images <= given.images
        assert len({config.evaluation.tasks for config in configs}) == 1


def test_a_ladder_of_depths_has_all_widths() -> None:
    given = completed(Options(model="mlp", widths=(8, 4), depths=(3, 1)))
    names = [rung.name for rung in options.rungs(given)]
    assert names == [
        "depth-1-width-4", "depth-1-width-8", "depth-3-width-4", "depth-3-width-8",
    ]  # fmt: skip
    config = config_of(planned_runs(given, {})[0], given)
    assert (config.model.depth, config.model.width) == (1, 4)


def test_each_method_tries_its_rates_at_the_middle_width_of_each_depth() -> None:
    given = completed(
        Options(model="mlp", widths=(4, 8, 16, 32), depths=(3, 1), seeds=2)
    )
    trials = options.trial_runs(given)
    assert len(set(trials)) == 2 * 7 * 3
    assert {run.rung.width for run in trials} == {8}
    assert {run.rung.depth for run in trials} == {1, 3}
    rates = {config_of(run, given).train.learning_rate for run in trials}
    assert rates == {0.3, 1.0, 3.0}
    # The trial at the chosen rate is the run that is compared.
    chosen: options.Rates = {
        (depth, name): 3.0 for depth in (1, 3) for name in given.learners
    }
    runs = planned_runs(given, chosen)
    assert {run.rate for run in runs} == {3.0}
    assert len(set(runs) & set(trials)) == 2 * 7
    alone = dataclasses.replace(given, learning_rates=(0.5,))
    assert options.trial_runs(alone) == []
    assert {run.rate for run in planned_runs(alone, {})} == {0.5}


def test_the_rate_of_the_best_validation_accuracy_is_chosen(tmp_path: Path) -> None:
    given = completed(
        Options(widths=(16, 32), learners=("mtl", "anil"), output=tmp_path)
    )
    reached = {"mtl": (0.5, 0.7, 0.7, 0.2), "anil": (0.9, 0.8, 0.7, 0.99)}
    for run in options.trial_runs(given):
        rate = given.learning_rates.index(run.rate)
        result = {"validation_accuracy": reached[run.learner][rate]}
        folder = tmp_path / run.name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result))
    tried = rates.read_tried(given)
    assert tried[None, "mtl"] == {0.01: 0.5, 0.03: 0.7, 0.1: 0.7, 0.3: 0.2}
    # The smaller one of equals.
    assert rates.choose(tried) == {(None, "mtl"): 0.03, (None, "anil"): 0.3}
    failed = {"width-16/anil-0.3-0"}
    assert rates.choose(rates.read_tried(given, failed))[None, "anil"] == 0.01
    failed = {f"width-16/anil-{rate:g}-0" for rate in given.learning_rates}
    assert rates.choose(rates.read_tried(given, failed)) == {(None, "mtl"): 0.03}


def test_a_run_that_was_trained_anew_is_compared_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = completed(Options(model="mlp", widths=(4, 8), output=tmp_path))
    rung, compared = options.rungs(given)[0], []
    folder = tmp_path / rung.name / "mtl-1-0"
    monkeypatch.setattr(
        measure, "in_a_process", lambda *_: compared.append(0) or {"heads": {}}
    )
    for digest in ("a", "a", "b"):
        made = {"checkpoint": {"step": 1, "digest": digest}}
        shutil.rmtree(folder, ignore_errors=True)
        fake.finished(folder, provenance=made)
        measure._agreement(given, rung, [folder])
    assert len(compared) == 2


def _table() -> tuple[PairTable, list[str], list[int]]:
    methods = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    table = pair_table(draw(np.random.default_rng(0), 12, methods, 1.0))
    return table, [f"m{m}" for m in methods], [0, 1, 2] * 3


def test_means_by_hand() -> None:
    table, methods, seeds = _table()
    found = statistics.distances(table, methods, seeds, draws=100)["disagreement"]
    cells: dict[Any, list[float]] = {}
    for (a, b), same in zip(table.pairs, table.by_task["same_class"], strict=True):
        kind = "within" if methods[a] == methods[b] else seeds[a] == seeds[b]
        cells.setdefault((kind, methods[a], methods[b]), []).append(1 - same.mean())
    for kind, own in (
        ("within", found.within),
        (False, found.between),
        (True, found.same_seed),
    ):
        means = [np.mean(each) for (k, *_), each in cells.items() if k == kind]
        assert own[0] == pytest.approx(np.mean(means))


def test_intervals_hold_what_made_the_runs_differ() -> None:
    """Methods with a part of their own are farther apart than seeds, others are not."""
    for spread in (0.0, 2.0):
        methods = [m for m in range(3) for _ in range(4)]
        runs = draw(np.random.default_rng(3), 60, methods, spread)
        found = statistics.distances(
            pair_table(runs), [f"{m}" for m in methods], [0, 1, 2, 3] * 3, draws=400
        )
        for distance in ("disagreement", "chance_corrected", "logit_distance"):
            interval = statistics.interval(found[distance].difference)
            assert interval.low < interval.estimate < interval.high
            assert (interval.low > 0) is (spread > 0)


def test_the_slope_is_that_of_least_squares() -> None:
    widths = [16, 32, 128]
    values = np.random.default_rng(0).normal(size=(3, 5))
    expected = np.polyfit(np.log2(widths), values, 1)[0]
    np.testing.assert_allclose(statistics.slope(widths, values), expected)


def _found() -> dict[str, Any]:
    """Results made up, with a number of its own in each place."""
    numbers = itertools.count(1)

    def interval() -> dict[str, float]:
        middle = next(numbers) / 1000
        return {"estimate": middle, "low": middle - 0.0005, "high": middle + 0.0005}

    kinds = ("within", "between", "same_seed", "difference")
    names = [*figure.TITLES, "divergence"]
    heads = ("learner", "logistic")
    rungs = [
        {
            "depth": 3, "width": width, "cka": {},
            "heads": {
                head: {
                    "accuracy": {"mtl": [0.5, 0.6], "anil": [0.7, 0.8]},
                    "distances": {n: {k: interval() for k in kinds} for n in names},
                    "methods": [],
                }
                for head in heads
            },
        }
        for width in (16, 64)
    ]  # fmt: skip
    slopes = [
        {"depth": 3, "head": head, "distance": name, "slope": interval()}
        for head in heads
        for name in names
    ]
    limits = {name: next(numbers) / 1000 for name in (*figure.TITLES, "relative_gap")}
    settings = {
        "dataset": "glyphs", "model": "mlp", "seeds": 3, "tasks": 10, "shots": 5,
        "images": 2000, "limit_tasks": 2, "limit_unseen": 4,
    }  # fmt: skip
    return {
        "settings": settings, "methods": ["mtl", "anil"], "failed": {},
        "rates": [
            {"depth": 3, "method": "mtl", "rate": 0.3, "tried": {"0.3": 0.612}},
            {"depth": 3, "method": "anil", "rate": 3.0}
            | {"tried": {"1": 0.4, "0.3": 0.3, "3": 0.5}},
        ],
        "rungs": rungs, "slopes": slopes, "limit": {"3": {"anil": limits}},
    }  # fmt: skip


def test_the_page_has_the_numbers_of_the_results() -> None:
    found = _found()
    text = page.page(found)
    for rung, head in itertools.product(found["rungs"], ("learner", "logistic")):
        for name in figure.TITLES:
            for each in rung["heads"][head]["distances"][name].values():
                scale, form = (100, ".2f") if name == page.HEADLINE else (1, ".3f")
                shown = f"{scale * each['estimate']:{form}} ["
                assert shown in text or f"+{shown}" in text
    assert "larger than that of two seeds at width 16, 64" in text
    slope = page.slope_of(found, 3, "learner", page.HEADLINE)
    assert f"grows with width: {100 * slope['estimate']:+.2f} [" in text
    slope |= {"estimate": 0.0, "low": -0.1, "high": 0.1}
    assert "The difference has no trend with width" in page.answer(found)
    slope |= {"estimate": -0.2, "low": -0.3, "high": -0.1}
    assert "shrinks with width: -20.00 [-30.00, -10.00] points" in page.answer(found)
    assert "| mtl | 3 | 0.3 | 0.3: 61.2 |" in text
    end = "| anil | 3 | 3 (end of the grid) | 1: 40.0, 0.3: 30.0, 3: 50.0 |"
    assert end in text
    found["failed"] = {"width-16/maml-0": "no memory"}
    assert "- width-16/maml-0: no memory" in page.page(found)


def test_the_figure_draws_the_numbers_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, found = [], _found()
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, *_, **__: drawn.append(self)
    )
    figure.draw(found, "learner", tmp_path / "x.png")
    axes = drawn[0].axes
    for column, name in enumerate(figure.TITLES):
        scale = 100 if name == "disagreement" else 1
        own = [r["heads"]["learner"]["distances"][name] for r in found["rungs"]]
        lines = [box.lines[0].get_ydata(orig=False) for box in axes[column].containers]
        for line, kind in zip(lines, ("within", "between", "same_seed"), strict=True):
            expected = [scale * each[kind]["estimate"] for each in own]
            np.testing.assert_allclose(line, expected)
        heights = [np.ravel(line.get_ydata())[0] for line in axes[column].lines]
        assert scale * found["limit"]["3"]["anil"][name] in heights
        (box,) = axes[len(figure.TITLES) + column].containers
        expected = [scale * each["difference"]["estimate"] for each in own]
        np.testing.assert_allclose(box.lines[0].get_ydata(orig=False), expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_is_stopped_and_goes_on(tmp_path: Path) -> None:
    """A kill in the second run; the same command then makes all, and once more none."""
    folder = tmp_path / "study"
    called = [sys.executable, "-m", "experiments.agreement", *TINY]
    called += ["--output", str(folder)]
    first = folder / "depth-3-width-4" / "mtl-0.5-0" / "result.json"
    process = subprocess.Popen(
        called, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (first.parents[1] / "mtl-1-0" / "config.json").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == os.EX_TEMPFAIL
    before = first.stat().st_mtime_ns
    subprocess.run(called, check=True, capture_output=True)
    assert first.stat().st_mtime_ns == before
    found = json.loads((folder / "results.json").read_text())
    assert [rung["width"] for rung in found["rungs"]] == [4, 8]
    assert set(found["limit"]["3"]) == {"anil", "maml"}
    assert found["failed"] == {}
    own = found["rungs"][0]["heads"]["learner"]
    result = json.loads(first.read_text())
    chosen = {each["method"]: each for each in found["rates"]}
    assert chosen["mtl"]["tried"]["0.5"] == result["validation_accuracy"]
    assert all(len(each["tried"]) == 2 for each in chosen.values())
    best = folder / "depth-3-width-4" / f"mtl-{chosen['mtl']['rate']:g}-0"
    result = json.loads((best / "result.json").read_text())
    assert own["accuracy"]["mtl"][0] == pytest.approx(result["accuracy"])
    assert (folder / "findings.md").read_text() == page.page(found)
    assert (folder / "agreement-logistic.png").is_file()
    written = (folder / "results.json").read_bytes()
    subprocess.run(called, check=True, capture_output=True)
    assert (folder / "results.json").read_bytes() == written
