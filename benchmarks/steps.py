"""Training steps beside those of PyTorch, or beside those of another checkout.

    python -m benchmarks.steps --against CHECKOUT           # old against new
    python -m benchmarks.steps --only resnet12 --size 84 --beside torch
    python -m benchmarks.steps --only maml anil --beside torch higher

`--beside` needs the `bench` extra. MAML and ANIL take a step on 4 tasks, 5-way 5-shot
15-query with 5 inner steps, Conv4; ``mtl`` and ``resnet12`` a step of MTL on one task
of 5 ways with Conv4 and ResNet-12, features of unit length and rows of a class table.
For ResNet-12 also the share of the machine's peak: operations are the multiplications
and additions of the convolutions as they are defined, three times those of the forward
pass, the peak is that of a matrix product. Winograd's convolutions need fewer than are
counted, so the share can be above 1.
"""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from benchmarks.harness import Contender, Result, race, report, write
from experiments.arguments import AtLeast, check, parse

Name = Literal["mtl", "resnet12", "maml", "first-order maml", "anil"]
GRADIENT_BASED = ("maml", "first-order maml", "anil")
# First order, `higher` leaves the start without a gradient.
BESIDE = {"torch": ("resnet12", *GRADIENT_BASED), "higher": ("maml",)}
_WIDTHS = (64, 160, 320, 640)
_SIDE = 2048
_PEAK = "matrix product"


@dataclasses.dataclass(frozen=True)
class Options:
    """Time training steps beside those of another package or checkout."""

    only: tuple[Name, ...] = ("mtl", "maml", "resnet12")
    """Which steps."""
    against: Path | None = None
    """Another checkout of this repository."""
    python: Path | None = None
    """Its interpreter. Default: that in its .venv."""
    beside: tuple[Literal["torch", "higher"], ...] = ()
    """Other packages."""
    bfloat16: bool = False
    """MTL's steps with the body in bfloat16, too."""
    size: Annotated[int | None, AtLeast(16)] = None
    """Height and width of the images. Default: 28, or 32 for ResNet-12."""
    channels: Annotated[int, AtLeast(1)] = 1
    """Channels of the images; ResNet-12 has 3."""
    width: Annotated[int, AtLeast(1)] = 64
    """Channels of Conv4."""
    images: Annotated[int, AtLeast(1)] = 50
    """Images of a task of MTL, a multiple of 5."""
    rounds: Annotated[int, AtLeast(1)] = 10
    """Timed steps of each."""
    output: Path | None = None
    """JSON file for the results."""


def operations(size: int, images: int) -> float:
    """Multiplications and additions of the convolutions of a step with ResNet-12."""
    total, before = 0, 3
    for width in _WIDTHS:
        pixels = size * size
        total += pixels * (9 * before * width + 2 * 9 * width * width + before * width)
        before, size = width, size // 2
    return 3 * 2.0 * total * images


def contenders(name: Name, options: Options) -> dict[str, Contender]:
    """Ours, the same of the other checkout, and those of other packages."""
    resnet = name == "resnet12"
    arguments = {
        "name": name,
        "size": options.size or (32 if resnet else 28),
        "channels": 3 if resnet else options.channels,
        "width": options.width,
        "images": options.images,
    }
    ours = Contender("ours:step", arguments)
    found = {"ours": ours}
    if options.against is not None:
        checkout = options.against.absolute()
        python = options.python or checkout / ".venv" / "bin" / "python"
        found["against"] = ours._replace(checkout=checkout, python=python)
    if options.bfloat16 and name not in GRADIENT_BASED:
        half = {**arguments, "dtype": "bfloat16"}
        found["bfloat16"] = ours._replace(options=half)
    for other in options.beside:
        if name in BESIDE[other]:
            function = "higher_step" if other == "higher" else "step"
            found[other] = Contender(f"pytorch:{function}", arguments)
            if options.bfloat16 and resnet:
                half = {**arguments, "dtype": "bfloat16"}
                found[f"{other} bfloat16"] = found[other]._replace(options=half)
    if resnet:
        found[_PEAK] = Contender("ours:matrix_product", {"side": _SIDE})
    return found


def measure(name: Name, options: Options) -> dict[str, Any]:
    """Time the contenders of a step, and print the figures."""
    results = race(contenders(name, options), rounds=options.rounds)
    found = report(name, results)
    if name in GRADIENT_BASED:
        for other in set(results) & set(BESIDE):
            losses = [results[key].answer for key in ("ours", other)]
            if not math.isclose(*losses, rel_tol=1e-3):
                raise RuntimeError(f"the first losses of {name} differ: {losses}")
    if name == "resnet12":
        found |= _shares(results, operations(options.size or 32, options.images))
    return found


def _shares(results: dict[str, Result], work: float) -> dict[str, float]:
    least = {name: min(result.seconds) for name, result in results.items()}
    peak = 2 * _SIDE**3 / least.pop(_PEAK)
    found = {"gflop": work / 1e9, "peak_gflops": peak / 1e9}
    for name, seconds in least.items():
        found[f"{name}_share_of_peak"] = work / seconds / peak
    for name, value in found.items():
        print(f"  {name:24} {value:.4g}")
    return found


def check_options(options: Options) -> None:
    """Raises ValueError for a bad argument."""
    check(options)
    if options.images % 5:
        raise ValueError("`images` must be a multiple of 5")


def main(options: Options) -> None:
    """Measure, print, and write the file if one is wanted."""
    check_options(options)
    write(options.output, {name: measure(name, options) for name in options.only})


if __name__ == "__main__":
    main(parse(Options, "benchmarks.steps", check_options))
