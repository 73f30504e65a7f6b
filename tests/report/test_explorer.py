"""What is taken for a result of `make ntk-compare`, and what is refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metabridge.report.explorer import read
from tests.report import fake


def test_a_result(tmp_path: Path) -> None:
    found = read(fake.write_explorer(tmp_path / "results.json", more="ignored"))
    assert found.depths == [1, 16]
    assert (found.num_tasks, found.training_tasks) == (2, 8)
    assert len(found.values["cells"]) == 16
    assert "more" not in found.values


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e.pop("depths"), "'depths'"),
        (lambda e: e["depths"].clear(), "a list of numbers is missing"),
        (lambda e: e["depths"].__setitem__(0, 0), "a depth is not positive"),
        (lambda e: e["times"].__setitem__(0, "<b>"), "'<b>' is not a finite number"),
        (lambda e: e["times"].__setitem__(0, 10**400), "no result of"),
        (lambda e: e["cells"].pop(), "lacks some combinations"),
        (lambda e: e["cells"].__setitem__(0, e["cells"][1]), "lacks some"),
        (lambda e: e["cells"][0].update(depth=2), "no such depth: 2"),
        (lambda e: e["cells"][0].update(gap=None), "None is not a finite number"),
        (lambda e: e["cells"][0]["mtl"].pop(), "has 2 numbers, but should have 3"),
        (lambda e: e.update(tasks=3), "no result of"),
        (lambda e: e.update(cells=[1]), "no result of"),
    ],
)
def test_what_is_none(change: Change, says: str, tmp_path: Path) -> None:
    values = copy.deepcopy(fake.explorer())
    change(values)
    path = fake.write_explorer(tmp_path / "results.json")
    path.write_text(json.dumps({"explorer": values}))
    with pytest.raises(ValueError, match=says):
        read(path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"explorer": 1}'])
def test_an_older_result(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match="make it anew with `make ntk-compare`"):
        read(tmp_path / "results.json")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no result"):
        read(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read(tmp_path / "results.json")
