"""The benchmarks of kernels and of training with them, at sizes that mean nothing."""

import json
from pathlib import Path

import pytest

from benchmarks import empirical, kernels, solvers


@pytest.mark.slow
def test_kernels_are_those_of_neural_tangents(tmp_path: Path) -> None:
    options = kernels.Options(
        parts=("matrix", "recursion"), points=64, recursion_points=30,
        library_depths=(1, 3), rounds=1, output=tmp_path / "kernels.json",
    )  # fmt: skip
    kernels.main(options)
    found = json.loads(options.output.read_text())
    assert found["matrix"]["float64"]["answer"] < 1e-6
    assert found["matrix"]["float32"]["answer"] < 1e-5
    assert found["recursion"]["1..64 by neural-tangents"]["seconds"] > 0


@pytest.mark.slow
def test_both_solvers_train_the_same_predictors(tmp_path: Path) -> None:
    options = solvers.Options(
        parts=("agreement", "products"), agreement_tasks=3, tasks=(2, 4),
        output_dir=tmp_path,
    )  # fmt: skip
    solvers.main(options)
    found = json.loads((tmp_path / "results.json").read_text())
    for name in ("MTL", "GBML", "MTL, time 0.01", "GBML, time 0.01"):
        assert found["agreement"][name]["largest relative difference"] < 1e-6
    products = found["products"]
    assert [products[tasks]["rows"] for tasks in ("2", "4")] == [200, 400]
    assert products["4"]["relative_residual"] <= 1e-6
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


@pytest.mark.slow
def test_empirical_kernels_are_those_of_neural_tangents(tmp_path: Path) -> None:
    options = empirical.Options(
        parts=("beside",), images=4, dtypes=("float64",), rounds=1,
        output=tmp_path / "empirical.json",
    )  # fmt: skip
    empirical.main(options)
    found = json.loads(options.output.read_text())["beside"]["float64"]
    assert found["difference"] < 1e-10
    assert found["planned"] > 10
