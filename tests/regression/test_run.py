"""Runs on regression tasks: their files, resuming, the estimator, and bad input."""

import dataclasses
import json
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from metabridge.regression import (
    ANIL,
    IMAML,
    MAML,
    MTL,
    R2D2,
    FewShotRegressor,
    ModelOptions,
    RegressionConfig,
    TaskOptions,
    TrainOptions,
    sinusoids,
    train,
)
from metabridge.runs.metrics import MetricsWriter, read_metrics
from metabridge.training.guards.divergence import DivergenceError
from metabridge.training.guards.preemption import Preempted
from tests.regression.test_table import CHICKS

SMALL = TrainOptions(
    steps=6, tasks_per_step=3, validate_every=3, validation_tasks=4, test_tasks=5
)
TASKS = TaskOptions(shots=4, queries=3, test_queries=5)
TABLE = TaskOptions(
    f"table:{CHICKS}", shots=4, queries=3, test_queries=3, group="chick",
    targets=("weight",), min_rows=8,
)  # fmt: skip


@pytest.fixture(autouse=True)
def promotion() -> Any:
    # Optax divides counts by numbers; what is ours is checked strictly elsewhere.
    with jax.numpy_dtype_promotion("standard"):
        yield


def small(
    learner: Any = None, tasks: TaskOptions = TASKS, **model: Any
) -> RegressionConfig:
    options = ModelOptions(**{"width": 5, "depth": 1, **model})
    return RegressionConfig(learner or ANIL(), tasks, options, SMALL)


@pytest.mark.extended
def test_files_of_a_run(tmp_path: Path) -> None:
    result = train(small(), tmp_path / "run")
    assert {"mse", "mse_ci95", "r2", "r2_ci95", "baseline_mse"} <= result.keys()
    assert set(result["mse_by_step"]) == set(map(str, range(11)))
    assert result["mse_by_step"]["5"][0] == pytest.approx(result["mse"], rel=1e-5)
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept | {"run_dir": result["run_dir"]} == result
    found = list(read_metrics(tmp_path / "run", "validation"))
    assert [record["step"] for record in found] == [3, 6]
    best = max(found, key=lambda record: record["r2"])
    assert result["best_step"] == best["step"]
    assert (tmp_path / "run" / "regression.png").stat().st_size > 10_000


@pytest.mark.extended
def test_resumed_after_a_signal_it_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(small(MTL(num_tasks=4)), tmp_path / "whole")
    write = MetricsWriter.write

    def stop(self: MetricsWriter, step: int, *arguments: Any) -> None:
        write(self, step, *arguments)
        if step == 1:  # before the first validation; a second signal would kill
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(MetricsWriter, "write", stop)
        patched.setattr("metabridge.regression.fitting._STEPS_A_CALL", 1)
        with pytest.raises(Preempted):
            train(small(MTL(num_tasks=4)), tmp_path / "cut")
    assert not (tmp_path / "cut" / "result.json").exists()
    resumed = train(small(MTL(num_tasks=4)), tmp_path / "cut", resume=True)
    for name in ("mse", "mse_ci95", "r2", "best_step", "penalty", "validation_r2"):
        assert resumed[name] == whole[name], name
    again = train(small(MTL(num_tasks=4)), tmp_path / "cut", resume=True)
    assert again == resumed  # a finished run is taken as it is


