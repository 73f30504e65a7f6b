"""Every bad input gets an error that says what is wrong."""

import json
import subprocess
import sys

import pytest

from tests.theory.bad_input import CASES


@pytest.fixture(scope="module")
def caught() -> dict[str, tuple[list[str], str]]:
    """The classes and message of what each call raised, without checks of types."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.theory.bad_input"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", CASES)
def test_error(name: str, caught: dict[str, tuple[list[str], str]]) -> None:
    case = CASES[name]
    assert name in caught, "nothing was raised"
    kinds, message = caught[name]
    assert kinds[0] == case.error, message
    for part in case.says:
        assert part in message


@pytest.mark.parametrize("error", ["SingularKernelError", "NoTangentKernelError"])
def test_own_errors_are_value_errors(
    error: str, caught: dict[str, tuple[list[str], str]]
) -> None:
    kinds = [kinds for kinds, _ in caught.values() if kinds[0] == error]
    assert kinds
    assert all("ValueError" in own for own in kinds)
