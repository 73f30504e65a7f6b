"""Vision transformers of PyTorch in the names of timm and of DINOv2.

Both have ``cls_token``, ``pos_embed``, ``patch_embed.proj`` and ``blocks.0`` with
``norm1``, ``attn.qkv``, ``attn.proj``, ``norm2``, ``mlp.fc1`` and ``mlp.fc2``, and
where there is layer scale ``ls1.gamma`` and ``ls2.gamma``. Registers are ``reg_token``
in timm and ``register_tokens`` in DINOv2, which has a ``mask_token`` beside, for
training alone.

Three things become what our body has, which is equal up to rounding: the factors of
layer scale are multiplied into the projection before them; the embedding of the class
token's position is added to the token; and the embeddings of the patches' positions are
interpolated to the size of the images, as the code does that the weights are of.
"""

import math
import re
from typing import Any

import numpy as np

from metabridge.weights.bicubic import resize
from metabridge.weights.reading import Entry, StateDict
from metabridge.weights.source import Path, Source, leaf_name

_ANCHOR = "patch_embed.proj.weight"
_REGISTERS = ("reg_token", "register_tokens")
_MASK = "mask_token"
_GAMMA = re.compile(r"(blocks\.\d+\.)ls([12])\.gamma")
_BEFORE = {"1": "attn.proj", "2": "mlp.fc2"}
_NAMES = {"attn_qkv": "attn.qkv", "attn_proj": "attn.proj", "mlp_fc1": "mlp.fc1"}
_NAMES |= {"mlp_fc2": "mlp.fc2", "patches": "patch_embed.proj"}
_TOKENS = {"class_token": "cls_token", "registers": "reg_token"}
_TOKENS |= {"positions": "pos_embed"}
# DINOv2 asks for so much more of a patch, so that rounding loses none.
_OFFSET = 0.1


def _name_of(path: Path) -> str:
    """``("params", "blocks_0", "norm1", "scale")`` is ``blocks.0.norm1.weight``."""
    *modules, leaf = path[1:]
    if not modules:
        return _TOKENS[leaf]
    block, *rest = modules
    names = [block.replace("blocks_", "blocks."), *rest]
    return leaf_name(".".join(_NAMES.get(name, name) for name in names), leaf)


def _options(entries: StateDict) -> dict[str, Any]:
    """Patch size and number of registers."""
    shape = entries[_ANCHOR].shape
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"{_ANCHOR} is {list(shape)}, which are no square patches")
    tokens = [entries[name].shape for name in _REGISTERS if name in entries]
    number = tokens[0][1] if tokens and len(tokens[0]) == 3 else 0
    return {"patch_size": shape[2], "registers": number}


def _prepare(entries: StateDict, size: tuple[int, int], patch: int) -> StateDict:
    done = dict(entries)
    done[_ANCHOR] = _flat_patches(entries[_ANCHOR])
    for name in list(entries):
        if found := _GAMMA.fullmatch(name):
            module = f"{found[1]}{_BEFORE[found[2]]}"
            _scale(done, module, done.pop(name))
    if {"cls_token", "pos_embed"} <= entries.keys():
        _tokens(done, size, patch)
    return done


def _flat_patches(kernel: Entry) -> Entry:
    """The convolution of the patches as a matrix, pixels in the order of ours."""
    outputs, *rest = kernel.shape

    def read() -> np.ndarray:
        return np.moveaxis(kernel.read(), 1, 3).reshape(outputs, -1)

    return Entry((outputs, math.prod(rest)), read)


def _scale(entries: StateDict, module: str, gamma: Entry) -> None:
    """Multiply the outputs of a layer, ``gamma * (W x + b)``, into its weights."""
    for leaf in ("weight", "bias"):
        if entry := entries.get(f"{module}.{leaf}"):
            entries[f"{module}.{leaf}"] = _scaled(entry, gamma, module)


def _scaled(entry: Entry, gamma: Entry, module: str) -> Entry:
    if gamma.shape != entry.shape[:1]:
        raise ValueError(
            f"the layer scale behind {module} is {list(gamma.shape)}, but must be "
            f"{list(entry.shape[:1])}"
        )

    def read() -> np.ndarray:
        factors = gamma.read().astype(np.float64)
        factors = factors.reshape(-1, *(1,) * (len(entry.shape) - 1))
        return (factors * entry.read()).astype(np.float32)

    return Entry(entry.shape, read)


def _tokens(entries: StateDict, size: tuple[int, int], patch: int) -> None:
    """Put class token, registers and positions in the form of ours."""
    dinov2 = entries.pop(_MASK, None) is not None
    token, positions = entries.pop("cls_token"), entries.pop("pos_embed")
    found = [entries.pop(name) for name in _REGISTERS if name in entries]
    tokens = [token, *found]
    if any(len(entry.shape) != 3 for entry in (*tokens, positions)):
        raise ValueError("its tokens and positions must be [1, number, width]")
    width = positions.shape[2]
    before = [entry.shape[1] for entry in tokens]
    grid, named = _grid(positions.shape[1], before)
    wanted = size[0] // patch, size[1] // patch

    def split() -> list[np.ndarray]:
        """Positions of the class token, of the registers and of the patches."""
        rows = positions.read()[0].astype(np.float64)
        of_tokens = np.zeros((sum(before), width))
        of_tokens[:named] = rows[:named]
        return [*np.split(of_tokens, before[:1]), rows[named:]]

    def token_of(number: int) -> Entry:
        entry = tokens[number]

        def read() -> np.ndarray:
            return (entry.read()[0] + split()[number]).astype(np.float32)

        return Entry(entry.shape[1:], read)

    def read_positions() -> np.ndarray:
        map_ = split()[-1].reshape(grid, grid, width)
        if wanted == (grid, grid):
            return map_.astype(np.float32)
        without = dinov2 and not found  # those with registers are of later code
        resized = resize(
            map_, wanted, antialias=not without, offset=_OFFSET if without else 0.0
        )
        return resized.astype(np.float32)

    entries["cls_token"] = token_of(0)
    if found:
        entries["reg_token"] = token_of(1)
    entries["pos_embed"] = Entry((*wanted, width), read_positions)


def _grid(count: int, before: list[int]) -> tuple[int, int]:
    """Side of the square of patches, and how many other tokens have positions.

    timm has weights whose positions are those of the patches alone, of the class token
    and the patches, or of all.
    """
    for named in (0, 1, sum(before)):
        side = math.isqrt(max(count - named, 0))
        if side > 0 and side * side == count - named:
            return side, named
    raise ValueError(f"its `pos_embed` of {count} tokens is no square of patches")


VIT = Source(
    _ANCHOR,
    _ANCHOR,
    _name_of,
    ("head.",),
    _options,
    _prepare,
)