@pytest.mark.extended
def test_a_run_is_not_overwritten_or_mixed(tmp_path: Path) -> None:
    train(small(), tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run: pass --resume"):
        train(small(), tmp_path / "run")
    other = small(ANIL(inner_lr=0.5))
    with pytest.raises(ValueError, match=r"learner.inner_lr was 0.01, is 0.5"):
        train(other, tmp_path / "run", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        train(small(), tmp_path / "full")


@pytest.mark.extended
@pytest.mark.parametrize("learner", [MAML(), IMAML(inner_steps=2), R2D2()])
def test_learners_on_a_table(tmp_path: Path, learner: Any) -> None:
    result = train(small(learner, TABLE), tmp_path / "run")
    assert result["tasks"] == 10  # all test groups
    assert result["mse"] > 100  # in squared grams


@pytest.mark.extended
def test_estimator_predicts_in_units(tmp_path: Path) -> None:
    train(small(MTL(penalty=1e-3), TABLE), tmp_path / "run")
    x = [[0, 1], [4, 1], [10, 1], [20, 1]]
    y = [42.0, 59.0, 103.0, 199.0]
    model = FewShotRegressor(tmp_path / "run").fit(x, y)
    # So small a penalty leaves six weights free to meet four targets.
    np.testing.assert_allclose(model.predict(x), y, rtol=0.1)
    assert model.predict([[6, 1]]).shape == (1,)
    column = FewShotRegressor(tmp_path / "run").fit(x, np.reshape(y, (4, 1)))
    assert column.predict(x).shape == (4, 1)
    for bad, target, message in (
        ([[1.0]], [1.0], r"`X` has the shape \[1, 1\], but the run takes \[N, 2\]"),
        (x, y[:2], "`X` has 4 examples, but `y` 2"),
        ([[np.nan, 1.0]], [1.0], "`X` has values that are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(bad, target)


@pytest.mark.extended
def test_estimator_takes_the_tasks_of_the_run_alone_and_can_be_pickled(
    tmp_path: Path,
) -> None:
    ours = dataclasses.replace(sinusoids(), name="ours", noise=0.5)
    train(small(R2D2()), tmp_path / "run", source=ours)
    x, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5]
    with pytest.raises(ValueError, match="other tasks than sinusoids"):
        FewShotRegressor(tmp_path / "run").fit(x, y)
    model = FewShotRegressor(tmp_path / "run", source=ours).fit(x, y)
    known = train(small(R2D2()), tmp_path / "known")
    kept = FewShotRegressor(known["run_dir"]).fit(x, y)
    again = pickle.loads(pickle.dumps(kept))
    np.testing.assert_array_equal(again.predict(x), kept.predict(x))
    assert model.predict(x).shape == (3,)


def test_estimator_of_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        FewShotRegressor(tmp_path).fit([[1.0]], [1.0])
    (tmp_path / "config.json").write_text('{"algorithm": "mtl"}')
    with pytest.raises(ValueError, match="of a run of classification"):
        FewShotRegressor(tmp_path).fit([[1.0]], [1.0])


@pytest.mark.extended
def test_subspace_of_a_linear_body(tmp_path: Path) -> None:
    tasks = TaskOptions("shared_linear", shots=4, queries=3, test_queries=5, inputs=6)
    result = train(small(MTL(), tasks, model="linear", width=2), tmp_path / "run")
    assert 0 < result["principal_angle"] <= np.pi / 2
    narrow = train(small(MTL(), tasks, model="linear", width=1), tmp_path / "narrow")
    assert narrow["principal_angle"] == pytest.approx(np.pi / 2)
    plain = train(small(MTL(), tasks), tmp_path / "plain")
    assert "principal_angle" not in plain


@pytest.mark.extended
def test_divergence_says_what_to_change(tmp_path: Path) -> None:
    wild = small(MAML(inner_lr=1e30, inner_steps=5))
    with pytest.raises(DivergenceError, match=r"pass a smaller .*--inner-lr"):
        train(wild, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": "omniglot"}, r"unknown `tasks` 'omniglot'; known are sinusoids, .*"),
        (
            {"tasks": "table:nowhere.csv", "group": "a", "targets": ("b",)},
            "nowhere.csv",
        ),
    ],
)
def test_tasks_that_are_not_there(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    config = RegressionConfig(ANIL(), TaskOptions(**options))
    with pytest.raises((ValueError, OSError), match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": 0}, "`shots` is 0, but must be at least 1"),
        ({"group": "who"}, "`group` is an option of table:PATH"),
        ({"rank": 3}, "`rank` is an option of shared_linear"),
        ({"tasks": "table:a.csv"}, "pass `group` and `targets`"),
        (
            {"tasks": "table:a.csv", "group": "g", "targets": ("t",), "rank": 3},
            "`rank`",
        ),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        RegressionConfig(ANIL(), TaskOptions(**options))


def test_learners_of_classes_are_refused() -> None:
    from metabridge.config import MAMLConfig

    with pytest.raises(TypeError, match="learner"):
        RegressionConfig(MAMLConfig())  # type: ignore[arg-type]


def test_groups_too_small_for_the_tasks(tmp_path: Path) -> None:
    config = small(ANIL(), TaskOptions(
        f"table:{CHICKS}", group="chick", targets=("weight",)
    ))  # fmt: skip
    with pytest.raises(ValueError, match=r"has 2 row\(s\), but a task takes 10"):
        train(config, tmp_path / "run")
