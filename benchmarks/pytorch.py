"""Training steps of PyTorch and of `higher`, for `benchmarks.steps`.

PyTorch's MAML calls its network with other weights and differentiates the inner steps
with `create_graph`; beside it stands that of the package `higher`, which learn2learn's
resembles. All do what ours does: Conv4 with max-pooling and batch statistics, softmax
cross-entropy, Adam. Weights are copied from ours, so that the first losses can be
compared. ResNet-12 has dropout for DropBlock, and PyTorch's own channels-first layout
and initialisation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.func import functional_call  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from benchmarks import ours
from benchmarks.ours import CLASSES, INNER_LR, STEPS, TASKS
from metabridge.types import Examples

_WIDTHS = (64, 160, 320, 640)
cross_entropy = functional.cross_entropy


def conv4(params: Any) -> nn.Sequential:
    """Body and linear layer with our parameters."""
    layers, weights = [], {}
    for number in range(4):
        kernel = params["body"][f"Conv_{number}"]["kernel"].transpose(3, 2, 0, 1)
        norm, place = params["body"][f"BatchNorm_{number}"], 4 * number
        width, before = kernel.shape[:2]
        layers += [
            nn.Conv2d(before, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        weights[f"0.{place}.weight"] = kernel
        weights[f"0.{place + 1}.weight"] = norm["scale"]
        weights[f"0.{place + 1}.bias"] = norm["bias"]
    linear = params["head"]["linear"]
    dimension, ways = linear["weights"].shape
    # Our features are [height * width, channels], PyTorch's the other way round.
    channels = params["body"]["BatchNorm_3"]["bias"].size
    grouped = linear["weights"].reshape(-1, channels, ways).transpose(2, 1, 0)
    weights["1.weight"] = grouped.reshape(ways, dimension)
    weights["1.bias"] = linear["bias"]
    network = nn.Sequential(
        nn.Sequential(*layers, nn.Flatten()), nn.Linear(dimension, ways)
    )
    network.load_state_dict({k: torch.tensor(np.array(v)) for k, v in weights.items()})
    return network


def _same(name: str, **options: Any) -> tuple[nn.Sequential, *tuple[Any, ...]]:
    """Our network, and images and labels of support and query of ours."""
    _, state, batch = ours.start(name=name, **options)

    def tensors(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
        images = np.array(examples.inputs).transpose(0, 1, 4, 2, 3).copy()
        return torch.tensor(images), torch.tensor(np.array(examples.labels)).long()

    return conv4(state.params), *tensors(batch.support), *tensors(batch.query)


def step(name: str, **options: Any) -> Callable[[], float]:
    """A training step of plain PyTorch, which returns its loss."""
    if name == "resnet12":
        half = options.get("dtype") == "bfloat16"
        return resnet_step(options["size"], options["images"], half=half)
    network, images, labels, query_images, query_labels = _same(name, **options)
    body, head = network
    second_order, anil = name != "first-order maml", name == "anil"

    def task_loss(task: int) -> torch.Tensor:
        x, x_query, adapted = images[task], query_images[task], network
        if anil:
            x, x_query, adapted = body(x), body(x_query), head
        now = dict(adapted.named_parameters())
        for _ in range(STEPS):
            gradients = torch.autograd.grad(
                cross_entropy(functional_call(adapted, now, x), labels[task]),
                list(now.values()),
                create_graph=second_order,
                # The features' graph serves all steps, and the outer gradient.
                retain_graph=second_order or anil,
            )
            moved = zip(now.items(), gradients, strict=True)
            now = {k: weight - INNER_LR * gradient for (k, weight), gradient in moved}
        logits = functional_call(adapted, now, x_query)
        return cross_entropy(logits, query_labels[task])

    return _training(torch.optim.Adam(network.parameters(), 1e-3), task_loss)


def higher_step(name: str, **options: Any) -> Callable[[], float]:
    """A training step of MAML by `higher`, which returns its loss."""
    import higher  # pyright: ignore[reportMissingImports]

    network, images, labels, query_images, query_labels = _same(name, **options)
    inner_optimizer = torch.optim.SGD(network.parameters(), INNER_LR)

    def task_loss(task: int) -> torch.Tensor:
        with higher.innerloop_ctx(
            network, inner_optimizer, copy_initial_weights=False
        ) as (now, inner):
            for _ in range(STEPS):
                inner.step(cross_entropy(now(images[task]), labels[task]))
            return cross_entropy(now(query_images[task]), query_labels[task])

    return _training(torch.optim.Adam(network.parameters(), 1e-3), task_loss)


def resnet_step(size: int, images: int, *, half: bool = False) -> Callable[[], float]:
    """A step of joint training with ResNet-12 and RAdam, which returns its loss.

    In `half` precision PyTorch's automatic casts compute the body in bfloat16.
    """
    torch.manual_seed(0)
    stages = [Stage(a, b) for a, b in zip((3, *_WIDTHS), _WIDTHS, strict=False)]
    body = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    table = nn.Parameter(0.04 * torch.randn(CLASSES, _WIDTHS[-1]))
    inputs = torch.randn(images, 3, size, size)
    labels = torch.arange(5).repeat_interleave(images // 5)

    def loss(_: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            features = body(inputs).float()
        return cross_entropy(functional.normalize(features) @ table[:5].T, labels)

    optimizer = torch.optim.RAdam([*body.parameters(), table], 1e-3)
    return _training(optimizer, loss, tasks=1)


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


def _training(
    optimizer: Any, task_loss: Callable[[int], torch.Tensor], tasks: int = TASKS
) -> Callable[[], float]:
    """A step on the mean of the tasks' losses, one backward pass a task."""

    def run() -> float:
        optimizer.zero_grad()
        total = 0.0
        for task in range(tasks):
            loss = task_loss(task) / tasks
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        return total

    return run
