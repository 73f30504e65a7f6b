"""Training steps of the gradient-based learners beside PyTorch's, in one run.

    python -m experiments.gbml_benchmark [--only maml ...] [--size 28 --width 64]

Needs the `bench` extra. PyTorch's MAML passes its weights to functions of them and
differentiates the inner steps with `create_graph`; beside it stands that of the package
`higher`, which learn2learn's resembles. All do the same: Conv4 with
max-pooling and batch statistics, softmax cross-entropy, 4 tasks, 5-way 5-shot 15-query,
5 inner steps, Adam. Weights are copied, so that the first losses can be compared. Each
runs in a process of its own, since idle threads of one would slow the other; let them
run alone. The best of the repeats counts.
"""

import dataclasses
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal

import higher  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch  # pyright: ignore[reportMissingImports]
import tyro
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from metabridge.learners import Learner, anil, maml
from metabridge.models import Conv4
from metabridge.types import Examples, Task

Name = Literal["maml", "first-order maml", "anil"]
WAYS, SHOTS, QUERIES, TASKS, STEPS, INNER_LR = 5, 5, 15, 4, 5, 0.01


@dataclasses.dataclass(frozen=True)
class Options:
    """Time training steps of ours and of PyTorch's."""

    only: tuple[Name, ...] = ("maml", "first-order maml", "anil")
    """Which learners."""
    size: int = 28
    """Height and width of the images."""
    channels: int = 1
    """Channels of the images."""
    width: int = 64
    """Channels of Conv4."""
    repeats: int = 5
    """Timed steps of each."""
    output: Path | None = None
    """JSON file for the results."""


def batch_of(options: Options) -> Task:
    """Four tasks of noise: speed does not depend on what the images show."""
    generator = np.random.default_rng(0)

    def examples(per_class: int) -> Examples:
        shape = (TASKS, WAYS * per_class, options.size, options.size, options.channels)
        labels = np.tile(np.repeat(np.arange(WAYS), per_class), (TASKS, 1))
        return Examples(
            jnp.asarray(generator.normal(size=shape), jnp.float32),
            jnp.asarray(labels, jnp.int32),
        )

    classes = jnp.tile(jnp.arange(WAYS, dtype=jnp.int32), (TASKS, 1))
    return Task(examples(SHOTS), examples(QUERIES), classes, -jnp.ones(TASKS, int))


def learner_of(name: Name, options: Options) -> Learner:
    """Ours."""
    body, optimizer = Conv4(options.width), optax.adam(1e-3)
    shared: dict[str, Any] = {
        "ways": WAYS,
        "inner_lr": INNER_LR,
        "inner_steps": STEPS,
    }
    if name == "anil":
        return anil(body, optimizer, **shared)
    return maml(body, optimizer, first_order=name == "first-order maml", **shared)


Weights = dict[str, torch.Tensor]


