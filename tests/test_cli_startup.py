"""The command as a shell starts it: quickly, with help and completion."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from metabridge.data import load_dataset


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
    )


HEAVY = {"jax", "flax", "optax", "orbax", "matplotlib", "PIL", "scipy", "sklearn"}
HEAVY |= {"safetensors", "tensorboardX", "tqdm", "tensorflow", "tensorflow_datasets"}


class Step(NamedTuple):
    """What one of `tests.light_imports` printed, its exit code, and what is loaded."""

    output: str
    code: int
    loaded: set[str]


@pytest.fixture(scope="module")
def steps(cache_dir: Path) -> dict[str, Step]:
    """The steps, by name, all made by one process."""
    load_dataset("glyphs", cache_dir=cache_dir)
    done = python("-m", "tests.light_imports", str(cache_dir))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    return {
        name: Step(output, code, set(loaded)) for name, output, code, loaded in found
    }


@pytest.mark.extended
def test_the_steps_are_taken_without_an_error(steps: dict[str, Step]) -> None:
    assert {name: step.code for name, step in steps.items()} == dict.fromkeys(steps, 0)


def test_nothing_heavy_is_imported(steps: dict[str, Step]) -> None:
    """Only datasets need NumPy, and only the theory, and what trains, JAX."""
    names = list(steps)
    for name in names[: names.index("datasets")]:
        assert not (HEAVY | {"numpy", "metabridge.theory"}) & steps[name].loaded, name
    for name in ("datasets", "cached_dataset"):
        assert not (HEAVY | {"metabridge.theory"}) & steps[name].loaded, name
    with_theory = {"neural_tangents", "tensorflow", "flax", "matplotlib"}
    assert not with_theory & steps["theory"].loaded


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--help", ["train", "evaluate", "datasets", "prepare", "theory"]),
        ("prepare --help", ["DATASET", "--archive", "--data-dir"]),
        ("train --help", ["mtl"]),
        (
            "compare --help",
            ["--algorithms", "--images", "--minutes", "--shots", "--folder"],
        ),
        ("report --help", ["--theory", "--output", "--examples", "[PATH [PATH"]),
        ("evaluate --help", ["--shots", "--output", "Folder of the run"]),
        ("theory --help", ["--layers", "--output"]),
        (
            "train mtl --help",
            ["--dataset", "--data-dir", "--shots", "--run-dir", "--resume", "radam"],
        ),
    ],
)
def test_help_says_what_there_is(
    line: str, words: list[str], steps: dict[str, Step]
) -> None:
    for word in words:
        assert word in steps[line].output


def test_shells_complete_commands_learners_and_options(
    tmp_path: Path, steps: dict[str, Step]
) -> None:
    (tmp_path / "completion").write_text(steps["--tyro-print-completion bash"].output)
    asked = """
        . ./completion
        for line in "metabridge ver" "metabridge train mam" \\
            "metabridge train mtl --learning" "metabridge evaluate r --tune" \\
            "metabridge train mtl --p"; do
          COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
          COMP_LINE=$line; COMP_POINT=${#line}; COMPREPLY=()
          _tyro_metabridge metabridge "${COMP_WORDS[COMP_CWORD]}" ""
          echo "${COMPREPLY[@]}"
        done"""
    done = subprocess.run(
        ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[:3] == ["verify", "maml", "--learning-rate"]
    assert "--tune-head" in done.stdout
    options = done.stdout.split("\n")[4].split()
    assert "--patience" in options
    assert all(word.startswith("--p") for word in options)  # no line of a help text
    other = steps["--tyro-print-completion zsh"].output
    assert other.startswith("#compdef metabridge\n")
    assert "--learning-rate" in other


def test_datasets_as_a_module(steps: dict[str, Step]) -> None:
    lines = steps["datasets"].output.splitlines()
    names = [line.split()[0] for line in lines]
    needing = {"omniglot", "cifar_fs", "fc100", "mini_imagenet", "tiered_imagenet"}
    own = {f"{name}:PATH" for name in ("folder", "parquet", "hf", "npz", "features")}
    assert set(names) == needing | own | {"glyphs", "NAME+NAME"}
    needy = {line.split()[0] for line in lines if "needs --data-dir" in line}
    assert needy == needing


def test_a_reader_that_has_gone_is_told_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "metabridge", "datasets"],
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            stdout=gone, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
