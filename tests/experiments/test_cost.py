"""Cost at equal accuracy, by hand; its table and figure from made run folders."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments.reproduce import accuracy, cost
from experiments.reproduce.__main__ import Options, main
from experiments.reproduce.runs import read
from tests.experiments.made_runs import write_run


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0.2, 1), (0.3, 1.5), (0.4, 2), (0.5, 3.5), (0.6, 4), (0.61, None), (0.1, 1)],
)
def test_costs_are_interpolated(level: float, expected: float | None) -> None:
    # The third validation is worse than the second: the best so far stays 0.4.
    found = cost.cost_at([1, 2, 3, 4], [0.2, 0.4, 0.3, 0.6], level)
    assert found == (None if expected is None else pytest.approx(expected))


def curve(recipe: str, accuracies: list[float], **costs: list[float]) -> cost.Curve:
    task = "cifar_fs", 5, 1000, True, [recipe]
    return cost.Curve(recipe, recipe, *task, accuracies, costs)


def test_two_learners() -> None:
    mtl = curve("mtl", [0.3, 0.5, 0.6], images=[100, 200, 300], core_hours=[1, 2, 3])
    slow = curve("metaoptnet", [0.2, 0.4, 0.55], images=[200, 400, 800])
    found = cost.compare(slow, mtl)
    assert found["best"] == 0.55
    # MTL is at 0.55 half way from 200 to 300 images; slow is never at 0.6.
    assert found["images"] == {
        "cost": 800,
        "reached_reference": None,
        "reference_reached": pytest.approx(250),
        "times": pytest.approx(800 / 250),
    }
    assert "core_hours" not in found  # slow has not counted them
    other = cost.compare(mtl, slow)["images"]
    # The other way about: at 0.55 again, MTL's cost is 250 and slow's 800.
    assert other["times"] == pytest.approx(250 / 800)
    assert other["reached_reference"] == pytest.approx(250)
    assert other["reference_reached"] is None


def test_the_reference_is_the_longest_run_of_the_recipe() -> None:
    short, long = (curve("mtl", [0.5], images=[9])._replace(budget=b) for b in (1, 2))
    other = long._replace(label="mtl, model=conv4", budget=3)
    assert cost.reference_of([other, long, short], short, "mtl") is long
    assert cost.reference_of([other], short, "mtl") is other
    assert cost.reference_of([long], short._replace(shots=1), "mtl") is None


def test_curves_are_means_over_seeds(tmp_path: Path) -> None:
    for seed, hours in enumerate((1, 3)):
        accuracies = (0.4 + seed / 10, 0.6 + seed / 10)
        write_run(
            tmp_path / f"{seed}",
            accuracies=accuracies,
            accuracy=0.7,
            cpu_seconds=hours * 3600.0,
            train={"seed": seed},
        )
    (found,) = cost.curves(read(tmp_path))
    assert found.accuracies == pytest.approx([0.45, 0.65])
    assert found.costs["images"] == [32_000, 64_000]
    assert found.costs["core_hours"] == pytest.approx([1, 2])
    assert found.runs == ["0", "1"]


def test_seeds_of_equal_time_are_averaged(tmp_path: Path) -> None:
    """They differ in their steps, 1,000 and 1,200 of 64 images, and so in the ramp."""
    for seed, steps in enumerate((1000, 1200)):
        write_run(
            tmp_path / f"{seed}",
            images=64 * steps,
            minutes=2.0,
            accuracies=(0.4 + seed / 10, 0.6 + seed / 10),
            accuracy=0.7 + seed / 10,
            train={"seed": seed},
            model={"drop_ramp": 14_000},
        )
    runs = read(tmp_path)
    (found,) = cost.curves(runs)
    assert (found.label, found.budget) == ("mtl_fast", 64 * 1100)
    assert found.accuracies == pytest.approx([0.45, 0.65])
    assert found.costs["images"] == [64 * 550, 64 * 1100]
    (row,) = accuracy.rows(runs)
    assert (row["accuracy"], row["seeds"]) == (pytest.approx(0.75), 2)
    assert row["images"] == 64 * 1100


def test_a_reference_without_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "fast", "mtl_fast")
    with pytest.raises(ValueError, match=r"is 'mtl', but .* follow mtl_fast"):
        main(Options(table="cost", runs=tmp_path))
    options = Options(table="cost", algorithms=("rfs", "maml"), folder=tmp_path / "x")
    with pytest.raises(ValueError, match="must be one of `algorithms`: rfs, maml"):
        main(options)
    assert not (tmp_path / "x").exists()


def test_the_table_and_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # MTL: 0.5 after half an hour, 0.6 after one; images in steps of 300.
    write_run(tmp_path / "mtl", "mtl", images=60_000, accuracy=0.7)
    # Stopped at half of its steps, after 2 hours: 0.45, then 0.55.
    write_run(
        tmp_path / "deep" / "mon",
        "metaoptnet",
        images=440_000,
        accuracies=(0.45, 0.55),
        cpu_seconds=7200.0,
    )
    main(Options(table="cost", runs=tmp_path))
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if line.startswith("| metaoptnet")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:6] == [
        "metaoptnet", "cifar_fs", "5", "440,000, stopped", "55.00",
        "2 core-hours, 220,000 images",
    ]  # fmt: skip
    # MTL is at 0.55 after 45,000 images and 0.75 hours.
    assert cells[6:9] == [
        "not reached",
        "0.75 core-hours, 45,000 images",
        "2.7 (core-hours), 4.9 (training images)",
    ]
    assert cells[9].startswith("23 (85.6 / 3.7 GPU hours")
    rows = json.loads((tmp_path / "cost.json").read_text())["rows"]
    assert [row["runs"] for row in rows] == [["mtl"], ["mon"]]
    assert rows[1]["images"]["times"] == pytest.approx(220_000 / 45_000)
    assert (tmp_path / "cost.png").stat().st_size > 10_000
    ElementTree.parse(tmp_path / "cost.svg")
