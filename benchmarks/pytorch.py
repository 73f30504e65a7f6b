"""Training steps of PyTorch and of `higher`, for `benchmarks.steps`.

PyTorch's MAML passes its weights to functions of them and differentiates the inner
steps with `create_graph`; beside it stands that of the package `higher`, which
learn2learn's resembles. All do what ours does: Conv4 with max-pooling and batch
statistics, softmax cross-entropy, Adam. Weights are copied from ours, so that the first
losses can be compared. ResNet-12 has dropout for DropBlock, and PyTorch's own
channels-first layout and initialisation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from benchmarks import ours
from benchmarks.ours import CLASSES, INNER_LR, STEPS, TASKS
from metabridge.types import Task

_WIDTHS = (64, 160, 320, 640)
Weights = dict[str, torch.Tensor]
Images = list[torch.Tensor]
Labels = list[torch.Tensor]


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


def torch_batch(batch: Task) -> tuple[Images, Labels]:
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


def step(name: str, **options: Any) -> Callable[[], float]:
    """A training step of plain PyTorch, which returns its loss."""
    if name == "resnet12":
        return resnet_step(options["size"], options["images"])
    weights, images, labels = _same(name, **options)
    optimizer = torch.optim.Adam(list(weights.values()), 1e-3)
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
            gradients = torch.autograd.grad(
                loss_of(now, features, y),
                [now[k] for k in adapted_names],
                create_graph=second_order,
                # The features' graph serves all steps, and the outer gradient.
                retain_graph=second_order or frozen is not None,
            )
            for key, gradient in zip(adapted_names, gradients, strict=True):
                now[key] = now[key] - INNER_LR * gradient
        return loss_of(now, torch_features(now, x_query), y_query)

    def run() -> float:
        optimizer.zero_grad()
        total = 0.0
        for task in range(TASKS):
            loss = task_loss(task) / TASKS
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        return total

    return run


class TorchConv4(nn.Module):
    """The same network as a module, for `higher`."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        named = {k.replace(" ", "_"): v for k, v in weights.items()}
        self.weights = nn.ParameterDict(
            {k: nn.Parameter(v.detach().clone()) for k, v in named.items()}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = {k.replace("_", " "): v for k, v in self.weights.items()}
        return torch_features(w, x) @ w["weights"] + w["bias"]


def higher_step(name: str, **options: Any) -> Callable[[], float]:
    """A training step of MAML by `higher`, which returns its loss."""
    import higher  # pyright: ignore[reportMissingImports]

    weights, images, labels = _same(name, **options)
    network = TorchConv4(weights)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    inner_optimizer = torch.optim.SGD(network.parameters(), INNER_LR)

    def run() -> float:
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
                    logits = now(images[0][task])
                    inner.step(functional.cross_entropy(logits, labels[0][task]))
                logits = now(images[1][task])
                loss = functional.cross_entropy(logits, labels[1][task]) / TASKS
                loss.backward()
                total += float(loss.detach())
        optimizer.step()
        return total

    return run


def resnet_step(size: int, images: int) -> Callable[[], float]:
    """A step of joint training with ResNet-12 and RAdam, which returns its loss."""
    torch.manual_seed(0)
    stages = [Stage(a, b) for a, b in zip((3, *_WIDTHS), _WIDTHS, strict=False)]
    body = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    table = nn.Parameter(0.04 * torch.randn(CLASSES, _WIDTHS[-1]))
    optimizer = torch.optim.RAdam([*body.parameters(), table], 1e-3)
    inputs = torch.randn(images, 3, size, size)
    labels = torch.arange(5).repeat_interleave(images // 5)

    def run() -> float:
        optimizer.zero_grad()
        scores = functional.normalize(body(inputs)) @ table[:5].T
        loss = functional.cross_entropy(scores, labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return run


class Stage(nn.Module):
    """A stage of ResNet-12."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(before, width, 3), _conv(width, width, 3)
        self.third, self.shortcut = _conv(width, width, 3), _conv(before, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.leaky_relu(self.first(x), 0.1)
        y = self.third(functional.leaky_relu(self.second(y), 0.1))
        y = functional.leaky_relu(y + self.shortcut(x), 0.1)
        return functional.dropout(functional.max_pool2d(y, 2), 0.1)


def _conv(before: int, width: int, side: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, width, side, padding=side // 2, bias=False),
        nn.BatchNorm2d(width),
    )


def _same(name: str, **options: Any) -> tuple[Weights, Images, Labels]:
    """Weights and batch of ours."""
    _, state, batch = ours.start(name=name, **options)
    return torch_weights(state.params), *torch_batch(batch)
