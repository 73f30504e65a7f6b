"""What does not fit is said before it is made."""

import pytest

from metabridge import theory
from metabridge.theory.matrices.memory import check_matrices
from tests.theory.cases import equal_tasks


def test_what_is_needed_free_and_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metabridge.parallel.devices.free_host_bytes", lambda: 1e9)
    check_matrices("two matrices", 2, (7000, 7000), "float64", advice="")
    with pytest.raises(
        ValueError,
        match=r"two matrices \[8000, 8000\] in float64 would take 1\.02 GB, but "
        r"1 GB are free, enough for 7071 points; take fewer",
    ):
        check_matrices("two matrices", 2, (8000, 8000), "float64", advice="take fewer")


def test_a_diagnosis_of_too_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metabridge.parallel.devices.free_host_bytes", lambda: 25_000)
    with pytest.raises(ValueError, match=r"\[32, 32\].* enough for 20 points"):
        theory.diagnose(equal_tasks(0), equal_tasks(1))
