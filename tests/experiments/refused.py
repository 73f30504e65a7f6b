"""What every experiment's command line does with bad arguments."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


def assert_refused(
    main: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
    says: str,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line on stderr, exit code 2, and no folder made."""
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--output-dir", str(output)])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not output.exists()


def assert_help_names(module: str, options: Sequence[str]) -> None:
    """`--help` of a module names options."""
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for option in options:
        assert option in result.stdout
