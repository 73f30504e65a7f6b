"""`python -m experiments.ntk_benchmark` in its quick form."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.closeness import accuracy, command, failures, sweeps
from experiments.closeness.cells import Cells, blocks
from experiments.closeness.config import Benchmark, resolve
from experiments.closeness.data import Source, with_attributes
from metabridge import theory
from metabridge.data import load_dataset

QUICK = resolve(Benchmark(quick=True))
main = functools.partial(command.main, Benchmark)


@pytest.fixture(autouse=True)
def whole_runs() -> None:
    """Nothing here divides counts by numbers."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick run writes."""
    output = tmp_path_factory.mktemp("benchmark") / "new"
    main(["--quick", "--output-dir", str(output)])
    return output


@pytest.fixture(scope="module")
def source() -> Source:
    """Glyphs in the quick form."""
    return Source(load_dataset("glyphs"), QUICK)


@pytest.mark.slow
def test_results(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results["config"]["tasks"] == 4
    kernels = results["accuracy"]
    assert kernels.keys() == {
        "fully-connected", "convolutional", "convolutional-pooled", "residual",
        "finite",
    }  # fmt: skip
    for name, kernel in kernels.items():
        methods = kernel["methods"]
        if name != "finite":
            assert tuple(methods) == accuracy.METHODS
            assert methods["MTL, queries"]["agreement"] == 1.0
            assert methods["MTL, queries"]["gap"] == 0.0
        for method in methods.values():
            assert 0 <= method["accuracy"] <= 1
            assert method["ci95"] >= 0
            assert 0 <= method["agreement"] <= 1
    assert kernels["fully-connected"]["methods"]["ANIL"]["unseen"] == 12
    for tables in results["depth"].values():
        for table in tables.values():
            for field in sweeps.FIELDS:
                assert np.shape(table[field]) == (3, 2)
    assert results["depth"]["anil"]["timed"]["agreement"][-1][0] >= 0.9
    assert results["curves"]["tasks"].keys() == {"2", "4"}
    assert results["widths"]["1"].keys() == {"16", "32", "limit"}
    rows = results["failures"]
    for name in ("shallow", "joint", "adaptation"):
        assert rows[name]["relative_gap"] > 3 * rows["base"]["relative_gap"]
    assert rows["independent"]["relative_gap"] == pytest.approx(1.0)
    assert rows["tanh"]["mtl_accuracy"] is None


@pytest.mark.slow
def test_page_tables_and_figures(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/png;base64,', page)) == 9
    assert not re.search(r'(src|href)="(?!data:|https://arxiv.org)', page)
    assert page.count("<p>") == page.count("</p>")
    names = {path.stem for path in folder.glob("*.png")}
    assert names == {
        "accuracy", "depth-anil-timed", "depth-anil-end", "depth-maml-timed",
        "depth-maml-end", "time", "tasks", "shots", "widths",
    }  # fmt: skip
    tables = (folder / "tables.md").read_text(encoding="utf-8")
    assert "| independent heads " in tables
    assert "nan" not in tables.lower()


@pytest.mark.slow
def test_a_second_run_takes_what_is_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((folder / "results.json").read_text())
    damaged = folder / "cells" / "tasks-2.json"
    damaged.write_text(damaged.read_text()[:50])
    main(["--quick", "--output-dir", str(folder)])
    made = capsys.readouterr().err.split("...")
    assert [name.strip() for name in made[:-1]] == ["tasks-2"]
    after = json.loads((folder / "results.json").read_text())
    for name in ("accuracy", "depth", "curves", "widths", "failures"):
        assert after[name] == before[name]


def test_cells_are_keyed_by_their_settings(tmp_path: Path) -> None:
    cells, calls = Cells(tmp_path / "cells"), []

    def make() -> dict[str, int]:
        calls.append(1)
        return {"value": len(calls)}

    assert cells("a", {"n": (1, 2)}, make) == {"value": 1}
    assert cells("a", {"n": (1, 2)}, make) == {"value": 1}
    assert cells("a", {"n": (1, 3)}, make) == {"value": 2}
    assert cells.seconds.keys() == {"a"}


def test_blocks_hold_all_tasks() -> None:
    assert list(blocks(600)) == [(0, 250), (1, 250), (2, 100)]
    parts = [
        {"accuracy": [0.2, 0.4], "agreement": [1.0, 1.0]},
        {"accuracy": [0.9], "agreement": [0.0]},
    ]
    merged = accuracy.summary(parts)
    assert merged["accuracy"] == pytest.approx(0.5)
    assert merged["agreement"] == pytest.approx(2 / 3)
    assert merged["unseen"] == 3
    spread = np.std([0.2, 0.4, 0.9], ddof=1) / 3**0.5
    assert merged["ci95"] == pytest.approx(1.96 * spread)


@pytest.mark.extended
def test_accuracy_of_one_kernel_against_the_predictors(source: Source) -> None:
    choice = accuracy.kernels(QUICK)["fully-connected"]
    found = accuracy._measure(source, choice, 0, 5)
    train, unseen = source.train(choice.tasks), source.unseen(5)
    kernel = theory.relu_network(QUICK.depth, last_W_std=2**0.5)
    inner = theory.gradient_flow("all", time=QUICK.time / QUICK.depth)
    adaptation = theory.gradient_flow("all", time=1.0 / QUICK.depth)
    close = theory.compare(kernel, train, unseen, inner=inner, adaptation=adaptation)
    np.testing.assert_allclose(found["MAML"]["gap"], close.gaps, rtol=1e-7)
    np.testing.assert_allclose(found["MAML"]["agreement"], close.agreements)
    truth = np.asarray(unseen.query_y).argmax(-1)
    right = (np.argmax(close.gbml, -1) == truth).mean(1)
    np.testing.assert_allclose(found["MAML"]["accuracy"], right)
    independent = theory.mtl_predictor(kernel, train, heads="independent")
    alone = independent(
        unseen.support_x, unseen.support_y, unseen.query_x,
        adaptation=theory.gradient_flow("head", time=1.0),
    )  # fmt: skip
    right = (np.argmax(alone, -1) == truth).mean(1)
    np.testing.assert_allclose(found[accuracy.UNTRAINED]["accuracy"], right)


def test_other_blocks_are_other_tasks(source: Source) -> None:
    first, second = (source.unseen(3, block=block) for block in (0, 1))
    assert not np.array_equal(first.query_x, second.query_x)
    np.testing.assert_array_equal(first.query_x, source.unseen(3).query_x)


def test_attributes_are_functions_of_the_image(source: Source) -> None:
    shape = source.dataset.image_shape
    train, unseen = with_attributes(source.train(6), source.unseen(4), shape, 3)
    labels = np.asarray(train.query_y).argmax(-1)
    assert set(labels.reshape(-1).tolist()) == {0, 1, 2}
    again, _ = with_attributes(train, unseen, shape, 3)
    np.testing.assert_array_equal(again.query_y, train.query_y)


def test_every_condition_changes_something() -> None:
    rows = failures.conditions()
    changed = [
        {key: value for key, value in row.items() if key not in ("name", "why")}
        for row in rows.values()
    ]
    assert next(iter(rows)) == "base"
    assert not changed[0]
    assert all(changed[1:])
    assert all(row["why"].endswith(".") for row in rows.values())


@pytest.mark.slow
def test_real_images_agree_at_depth(real_data: Path) -> None:
    """The curve over depth on CIFAR-FS: 95 % of the queries from depth 64 on."""
    config = Benchmark(
        dataset="cifar_fs", data_dir=real_data / "tfds", tasks=10, test_tasks=40,
        depths=(1, 64), times=(0.0,), curve_test_tasks=4,
    )  # fmt: skip
    source = Source(load_dataset("cifar_fs", data_dir=config.data_dir), config)
    sweep = theory.depth_sweep(
        source.train(10), source.unseen(40), depths=(1, 64), times=(0.0,),
        inner=theory.gradient_flow("head", time=0.0),
        adaptation=theory.gradient_flow("head", time=1.0), last_W_std=2**0.5,
    )  # fmt: skip
    shallow, deep = sweep.agreement[:, 0]
    assert shallow < 0.9
    assert deep >= 0.95
