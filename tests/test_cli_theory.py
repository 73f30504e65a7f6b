"""`metabridge theory`: run on a dataset and on a folder, and refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabridge import cli

FAST = ("--ways=3", "--shots=1", "--queries=1", "--tasks=4", "--test-tasks=3")


@pytest.fixture
def fast(images: Path) -> list[str]:
    """A command that takes no time."""
    return ["theory", f"folder:{images}", *FAST]


@pytest.mark.extended
def test_theory_of_a_dataset(
    fast: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "result.json"
    cli.main([*fast, "--depth=2", f"--output={output}"])
    printed = capsys.readouterr().out
    assert ", 3-way 1-shot" in printed
    assert "same predicted class" in printed
    result = json.loads(output.read_text())
    assert (result["depth"], result["tasks"], result["unseen"]) == (2, 4, 3)
    assert result["options"]["dataset"] == fast[1]
    for sentence in result["reading"]:
        assert sentence in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--depth=0",), "`depth`"),
        (("--tasks=1",), "`tasks`"),
        (("--time=-1",), "`time`"),
        (("--ways=1000",), "has 8 classes"),
        (("--tasks=100000",), "share none"),
        (("--side=40",), "`side`"),
        (("--output=/",), "is a folder"),
    ],
)
def test_bad_options_end_with_a_line(
    fast: list[str],
    arguments: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*fast, *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("metabridge: ")
    assert says in error
    assert len(error.splitlines()) == 1


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of images of several sizes, one of them cut short."""
    folder, rng = tmp_path_factory.mktemp("images") / "birds", np.random.default_rng(0)
    for name in range(32):
        own = folder / f"bird{name}"
        own.mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (8 + index, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(own / f"{index}.png")
    whole = (folder / "bird0" / "0.png").read_bytes()
    (folder / "bird0" / "0.png").write_bytes(whole[:60])
    return folder


@pytest.mark.extended
def test_theory_of_a_folder(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every message leads to an option that the command has."""
    command = [
        "theory", f"folder:{birds}", "--shots=1", "--queries=3", "--tasks=3",
        "--test-tasks=5", "--depth=2",
    ]  # fmt: skip
    options = {"image_size": ["--image-size", "4"], "skip_corrupt": ["--skip-corrupt"]}
    while options:
        with pytest.raises(SystemExit):
            cli.main(command)
        error = capsys.readouterr().err
        [advised] = [name for name in options if f"`{name}`" in error]
        command += options.pop(advised)
    reading = ["--background=black", "--max-pixels=5000", "--allow-duplicates"]
    cli.main([*command, *reading, "--b-std=0.5"])
    assert "training tasks, unseen tasks       3, 5" in capsys.readouterr().out


def test_without_a_package_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "metabridge.theory.command", raising=False)
    monkeypatch.delattr("metabridge.theory.command", raising=False)
    monkeypatch.setitem(sys.modules, "metabridge.theory.command", None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["theory", "glyphs", *FAST])
    assert stop.value.code == 2
    assert "pip install '.[theory]'" in capsys.readouterr().err
