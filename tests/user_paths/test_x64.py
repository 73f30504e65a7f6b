"""JAX in 64 bits, as users of neural-tangents have it: the numbers are those of 32."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.user_paths.calls import NUMBERS, classify, features, result
from tests.user_paths.processes import Call, call, driven
from tests.user_paths.table import FEW, LEARNERS, heads_of, training

Runs = Callable[[str], Path]
INCLUDED = "cifar_fs-conv4"
OTHERS = tuple(name for name in LEARNERS if name not in FEW)


@pytest.fixture(scope="module", params=["environment", "later"])
def in_64_bits(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Makes calls in a process that has 64 bits from its environment or by itself."""

    def made(calls: Sequence[Call], output: Path) -> list[Any]:
        if request.param == "later":
            return driven(calls, output, x64_later=True)
        return driven(calls, output, JAX_ENABLE_X64="1")

    return made


@pytest.mark.parametrize(
    "learners", [("mtl",), pytest.param((*FEW, *OTHERS), marks=pytest.mark.extended)]
)
def test_runs_of_32_bits_are_used(
    learners: Sequence[str],
    trained: Runs,
    tmp_path: Path,
    in_64_bits: Callable[..., list[Any]],
) -> None:
    """Evaluation, export, classification; with every head in the second tier."""
    calls, expected = [], []
    for learner in learners:
        run, file = str(trained(learner)), str(tmp_path / f"{learner}.safetensors")
        recorded = result(run)
        heads = heads_of(learner) if len(learners) > 1 else [recorded["head"]]
        calls += [call("verified", run), call("command", "export", run, file)]
        calls += [call("features", file), call("classify", run, head="centroid")]
        calls += [call("command", "evaluate", run, "--head", head) for head in heads]
        expected += [True, 0, features(run), classify(run, head="centroid")]
        expected += [0 for _ in heads]
    found = in_64_bits(calls, tmp_path / "found.json")
    for made, one, two in zip(calls, found, expected, strict=True):
        if made[0] == "features":
            assert not isinstance(one, str), (made, one)
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
        else:
            assert one == two, made


@pytest.mark.parametrize(
    "learners",
    [("protonet",), pytest.param(tuple(LEARNERS), marks=pytest.mark.extended)],
)
def test_training_gives_the_numbers_of_32_bits(
    learners: Sequence[str],
    trained: Runs,
    tmp_path: Path,
    in_64_bits: Callable[..., list[Any]],
) -> None:
    calls = []
    for learner in learners:
        folder = str(tmp_path / learner)
        calls += [call("command", *training(learner, folder)), call("result", folder)]
    found = in_64_bits(calls, tmp_path / "found.json")
    for learner, code, made in zip(learners, found[::2], found[1::2], strict=True):
        assert code == 0, (learner, code, made)
        recorded = result(str(trained(learner)))
        assert [made[n] for n in NUMBERS] == [recorded[n] for n in NUMBERS], learner
        digests = [r["provenance"]["checkpoint"]["digest"] for r in (made, recorded)]
        assert digests[0] == digests[1], learner


def test_included_bodies(tmp_path: Path, in_64_bits: Callable[..., list[Any]]) -> None:
    """Their features are those of 32 bits, in which the tests compute them here."""
    [found, labels] = in_64_bits(
        [call("features", INCLUDED), call("classify", INCLUDED)],
        tmp_path / "found.json",
    )
    assert not isinstance(found, str), found
    np.testing.assert_allclose(found, features(INCLUDED), rtol=1e-3, atol=1e-4)
    assert labels == [name for name in "abc" for _ in range(3)]
