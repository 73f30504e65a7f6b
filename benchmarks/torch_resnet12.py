"""ResNet-12 in PyTorch, under the names that MetaOptNet, RFS and LibFewShot give it.

Lee, Maji, Ravichandran, Soatto. Meta-learning with differentiable convex optimization.
CVPR 2019, https://arxiv.org/abs/1904.03758 (section 4.1).
"""

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

_SLOPE = 0.1


class Block(nn.Module):
    """Three convolutions beside one of 1x1, then the maximum over 2x2."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        for number, channels in enumerate((before, width, width), 1):
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(width))
        shortcut = nn.Conv2d(before, width, 1, bias=False)
        self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.leaky_relu(self.bn1(self.conv1(x)), _SLOPE)
        y = functional.leaky_relu(self.bn2(self.conv2(y)), _SLOPE)
        y = self.bn3(self.conv3(y)) + self.downsample(x)
        return functional.max_pool2d(functional.leaky_relu(y, _SLOPE), 2)


class ResNet12(nn.Module):
    """Four stages of one block, and the average of the last map."""

    def __init__(self, widths: tuple[int, ...] = (64, 160, 320, 640)) -> None:
        super().__init__()
        for number, (before, width) in enumerate(
            zip((3, *widths), widths, strict=False), 1
        ):
            self.add_module(f"layer{number}", nn.Sequential(Block(before, width)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x.mean((2, 3))
