"""The study of regression: options, page and figures by hand, its tasks and a cell."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.regression import figures, measure, page, subspace, weightings
from experiments.regression.options import (
    METHODS,
    Options,
    cell_name,
    completed,
    sinusoid_runs,
)
from experiments.regression.plan import planned
from experiments.regression.statistics import fit_power, interval
from metabridge import regression
from metabridge.regression.fitting import restore
from metabridge.regression.run import load_source
from metabridge.training.guards.divergence import DivergenceError

WIDTHS = (16, 64, 256)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widths": (4, 4)}, "`widths` has a value twice"),
        ({"widths": (4,)}, "need two values each"),
        ({"seeds": 1}, "`seeds` must be finite and at least 2"),
        ({"unseen": 2}, "`unseen` must be finite and at least 3"),
        ({"output": Path(__file__)}, "is not a folder"),
    ],
)
def test_options_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        completed(Options(**given))


def test_what_is_planned() -> None:
    options = completed(Options(widths=(8, 4), linear_batches=(20, 10), linear_seeds=2))
    names = list(planned(options))
    assert names[:3] == ["width mtl-4", "width anil-4", "width maml-4"]
    assert len(names) == len(set(names)) == 6 + 15 + 3 * 2 * 2 + 3 * 2 + 2 * 2 + 5 + 18
    assert "subspace/tuning/mtl-rate-0.003" in names
    assert "subspace/tuning/maml-rate-0.01-inner-0.03" in names
    assert "subspace/anil-tasks-20-shots-10-seed-1" in names
    assert "subspace/mtl-of-2-tasks-20-shots-50-seed-0" in names
    assert names[-23:-18] == [
        f"sinusoids/{name}" for name in ("mtl", "maml", "anil", "imaml", "r2d2")
    ]
    assert names[-1] == "weightings/upgrad-rate-0.01-seed-0"
    only = completed(Options(parts=("sinusoids",), sinusoid_steps=7))
    assert {c.train.steps for c in sinusoid_runs(only).values()} == {7}
    assert len(planned(only)) == 5
    same = completed(Options(parts=("subspace",), linear_few_shots=50))
    assert len(subspace.final_runs(same)) == 3 * 6 * 3 + 2 * 3


def test_runs_on_the_shared_representation() -> None:
    options = completed(Options(linear_batches=(10, 20), linear_lrs=(0.1, 0.2)))
    runs = subspace.tuning_runs(options)
    learner, rates, config = runs["subspace/tuning/anil-rate-0.1-inner-0.03"]
    assert (learner, *rates) == ("anil", 0.1, 0.03)
    assert config.learner == regression.ANIL(0.03, inner_steps=5, test_steps=5)
    assert (config.train.steps, config.train.tasks_per_step) == (2000, 25)
    assert (config.train.learning_rate, config.tasks.shots) == (0.1, 50)
    for run in subspace.final_runs(options):
        own = subspace.config_of(run, subspace.Rates(0.2, 0.01), options)
        assert own.name == run.learner
        assert own.train.tasks_per_step == run.tasks_per_step
        assert (own.train.steps, own.train.seed) == (2000, run.seed)
        assert (own.tasks.shots, own.train.learning_rate) == (run.shots, 0.2)
        if run.learner == "mtl":
            assert own.learner == regression.MTL(num_tasks=run.num_tasks)


def test_rates_are_chosen_by_validation_tasks_alone() -> None:
    """Of two learners the smallest angle belongs to rates that explain less."""
    options = completed(Options(linear_lrs=(0.1, 0.2), linear_inner_lrs=(0.01,)))
    scores = {
        "mtl-rate-0.1": (0.5, 0.0), "mtl-rate-0.2": (0.6, 1.0),
        "anil-rate-0.1-inner-0.01": (0.9, 1.0), "anil-rate-0.2-inner-0.01": (0.8, 0.0),
        "maml-rate-0.1-inner-0.01": (None, 0.0),
        "maml-rate-0.2-inner-0.01": (-3.0, 1.0),
    }  # fmt: skip
    found = {
        f"subspace/tuning/{name}": {"principal_angle": angle}
        | ({} if score is None else {"validation_r2": score})
        for name, (score, angle) in scores.items()
    }
    chosen = subspace.choose(options, found)
    assert chosen["mtl"] == subspace.Rates(0.2, None)
    assert chosen["anil"] == subspace.Rates(0.1, 0.01)
    assert chosen["maml"] == subspace.Rates(0.2, 0.01)
    del found["subspace/tuning/maml-rate-0.2-inner-0.01"]["validation_r2"]
    with pytest.raises(RuntimeError, match="every run of MAML diverged: pass smaller"):
        subspace.choose(options, found)


def test_a_run_that_diverges_is_left_out_of_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(config: regression.RegressionConfig, folder: Path) -> dict[str, Any]:
        if config.train.learning_rate > 1 and "tuning" in str(folder):
            raise DivergenceError("the loss is nan")
        return {"validation_r2": config.train.learning_rate, "principal_angle": 0.5}

    monkeypatch.setattr(measure, "run", run)
    options = completed(
        Options(output=tmp_path, linear_lrs=(2.0, 0.1), linear_inner_lrs=(0.01,))
    )
    found = measure.measure_subspace(options)
    assert {rates["learning_rate"] for rates in found["rates"].values()} == {0.1}
    assert "validation_r2" not in found["tuning"]["subspace/tuning/mtl-rate-2"]
    assert len(found["subspace"]) == len(subspace.final_runs(options))
    assert found["subspace"][0]["principal_angle"] == 0.5


def test_power_against_numpy() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat([10.0, 100.0, 1000.0], 4)
    y = 3 * x**-0.5 * np.exp(0.1 * rng.standard_normal(12))
    (power, _), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    found = fit_power(x.tolist(), y.tolist())
    np.testing.assert_allclose(found.power, power, rtol=1e-12)
    # 2.228 is Student's quantile with 10 degrees of freedom.
    np.testing.assert_allclose(
        found.ci95, 2.228 * covariance[0, 0] ** 0.5, rtol=1e-3
    )  # fmt: skip
    assert np.isnan(fit_power([1.0, 2.0], [1.0, 2.0]).power)
    mean, half = interval([1.0, 3.0])
    np.testing.assert_allclose([mean, half], [2.0, 12.706], rtol=1e-4)


@pytest.mark.extended
def test_tasks_are_those_of_the_family() -> None:
    source = regression.sinusoids()
    each = measure.tasks_of(source, "test", 3, 4, 5).each()
    assert len(each) == 3
    mean, std = source.scale.input_mean[0], source.scale.input_std[0]
    for task in each:
        x = np.concatenate([task.support_x, task.query_x])[:, 0] * std + mean
        y = 5 * np.concatenate([task.support_y, np.asarray(task.query_y)])[:, 0]
        # A sinusoid is a combination of sine and cosine.
        basis = np.stack([np.sin(x), np.cos(x)], axis=1)
        factors = np.linalg.lstsq(basis, y, rcond=None)[0]
        np.testing.assert_allclose(basis @ factors, y, atol=1e-4)
        assert 0.1 <= np.linalg.norm(factors) <= 5


def numbers() -> dict[str, Any]:
    """Errors that follow the power -1/2 exactly, but for ANIL's, which do not fall."""
    rng = np.random.default_rng(0)
    x = np.linspace(-5, 5, 20)
    width = {
        cell_name(method, w): {
            "width": w, "method": method, "left": [0.5, 0.5],
            "errors": [e * (w ** -0.5 if method != "ANIL" else 1) for e in (1.0, 1.1)],
            "curves": rng.standard_normal((2, 3, 20)).tolist(),
            "limit_curves": [np.sin(x).tolist()] * 3,
        }
        for w in WIDTHS for method in METHODS
    }  # fmt: skip
    tasks = {
        "support_x": [[0.0, 1.0]] * 3, "support_y": [[0.0, 0.8]] * 3,
        "query_x": [x.tolist()] * 3, "query_y": [np.sin(x).tolist()] * 3,
    }  # fmt: skip
    runs: dict[str, Any] = {}
    scores = {
        "mse": 0.2, "mse_ci95": 0.01, "r2": 0.9, "r2_ci95": 0.01, "train_steps": 5
    }  # fmt: skip
    inner = {"inner_lr": 0.01, "inner_steps": 1, "test_steps": 5}
    runs["sinusoids/maml"] = {**scores, "learner": "maml", "options": inner}
    runs["sinusoids/r2d2"] = {**scores, "learner": "r2d2", "options": {}}
    given = Options(
        widths=WIDTHS, seeds=2, linear_steps=25, linear_batches=(10, 100, 1000)
    )
    settings = dataclasses.asdict(given)
    return {
        "settings": settings, "width": width, "tasks": tasks, "runs": runs,
        **angles_made_up(),
    }  # fmt: skip


