"""JAX in 64 bits, as users of neural-tangents have it: the numbers are those of 32."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.user_paths.calls import NUMBERS, classify, features, result
from tests.user_paths.processes import Call, call, driven
from tests.user_paths.table import LEARNERS, heads_of, training

pytestmark = pytest.mark.extended
Runs = Callable[[str], Path]
INCLUDED = "cifar_fs-conv4"
QUICK = ("mtl",)
"""Tried in the second tier; all of them in the slow one."""
NAMES = [name for name in "abc" for _ in range(3)]


def made_with(
    learners: Sequence[str],
    mode: str,
    folder: Path,
    trained: Runs,
    with_heads: Sequence[str],
) -> dict[str, Any]:
    """Everything that is done with a learner, in one process of 64 bits."""
    calls: dict[str, Call] = {}
    for learner in learners:
        run, file = str(trained(learner)), str(folder / f"{learner}.safetensors")
        new = str(folder / learner)
        calls[f"verify {learner}"] = call("command", "verify", run)
        calls[f"export {learner}"] = call("command", "export", run, file)
        calls[f"features {learner}"] = call("features", file)
        calls[f"classify {learner}"] = call("classify", run, head="centroid")
        calls[f"train {learner}"] = call("command", *training(learner, new))
        calls[f"result {learner}"] = call("result", new)
        calls[f"trained features {learner}"] = call("features", new)
        for head in heads_of(learner) if learner in with_heads else ():
            evaluate = call("command", "evaluate", run, "--head", head)
            calls[f"evaluate {learner} {head}"] = evaluate
    calls["included"] = call("features", INCLUDED)
    calls["classify included"] = call("classify", INCLUDED)
    later = mode == "later"
    changes = {} if later else {"JAX_ENABLE_X64": "1"}
    output = folder / "found.json"
    found = driven(list(calls.values()), output, changes, x64_later=later)
    return dict(zip(calls, found, strict=True))


def check_use(found: dict[str, Any], learner: str, run: str) -> None:
    """A run of 32 bits is verified, exported and applied."""
    assert found[f"verify {learner}"] == 0
    assert found[f"export {learner}"] == 0
    check_features(found[f"features {learner}"], features(run))
    assert found[f"classify {learner}"] == classify(run, head="centroid")


def check_training(found: dict[str, Any], learner: str, run: str) -> None:
    """Training in 64 bits gives what it gives in 32."""
    assert found[f"train {learner}"] == 0
    made, recorded = found[f"result {learner}"], result(run)
    one, two = ([each[name] for name in NUMBERS] for each in (made, recorded))
    np.testing.assert_allclose(one, two, atol=1e-6)
    check_features(found[f"trained features {learner}"], features(run))


def check_features(found: Any, expected: Any) -> None:
    assert not isinstance(found, str), found  # an error
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "learners", "with_heads"),
    [
        ("environment", QUICK, ("mtl",)),
        pytest.param("environment", tuple(LEARNERS), (), marks=pytest.mark.slow),
        pytest.param("later", QUICK, (), marks=pytest.mark.slow),
        pytest.param("later", tuple(LEARNERS), tuple(LEARNERS), marks=pytest.mark.slow),
    ],
)
def test_the_numbers_are_those_of_32_bits(
    mode: str,
    learners: Sequence[str],
    with_heads: Sequence[str],
    trained: Runs,
    tmp_path: Path,
) -> None:
    found = made_with(learners, mode, tmp_path, trained, with_heads)
    for learner in learners:
        check_use(found, learner, str(trained(learner)))
        check_training(found, learner, str(trained(learner)))
    codes = {k: code for k, code in found.items() if k.startswith("evaluate ")}
    assert codes == dict.fromkeys(codes, 0)
    check_features(found["included"], features(INCLUDED))
    assert found["classify included"] == NAMES
