"""Recipes cut to a budget, and the tables of their runs, by their commands."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.experiments.made_runs import write_run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Run ``python -m experiments.NAME ARGUMENTS`` in this process."""

    def call(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)

    return call


def test_tables_of_a_folder_of_runs(
    run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "first", "mtl", images=60_000, accuracy=0.7)
    write_run(tmp_path / "second", "protonet", images=60_000)
    run("reproduce", "--runs", str(tmp_path))
    out = capsys.readouterr().out
    assert "| mtl | cifar_fs | 5 | 84.1 ± 0.1 | 70.00 ± 0.30 |" in out
    assert "stopped at 50 %" in out
    run("reproduce", "--table", "cost", "--runs", str(tmp_path), "--reference", "mtl")
    assert "times the cost of mtl" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()} - {"first", "second"}
    assert names == {
        "main.md", "main.json", "cost.md", "cost.json", "cost.svg", "cost.png",
    }  # fmt: skip
    with pytest.raises(SystemExit, match=r"reproduce: .*none is no folder of runs"):
        run("reproduce", "--runs", str(tmp_path / "none"))


def test_budgets_and_searches_that_are_refused(run, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="recipes: `images` is 63, but one step"):
        run("recipes", "mtl_fast", "--images", "63")
    file = tmp_path / "some.toml"
    file.write_text("[a.train]\nsteps = 5\n")
    with pytest.raises(SystemExit, match=r"search: .* 'a' changes `steps`, but budget"):
        run("search", str(file))


@pytest.mark.extended
def test_a_recipe_cut_to_a_budget(run, tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    run("recipes", "mtl_fast", "--quick", "--images", "40", "--run-dir", folder)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["train"]["steps"] == 2
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["cpu_seconds"] > 0