def angles_made_up() -> dict[str, Any]:
    """MTL's falls like the inverse of the tasks; ANIL's stays; MAML finds it late."""
    by_batch = {
        "mtl": {10: 0.08, 100: 0.008, 1000: 0.0008},
        "anil": {10: 1.4, 1000: 1.4},
        "maml": {10: 1.5, 100: 0.04, 1000: 0.06},
    }
    finals = {
        subspace.Final(learner, batch, 50, seed): angle
        for learner, own in by_batch.items()
        for batch, angle in own.items()
        for seed in (0, 1)
    }
    finals |= {subspace.Final("mtl", 1000, 10, seed): 0.2 + seed for seed in (0, 1)}
    finals |= {subspace.Final("mtl", 1000, 50, seed, 2): 0.25 for seed in (0, 1)}
    return {
        "rates": {
            "mtl": {"learning_rate": 0.03, "inner_lr": None},
            "anil": {"learning_rate": 0.01, "inner_lr": 0.02},
            "maml": {"learning_rate": 0.01, "inner_lr": 0.04},
        },
        "subspace": [
            run._asdict() | {"principal_angle": angle} for run, angle in finals.items()
        ],
    }


def test_the_page_has_the_numbers() -> None:
    text = page.page(numbers())
    assert "The error of MTL, MAML falls like the width" in text
    assert "That of ANIL does not: ANIL -0.00 ± 0.06." in text
    assert "loops: MTL 0.03; ANIL 0.01 and 0.02; MAML 0.01 and 0.04." in text
    assert "| 250 | 0.0800 ± 0.0000 | 1.4000 ± 0.0000 | 1.5000 ± 0.0000 |" in text
    assert "| 2,500 | 0.0080 ± 0.0000 | – | 0.0400 ± 0.0000 |" in text
    # Student's quantile with one degree of freedom, 12.706, over 2.
    assert "| 25,000, 10 support points | 0.7000 ± 6.3531 | – | – |" in text
    assert "tasks | -1.00 ± 0.00, from 250 | – | 0.18 ± 0.00, from 2,500 |" in text
    assert "| 2 | 0.2500 ± 0.0000 |" in text
    assert "in every seed: MTL from 2,500 tasks on. Not so: ANIL, MAML." in text
    assert "| maml | 1 of 0.01, then 5 | 0.200 ± 0.010 | 0.900 ± 0.010 | 5 |" in text
    assert "| r2d2 | ridge regression |" in text
    alone = page.page({"settings": {}, "width": {}, "runs": {}})
    assert alone == "# Regression\n"


