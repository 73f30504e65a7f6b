"""Contenders in turn: their times, their answers, and those that cannot run."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.harness import Contender, Result, race, report, write

STEPS = """
import os, time

def step(log, pause=0.0):
    def run():
        print("not an answer")
        with open(log, "a") as file:
            file.write(f"{os.environ.get('NAME', 'bare')}\\n")
        time.sleep(pause)
        return os.getcwd()
    return run

def missing():
    import no_such_package

def failing():
    raise SystemExit(3)
"""


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    path = tmp_path / "steps.py"
    path.write_text(STEPS)
    return path


def test_contenders_take_turns(steps: Path, tmp_path: Path) -> None:
    options = {"log": str(tmp_path / "log")}
    quick = Contender(f"{steps}:step", options, {"NAME": "a"}, checkout=tmp_path)
    slow = Contender(f"{steps}:step", options | {"pause": 0.05})
    found = race({"quick": quick, "slow": slow}, rounds=3)
    # The first step and two rounds that are not timed, then rounds of which every
    # second is turned round.
    order = "".join(line[0] for line in (tmp_path / "log").read_text().splitlines())
    assert order == "ab" + "abba" + "abbaab"
    assert found["quick"].answer == str(tmp_path)
    assert len(found["quick"].seconds) == len(found["slow"].seconds) == 3
    assert min(found["slow"].seconds) >= 0.05 > min(found["quick"].seconds)
    assert found["slow"].peak_gigabytes > 0


def test_a_contender_without_its_package_is_left_out(
    steps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = Contender(f"{steps}:step", {"log": os.devnull})
    missing = Contender(f"{steps}:missing")
    assert race({"ours": ours, "theirs": missing}, rounds=1).keys() == {"ours"}
    assert "theirs is left out: no_such_package" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="theirs needs no_such_package"):
        race({"theirs": missing})
    with pytest.raises(RuntimeError, match="broken failed with code 3"):
        race({"broken": Contender(f"{steps}:failing")})


def test_ratios_are_those_of_each_round(tmp_path: Path) -> None:
    ours = Result([1.0, 10.0, 2.0], 0.0, None, 1.0)
    theirs = Result([2.0, 20.0, 4.0], 0.0, 0.5, 1.0)
    found = report("steps", {"ours": ours, "theirs": theirs})
    assert found["theirs"]["ratio to ours"] == 2.0
    assert found["theirs"]["ratio's quartiles"] == [2.0, 2.0]
    assert found["ours"]["least_ms"] == 1000.0
    assert found["ours"]["median_ms"] == 2000.0
    write(tmp_path / "new" / "out.json", found)
    written = json.loads((tmp_path / "new" / "out.json").read_text())
    assert written["theirs"]["answer"] == 0.5
