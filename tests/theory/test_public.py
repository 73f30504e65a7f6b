"""The public names, what importing them costs, and the example of the documentation."""

import inspect
from pathlib import Path

import pytest

from metabridge import theory

_ROOT = Path(__file__).parents[2]

SIGNATURES = {
    "Tasks": ("support_x", "support_y", "query_x", "query_y"),
    "relu_network": ("depth",),
    "from_stax": ("kernel_fn",),
    "gradient_flow": ("layers", "time"),
    "gradient_steps": ("layers", "lr", "steps"),
    "ridge": ("layers", "penalty"),
    "mtl_predictor": ("kernel", "tasks", "heads", "train_on", "time"),
    "gbml_predictor": ("kernel", "tasks", "inner", "time"),
    "mtl_kernel": ("kernel", "tasks", "heads", "train_on"),
    "gbml_kernel": ("kernel", "tasks", "inner"),
    "relu_depths": ("x1", "x2", "depths"),
    "compare": ("kernel", "tasks", "test_tasks", "inner", "adaptation"),
    "depth_sweep": ("tasks", "test_tasks", "depths", "times", "inner", "adaptation"),
    "Closeness": ("gap", "relative_gap", "transfer"),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    parameters = list(inspect.signature(getattr(theory, name)).parameters)
    own = [parameter for parameter in parameters if parameter in SIGNATURES[name]]
    assert own == list(SIGNATURES[name])
    assert parameters[: min(2, len(own))] == own[:2]


def test_every_public_name_is_documented() -> None:
    names = [name for name in vars(theory) if not name.startswith("_")]
    things = [vars(theory)[name] for name in names]
    own = [t for t in things if inspect.isclass(t) or inspect.isfunction(t)]
    assert len(own) > 25
    assert all(thing.__doc__ for thing in own)