def torch_weights(params: Any) -> Weights:
    """Our parameters as PyTorch has them, kernels ``[out, in, height, width]``."""
    found: dict[str, np.ndarray] = {}
    for layer in range(4):
        kernel = np.asarray(params["body"][f"Conv_{layer}"]["kernel"])
        norm = params["body"][f"BatchNorm_{layer}"]
        found[f"kernel {layer}"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        found[f"scale {layer}"] = np.array(norm["scale"])
        found[f"shift {layer}"] = np.array(norm["bias"])
    linear = params["head"]["linear"]
    found["weights"], found["bias"] = map(np.array, (linear["weights"], linear["bias"]))
    return {k: torch.from_numpy(v).requires_grad_() for k, v in found.items()}


def torch_features(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    for layer in range(4):
        x = functional.conv2d(x, weights[f"kernel {layer}"], padding=1)
        x = functional.batch_norm(
            x,
            None,
            None,
            weights[f"scale {layer}"],
            weights[f"shift {layer}"],
            training=True,
        )
        x = functional.max_pool2d(functional.relu(x), 2)
    return x.permute(0, 2, 3, 1).flatten(1)


def torch_batch(batch: Task) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Images ``[T, N, channels, H, W]`` and labels of support and query."""
    images = [
        torch.from_numpy(np.array(x).transpose(0, 1, 4, 2, 3).copy())
        for x in (batch.support.inputs, batch.query.inputs)
    ]
    labels = [
        torch.from_numpy(np.array(y)).long()
        for y in (batch.support.labels, batch.query.labels)
    ]
    return images, labels


def torch_step(name: Name, weights: Weights, batch: Task) -> Callable[[], float]:
    """A training step of plain PyTorch, which returns its loss."""
    optimizer = torch.optim.Adam(list(weights.values()), 1e-3)
    images, labels = torch_batch(batch)
    adapted_names = ("weights", "bias") if name == "anil" else tuple(weights)
    second_order = name != "first-order maml"

    def loss_of(w: Weights, features: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(features @ w["weights"] + w["bias"], y)

    def task_loss(task: int) -> torch.Tensor:
        (x, x_query), (y, y_query) = (
            [part[task] for part in parts] for parts in (images, labels)
        )
        now = dict(weights)
        frozen = torch_features(now, x) if name == "anil" else None
        for _ in range(STEPS):
            features = torch_features(now, x) if frozen is None else frozen
            slopes = torch.autograd.grad(
                loss_of(now, features, y),
                [now[k] for k in adapted_names],
                create_graph=second_order,
                # The features' graph serves all steps, and the outer gradient.
                retain_graph=second_order or frozen is not None,
            )
            for key, slope in zip(adapted_names, slopes, strict=True):
                now[key] = now[key] - INNER_LR * slope
        return loss_of(now, torch_features(now, x_query), y_query)

    def step() -> float:
        optimizer.zero_grad()
        total = 0.0
        for task in range(TASKS):
            loss = task_loss(task) / TASKS
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        return total

    return step


class TorchConv4(torch.nn.Module):
    """The same network as a module, for `higher`."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        named = {k.replace(" ", "_"): v for k, v in weights.items()}
        self.weights = torch.nn.ParameterDict(
            {k: torch.nn.Parameter(v.detach().clone()) for k, v in named.items()}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = {k.replace("_", " "): v for k, v in self.weights.items()}
        return torch_features(w, x) @ w["weights"] + w["bias"]


def higher_step(name: Name, weights: Weights, batch: Task) -> Callable[[], float]:
    """A training step of MAML by `higher`, which returns its loss."""
    network = TorchConv4(weights)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    inner_optimizer = torch.optim.SGD(network.parameters(), INNER_LR)
    images, labels = torch_batch(batch)

    def step() -> float:
        optimizer.zero_grad()
        total = 0.0
        for task in range(TASKS):
            with higher.innerloop_ctx(
                network,
                inner_optimizer,
                copy_initial_weights=False,
                track_higher_grads=name == "maml",
            ) as (now, inner):
                for _ in range(STEPS):
                    said = now(images[0][task])
                    inner.step(functional.cross_entropy(said, labels[0][task]))
                said = now(images[1][task])
                loss = functional.cross_entropy(said, labels[1][task]) / TASKS
                loss.backward()
                total += float(loss.detach())
        optimizer.step()
        return total

    return step


def our_step(name: Name, options: Options) -> tuple[Callable[[], float], float]:
    """A training step of ours, which returns its loss, and the time of compilation."""
    batch, learner = batch_of(options), learner_of(name, options)
    key = jax.random.key(0)
    state = jax.jit(learner.init)(key, batch.support.inputs[0])
    since = time.perf_counter()
    compiled = jax.jit(learner.step).lower(key, state, batch).compile()
    seconds = time.perf_counter() - since
    return lambda: float(compiled(key, state, batch)[1].loss), seconds


def timed(which: str, name: Name, options: Options) -> dict[str, float]:
    """The first loss and the least milliseconds of a step, of ours or of another."""
    found: dict[str, float] = {}
    if which == "ours":
        step, found["compile_seconds"] = our_step(name, options)
    else:
        batch, learner = batch_of(options), learner_of(name, options)
        state = learner.init(jax.random.key(0), batch.support.inputs[0])
        make = higher_step if which == "higher" else torch_step
        step = make(name, torch_weights(state.params), batch)
    found["loss"] = step()
    times = []
    for _ in range(options.repeats):
        since = time.perf_counter()
        step()
        times.append(time.perf_counter() - since)
    return found | {"ms": 1e3 * min(times)}


def measure(name: Name, options: Options) -> dict[str, float]:
    """Milliseconds a step of each, and seconds of ours to compile."""
    # First order, `higher` leaves the start without a gradient.
    contenders = ["ours", "torch", *(["higher"] if name == "maml" else [])]
    found: dict[str, dict[str, float]] = {}
    for which in contenders:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found[which] = pool.submit(timed, which, name, options).result()
        np.testing.assert_allclose(
            found[which]["loss"], found["ours"]["loss"], rtol=1e-3
        )
    result = {f"{which}_ms": found[which]["ms"] for which in contenders}
    for which in contenders[1:]:
        factor = found[which]["ms"] / found["ours"]["ms"]
        result[f"times_faster_than_{which}"] = factor
    return result | {"compile_seconds": found["ours"]["compile_seconds"]}


def main(options: Options) -> None:
    """Measures, prints, and writes the file if one is wanted."""
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "jax": jax.__version__,
        "torch": torch.__version__,
        "options": dataclasses.asdict(options) | {"output": None},
    }
    print(f"{results['machine']}, JAX {jax.__version__}, PyTorch {torch.__version__}")
    print(f"load before: {results['load']:.1f}")
    for name in options.only:
        results[name] = measure(name, options)
        print(name)
        for key, value in results[name].items():
            print(f"  {key:26} {value:10.4g}")
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
