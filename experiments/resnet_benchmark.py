"""A training step of MTL with ResNet-12 beside PyTorch's, and the share of the peak.

    python -m experiments.resnet_benchmark [--size 32 --images 50]

Needs the `bench` extra. Both do the same: forward, backward and RAdam on one task of 5
ways, features of unit length, rows of a class table; PyTorch in the channels-first
layout that it has by default, with dropout for DropBlock. Each runs in a process of its
own; let them run alone. The least of the repeats counts. Operations are the
multiplications and additions of the convolutions as they are defined, three times those
of the forward pass; the peak is that of a matrix product. Winograd's convolutions need
fewer than are counted, so the share can be above what the hardware gives.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import tyro

from metabridge.comparison.run import in_a_process

_CLASSES = 64
_WIDTHS = (64, 160, 320, 640)


@dataclasses.dataclass(frozen=True)
class Options:
    """Time a step of MTL with ResNet-12, ours and PyTorch's."""

    size: int = 32
    """Height and width of the images."""
    images: int = 50
    """Images of the task."""
    repeats: int = 8
    """Timed steps of each."""
    output: Path | None = None
    """JSON file for the results."""


def operations(size: int, images: int) -> float:
    """Multiplications and additions of a step's convolutions."""
    total, before = 0, 3
    for width in _WIDTHS:
        pixels = size * size
        total += pixels * (9 * before * width + 2 * 9 * width * width + before * width)
        before, size = width, size // 2
    return 3 * 2.0 * total * images


def ours(options: Options) -> dict[str, float]:
    """Milliseconds of a step of ours, seconds to compile it, and the machine's peak."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from metabridge.data.augment import augmentation
    from metabridge.data.dataset import Split, run_labels
    from metabridge.data.episodes import image_bank
    from metabridge.data.sampler import Sampler
    from metabridge.learners import class_table, mtl
    from metabridge.models import ResNet12
    from metabridge.types import Examples, Task, TaskShape

    generator = np.random.default_rng(0)
    shape = (1, options.images, options.size, options.size, 3)
    inputs = jnp.asarray(generator.normal(size=shape), jnp.float32)
    each = np.repeat(np.arange(5), options.images // 5)
    labels = jnp.asarray(each[None], jnp.int32)
    task = Task(
        Examples(inputs, labels),
        Examples(inputs[:, :0], labels[:, :0]),
        jnp.arange(5, dtype=jnp.int32)[None],
        jnp.zeros(1, jnp.int32),
    )
    learner = mtl(ResNet12(), optax.radam(1e-3), heads=class_table(_CLASSES))
    state = learner.init(jax.random.key(0), inputs[0])
    since = time.perf_counter()
    step = jax.jit(learner.step, donate_argnums=1)
    step = step.lower(jax.random.key(0), state, task).compile()
    compile_seconds = time.perf_counter() - since

    def one() -> None:
        nonlocal state
        state, info = step(jax.random.key(0), state, task)
        info.loss.block_until_ready()

    per_class = max(options.images // 5, 20)
    pixels = generator.integers(0, 256, (5 * per_class, *shape[2:]), np.uint8)
    names = tuple(map(str, range(5)))
    bank = image_bank(Split(pixels, run_labels([per_class] * 5), names))
    change = augmentation("natural", (0.5,) * 3, (0.25,) * 3)
    sample = Sampler(TaskShape(5, options.images // 5, 0), per_class, change)
    key = jax.random.key(1)
    draw = jax.jit(sample).lower(key, bank).compile()
    side = 2048
    matrix = jnp.asarray(generator.normal(size=(side, side)), jnp.float32)
    product = jax.jit(jnp.matmul)
    peak = 2 * side**3 / _least(lambda: product(matrix, matrix).block_until_ready(), 8)
    return {
        "ours_ms": 1e3 * _least(one, options.repeats),
        "sampling_and_augmentation_ms": 1e3
        * _least(
            lambda: draw(key, bank).support.inputs.block_until_ready(),
            options.repeats,
        ),
        "compile_seconds": compile_seconds,
        "peak_gflops": peak / 1e9,
    }


def theirs(options: Options) -> dict[str, float]:
    """Milliseconds of a step of PyTorch's."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    def conv(before: int, width: int, side: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(before, width, side, padding=side // 2, bias=False),
            nn.BatchNorm2d(width),
        )

    class Stage(nn.Module):
        def __init__(self, before: int, width: int) -> None:
            super().__init__()
            self.first, self.second = conv(before, width, 3), conv(width, width, 3)
            self.third, self.shortcut = conv(width, width, 3), conv(before, width, 1)

        def forward(self, x):
            y = functional.leaky_relu(self.first(x), 0.1)
            y = self.third(functional.leaky_relu(self.second(y), 0.1))
            y = functional.leaky_relu(y + self.shortcut(x), 0.1)
            return functional.dropout(functional.max_pool2d(y, 2), 0.1)

    torch.manual_seed(0)
    stages = [Stage(a, b) for a, b in zip((3, *_WIDTHS), _WIDTHS, strict=False)]
    body = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    table = nn.Parameter(0.04 * torch.randn(_CLASSES, _WIDTHS[-1]))
    optimizer = torch.optim.RAdam([*body.parameters(), table], 1e-3)
    inputs = torch.randn(options.images, 3, options.size, options.size)
    labels = torch.arange(5).repeat_interleave(options.images // 5)

    def one() -> None:
        optimizer.zero_grad()
        scores = functional.normalize(body(inputs)) @ table[:5].T
        functional.cross_entropy(scores, labels).backward()
        optimizer.step()

    return {"torch_ms": 1e3 * _least(one, options.repeats)}


def _least(run: Callable[[], object], repeats: int) -> float:
    """The least seconds of several runs, after one that is not timed."""
    seconds = []
    for number in range(repeats + 1):
        since = time.perf_counter()
        run()
        if number:
            seconds.append(time.perf_counter() - since)
    return min(seconds)


def main(options: Options) -> dict[str, float]:
    """Times both and prints the numbers."""
    if options.images % 5 or options.size < 16:
        raise ValueError("`images` must be a multiple of 5, and `size` at least 16")
    found: dict[str, float] = {}
    for contender in (theirs, ours):
        found |= in_a_process(contender, options)
    work = operations(options.size, options.images)
    found["gflop"] = work / 1e9
    found["ours_to_torch"] = found["ours_ms"] / found["torch_ms"]
    for name in ("ours", "torch"):
        rate = work / 1e6 / found[f"{name}_ms"]
        found[f"{name}_share_of_peak"] = rate / found["peak_gflops"]
    for name, value in found.items():
        print(f"{name:22s} {value:.4g}")
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


if __name__ == "__main__":
    main(tyro.cli(Options))
