"""State dicts of small bodies under PyTorch's names, at random."""

import numpy as np

from metabridge.weights import Entry, StateDict

Arrays = dict[str, np.ndarray]
_WIDTHS = (4, 6, 8, 10)


def entries(arrays: Arrays) -> StateDict:
    """As `read_weights` gives them."""
    return {k: Entry(v.shape, lambda v=v: v) for k, v in arrays.items()}


class Maker:
    """Adds arrays under names, float32."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self._generator = np.random.default_rng(0)

    def normal(self, name: str, *shape: int, scale: float = 1.0) -> None:
        drawn = scale * self._generator.normal(size=shape)
        self.arrays[name] = drawn.astype(np.float32)

    def conv(self, name: str, outputs: int, inputs: int, side: int) -> None:
        scale = (2 / (inputs * side**2)) ** 0.5
        self.normal(f"{name}.weight", outputs, inputs, side, side, scale=scale)

    def batch_norm(self, name: str, width: int) -> None:
        for leaf in ("weight", "bias", "running_mean"):
            self.normal(f"{name}.{leaf}", width, scale=0.3)
        self.arrays[f"{name}.weight"] += 1
        self.normal(f"{name}.running_var", width, scale=0.3)
        self.arrays[f"{name}.running_var"] = np.exp(self.arrays[f"{name}.running_var"])
        self.arrays[f"{name}.num_batches_tracked"] = np.asarray(9)

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.normal(f"{name}.weight", outputs, inputs, scale=inputs**-0.5)
        self.normal(f"{name}.bias", outputs, scale=0.3)

    def layer_norm(self, name: str, width: int) -> None:
        self.normal(f"{name}.weight", width, scale=0.3)
        self.arrays[f"{name}.weight"] += 1
        self.normal(f"{name}.bias", width, scale=0.3)


def resnet(
    sizes: tuple[int, ...] = (2, 2, 2, 2),
    *,
    bottleneck: bool = False,
    widths: tuple[int, ...] = _WIDTHS,
    channels: int = 3,
) -> Arrays:
    """torchvision's, with its classifier."""
    maker = Maker()
    maker.conv("conv1", widths[0], channels, 7)
    maker.batch_norm("bn1", widths[0])
    before, factor = widths[0], 4 if bottleneck else 1
    for stage, (size, width) in enumerate(zip(sizes, widths, strict=True), 1):
        for block in range(size):
            name = f"layer{stage}.{block}"
            shapes = [(width, before, 3), (width, width, 3)]
            if bottleneck:
                shapes = [(width, before, 1), (width, width, 3), (4 * width, width, 1)]
            for number, shape in enumerate(shapes, 1):
                maker.conv(f"{name}.conv{number}", *shape)
                maker.batch_norm(f"{name}.bn{number}", shape[0])
            if (stage > 1 and not block) or before != factor * width:
                maker.conv(f"{name}.downsample.0", factor * width, before, 1)
                maker.batch_norm(f"{name}.downsample.1", factor * width)
            before = factor * width
    maker.linear("fc", 5, before)
    return maker.arrays


def resnet12(widths: tuple[int, ...] = _WIDTHS) -> Arrays:
    """As MetaOptNet names it."""
    maker = Maker()
    before = 3
    for stage, width in enumerate(widths, 1):
        name = f"layer{stage}.0"
        for number, channels in enumerate((before, width, width), 1):
            maker.conv(f"{name}.conv{number}", width, channels, 3)
            maker.batch_norm(f"{name}.bn{number}", width)
        maker.conv(f"{name}.downsample.0", width, before, 1)
        maker.batch_norm(f"{name}.downsample.1", width)
        before = width
    return maker.arrays


def vit(
    *,
    width: int = 12,
    depth: int = 2,
    patch: int = 4,
    side: int = 3,
    scales: bool = False,
    registers: str | None = None,
    named: int = 1,
) -> Arrays:
    """timm's; `named` of the tokens beside the patches have positions."""
    maker = Maker()
    maker.normal("cls_token", 1, 1, width)
    if registers:
        maker.normal(registers, 1, 2, width)
    maker.normal("pos_embed", 1, side * side + named, width)
    maker.conv("patch_embed.proj", width, 3, patch)
    maker.normal("patch_embed.proj.bias", width, scale=0.3)
    for block in range(depth):
        name = f"blocks.{block}"
        maker.layer_norm(f"{name}.norm1", width)
        maker.linear(f"{name}.attn.qkv", 3 * width, width)
        maker.linear(f"{name}.attn.proj", width, width)
        maker.layer_norm(f"{name}.norm2", width)
        maker.linear(f"{name}.mlp.fc1", 4 * width, width)
        maker.linear(f"{name}.mlp.fc2", width, 4 * width)
        if scales:
            maker.normal(f"{name}.ls1.gamma", width)
            maker.normal(f"{name}.ls2.gamma", width)
    maker.layer_norm("norm", width)
    maker.linear("head", 5, width)
    return maker.arrays