@pytest.mark.extended
def test_the_figures_are_drawn(tmp_path: Path) -> None:
    figures.draw(numbers(), tmp_path)
    for name in ("width", "sinusoids", "subspace"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.extended
@pytest.mark.parametrize("method", METHODS)
def test_a_cell_against_the_predictors(method: str) -> None:
    """Its limit is that of the predictors for the kernel that a reader writes down."""
    options = Options(
        widths=(8, 16), seeds=2, tasks=2, unseen=3, shots=3, queries=3, points=4,
        steps=3, adaptation_steps=2,
    )  # fmt: skip
    cell = measure.compare_with_limit(options, method, 16)
    assert len(cell["errors"]) == len(cell["left"]) == 2
    assert np.shape(cell["curves"]) == (2, 3, 4)
    limit = np.asarray(cell["limit_curves"])
    errors = np.linalg.norm(cell["curves"] - limit, axis=(1, 2)) / np.linalg.norm(limit)
    np.testing.assert_allclose(cell["errors"], errors, rtol=1e-10)
    targets = measure.drawn_tasks(options)["query_y"]
    mse = np.square(limit - targets).mean()
    np.testing.assert_allclose(cell["limit_mse"], mse, rtol=1e-10)


@pytest.mark.slow
def test_networks_with_biases_tend_to_their_limit() -> None:
    options = Options(seeds=2, tasks=2, shots=5, queries=5, steps=40, points=10)
    for method in METHODS:
        narrow, wide = (
            np.mean(measure.compare_with_limit(options, method, w)["errors"])
            for w in (32, 2048)
        )
        assert wide < narrow / 3, method


@pytest.mark.slow
@pytest.mark.parametrize("learner", list(subspace.LEARNERS))
def test_learners_find_the_shared_subspace(learner: str, tmp_path: Path) -> None:
    """In 1,000 steps; the angle by the cosines between the two subspaces."""
    options = Options(linear_steps=1000)
    rates = subspace.Rates(0.01 if learner != "mtl" else 0.03, 0.01)
    config = subspace.config_of(subspace.Final(learner, 25, 50, 0), rates, options)
    result = regression.train(config, tmp_path / "run")
    assert result["principal_angle"] < 0.05
    source = load_source(config)
    state = restore(tmp_path / "run", config, source).state
    (kernel,) = jax.tree.leaves(state.params["body"])
    assert source.subspace is not None
    columns = np.linalg.qr(np.asarray(kernel, np.float64))[0]
    cosines = np.linalg.svd(columns.T @ source.subspace)[1]
    np.testing.assert_allclose(
        result["principal_angle"], np.arccos(cosines.min()), rtol=1e-3
    )


def test_weightings_by_hand() -> None:
    """The best rate of each on validation, then all seeds, paired with the mean's."""
    options = completed(
        Options(weighting_lrs=(0.2, 0.1), weighting_seeds=3, weighting_steps=7)
    )
    asked = []

    def run(config: regression.RegressionConfig, name: str) -> dict[str, Any]:
        asked.append(name)
        learner, seed = config.learner, config.train.seed
        assert isinstance(learner, regression.MTL)
        assert config.train.steps == 7
        high = config.train.learning_rate == (
            0.2 if learner.weighting == "dwa" else 0.1
        )
        gain = {"pcgrad": 0.5, "upgrad": -0.5}.get(learner.weighting, 0.1 * (seed - 1))
        return {"mse": 2.0 + seed + gain, "validation_r2": 0.5 if high else None}

    found = weightings.measure_weightings(options, run)
    assert found["weighting_rates"]["dwa"] == 0.2
    assert set(found["weighting_rates"].values()) == {0.1, 0.2}
    assert len(asked) == 6 * 2 + 6 * 3
    assert len(set(asked)) == 6 * 2 + 6 * 2
    found["settings"] = dataclasses.asdict(options)
    against = weightings.differences(found)
    spread = 0.1 * 4.302653  # that of -0.1, 0, 0.1 over sqrt(3), by Student's t
    assert against["cagrad"][0] == pytest.approx(0)
    assert against["pcgrad"][0] == pytest.approx(0.5)
    assert against["pcgrad"][1] == pytest.approx(spread / 3**0.5, rel=1e-5)
    text = "\n".join(weightings.weighting_parts(found))
    assert "| pcgrad | 0.1 | 3.500 ± 2.484 | +0.500 ± 0.248 |" in text
    assert text.endswith(
        "Better than the mean, its interval without 0: upgrad. "
        "Worse than the mean, its interval without 0: pcgrad."
    )
