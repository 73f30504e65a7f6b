"""The study of regression: options, page and figures by hand, its tasks and a cell."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.regression import figures, measure, page
from experiments.regression.options import (
    METHODS,
    Options,
    cell_name,
    completed,
    planned,
    planned_runs,
)
from experiments.regression.statistics import fit_power, interval
from metabridge import regression

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
    options = completed(Options(widths=(8, 4), linear_steps=(20, 10)))
    names = list(planned(options))
    assert names[:3] == ["width mtl-4", "width anil-4", "width maml-4"]
    runs = planned_runs(options)
    assert runs["subspace/maml-10"].train.steps == 10
    assert runs["subspace/mtl-of-2"].learner == regression.MTL(num_tasks=2)
    assert runs["subspace/mtl-of-2"].train.steps == 20
    assert list(runs)[-5:] == [
        f"sinusoids/{name}" for name in ("mtl", "maml", "anil", "imaml", "r2d2")
    ]
    only = completed(Options(parts=("sinusoids",), sinusoid_steps=7))
    assert {c.train.steps for c in planned_runs(only).values()} == {7}
    assert len(planned(only)) == 5


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
    runs = {
        f"subspace/{learner}-{steps}": {
            "train_steps": steps, "principal_angle": scale / steps
        }
        for learner, scale in (("mtl", 1.0), ("anil", 1.0), ("maml", 50.0))
        for steps in (10, 100, 1000)
    }  # fmt: skip
    runs["subspace/maml-1000"]["principal_angle"] = 0.06
    runs["subspace/mtl-of-2"] = {"train_steps": 1000, "principal_angle": 0.25}
    scores = {
        "mse": 0.2, "mse_ci95": 0.01, "r2": 0.9, "r2_ci95": 0.01, "train_steps": 5
    }  # fmt: skip
    inner = {"inner_lr": 0.01, "inner_steps": 1, "test_steps": 5}
    runs["sinusoids/maml"] = {**scores, "learner": "maml", "options": inner}
    runs["sinusoids/r2d2"] = {**scores, "learner": "r2d2", "options": {}}
    settings = dataclasses.asdict(Options(widths=WIDTHS, seeds=2))
    return {"settings": settings, "width": width, "tasks": tasks, "runs": runs}


def test_the_page_has_the_numbers() -> None:
    text = page.page(numbers())
    assert "The error of MTL, MAML falls like the width" in text
    assert "That of ANIL does not: ANIL -0.00 ± 0.06." in text
    assert "| 250 | 0.1000 | 0.1000 | 5.0000 |" in text
    assert "power of the tasks | -1.00 ± 0.00 | -1.00 ± 0.00 |" in text
    assert "Below 0.05 rad: MTL, ANIL. Not so: MAML." in text
    assert "| maml | 1 of 0.01, then 5 | 0.200 ± 0.010 | 0.900 ± 0.010 | 5 |" in text
    assert "| r2d2 | ridge regression |" in text
    alone = page.page({**numbers(), "width": {}, "runs": {}})
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
