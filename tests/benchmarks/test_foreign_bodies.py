"""Imported bodies beside PyTorch's own, where PyTorch, torchvision and timm are."""

import pytest

_REASON = "torch, torchvision and timm are in the extra `bench`"


@pytest.mark.extended
@pytest.mark.parametrize(
    "name", ["resnet12", "resnet18", "resnet50", "vit_small", "dinov2_small"]
)
def test_features_are_pytorchs(name: str) -> None:
    for module in ("torch", "torchvision", "timm"):
        pytest.importorskip(module, reason=_REASON)
    from benchmarks import foreign_bodies

    assert foreign_bodies.difference(foreign_bodies.CASES[name]) <= foreign_bodies.BOUND
