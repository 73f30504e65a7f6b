"""Features of imported bodies beside those of PyTorch, and the time that both take.

    python -m benchmarks.foreign_bodies [--seconds] [--bodies resnet50 ...]

needs torch, torchvision and timm (the extra `bench`). Weights are random, written by
PyTorch in the forms that people have, and read by `metabridge.import_body`; parameters
of normalisation, tokens and layer scale are moved from where they start. What is
printed is the largest difference over the largest feature, on the same images of
224x224 pixels. ``--seconds`` times both in turn on batches of images instead, each by
its fastest run.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import timm  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
import torchvision  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file
from timm.models import vision_transformer  # pyright: ignore[reportMissingImports]

import metabridge
from benchmarks.torch_resnet12 import ResNet12
from metabridge import build

BOUND = 1e-4
_SIZE, _IMAGES, _ROUNDS, _BATCH = 224, 4, 5, 20


class Case(NamedTuple):
    """A body of PyTorch's, and how its weights are saved."""

    model: str
    make: Callable[[], Any]
    save: Callable[[Any, Path], None]
    suffix: str = ".pt"
    size: int = _SIZE
    at: Callable[[Any, int], Any] = lambda module, size: module
    """The module for images of a size, if not that which it was made for."""


def _zip(module: Any, path: Path) -> None:
    names = {f"module.{name}": value for name, value in module.state_dict().items()}
    torch.save({"state_dict": names, "epoch": 90}, path)


def _legacy(module: Any, path: Path) -> None:
    state = {"opt": argparse.Namespace(lr=0.1), "model": module.state_dict()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def _safetensors(module: Any, path: Path) -> None:
    save_file(module.state_dict(), path)


def _dinov2(module: Any, path: Path) -> None:
    """The names of DINOv2's own code: a mask token beside timm's names."""
    state = module.state_dict()
    torch.save(state | {"mask_token": torch.zeros(1, module.embed_dim)}, path)


def _vit(name: str) -> Callable[[], Any]:
    return functools.partial(timm.create_model, name, num_classes=0)


def _timm_at(name: str, module: Any, size: int) -> Any:
    """The module of timm with its positions resampled by timm."""
    other = timm.create_model(name, num_classes=0, img_size=size)
    state = vision_transformer.checkpoint_filter_fn(module.state_dict(), other)
    other.load_state_dict(state)
    return other


def _dinov2_at(module: Any, size: int) -> Any:
    """The module with its positions interpolated as DINOv2's code does it."""
    other = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=size)
    state = dict(module.state_dict())
    first, patches = state["pos_embed"][:, :1], state["pos_embed"][:, 1:]
    side, wanted = int(patches.shape[1] ** 0.5), size // 14
    maps = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    maps = torch.nn.functional.interpolate(
        maps, scale_factor=((wanted + 0.1) / side,) * 2, mode="bicubic"
    )
    rows = maps.permute(0, 2, 3, 1).reshape(1, wanted * wanted, -1)
    state["pos_embed"] = torch.cat([first, rows], dim=1)
    other.load_state_dict(state)
    return other


def _headless(make: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        module = make()
        module.fc = torch.nn.Identity()
        return module

    return made


_REGISTERS = "vit_small_patch14_reg4_dinov2"
CASES = {
    "resnet12": Case("resnet12", ResNet12, _legacy, size=84),
    "resnet18": Case("resnet18", _headless(torchvision.models.resnet18), _zip),
    "resnet50": Case(
        "resnet50",
        _headless(torchvision.models.resnet50),
        _safetensors,
        ".safetensors",
    ),
    "vit_small": Case("vit_small", _vit("vit_small_patch16_224"), _legacy),
    "vit_base": Case(
        "vit_base", _vit("vit_base_patch16_224"), _safetensors, ".safetensors"
    ),
    "dinov2_small_518": Case(
        "vit_small", _vit("vit_small_patch14_dinov2"), _dinov2, size=518
    ),
    "dinov2_small": Case(
        "vit_small", _vit("vit_small_patch14_dinov2"), _dinov2, at=_dinov2_at
    ),
    "timm_dinov2_registers": Case(
        "vit_small", _vit(_REGISTERS), _zip, at=functools.partial(_timm_at, _REGISTERS)
    ),
}


class Pair(NamedTuple):
    """A body of PyTorch's and ours, from normalised images to features."""

    theirs: Callable[[np.ndarray], np.ndarray]
    """Of images ``[N, c, H, W]``."""
    ours: Callable[[np.ndarray], np.ndarray]
    """Of images ``[N, H, W, c]``."""


def pair(case: Case, folder: Path) -> Pair:
    """Make a body of PyTorch's at random, save it and import it."""
    torch.manual_seed(0)
    module = case.make().eval()
    _move(module)
    path = folder / f"weights{case.suffix}"
    case.save(module, path)
    body = metabridge.import_body(path, case.model, image_size=case.size)
    network = build.model(body.config.model, case.size)
    variables = {**body.variables, "params": body.variables["params"]["body"]}
    variables = jax.device_put(variables)
    compiled = jax.jit(lambda variables, images: network.apply(variables, images))
    reference = case.at(module, case.size).eval()

    def theirs(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return reference(torch.from_numpy(images)).numpy()

    def ours(images: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(variables, jnp.asarray(images)))

    return Pair(theirs, ours)


def _move(module: Any) -> None:
    """Move what starts at zeros, ones or small numbers, so that it counts."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.ndim == 1 or "token" in name or "pos_embed" in name:
                value.add_(0.1 * torch.randn_like(value))
        for name, value in module.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.1 * torch.randn_like(value))
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))


def images_of(case: Case, count: int) -> np.ndarray:
    """Normal numbers as normalised images ``[N, c, H, W]``, float32."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 3, case.size, case.size), dtype=np.float32)


def difference(case: Case) -> float:
    """The largest difference of features over the largest of PyTorch's."""
    with tempfile.TemporaryDirectory() as folder:
        both = pair(case, Path(folder))
    images = images_of(case, _IMAGES)
    expected = both.theirs(images)
    found = both.ours(images.transpose(0, 2, 3, 1))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def seconds(case: Case) -> tuple[float, float]:
    """Seconds that PyTorch and we take for 100 images, the fastest of several runs."""
    with tempfile.TemporaryDirectory() as folder:
        both = pair(case, Path(folder))
    images = images_of(case, _BATCH)
    inputs = images, np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    fastest = [float("inf")] * 2
    for number in range(_ROUNDS + 1):
        for which, (run, batch) in enumerate(zip(both, inputs, strict=True)):
            start = time.perf_counter()
            run(batch)
            if number:  # the first compiles
                took = time.perf_counter() - start
                fastest[which] = min(fastest[which], took)
    theirs, ours = (took * 100 / _BATCH for took in fastest)
    return theirs, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seconds", action="store_true")
    given = parser.parse_args()
    for name in given.bodies:
        if given.seconds:
            theirs, ours = seconds(CASES[name])
            print(f"{name:22} PyTorch {theirs:6.2f} s, here {ours:6.2f} s, 100 images")
            continue
        found = difference(CASES[name])
        print(f"{name:22} {found:.1e} of the largest feature")
        if found > BOUND:
            raise SystemExit(f"{name} differs by more than {BOUND:g}")


if __name__ == "__main__":
    main()
