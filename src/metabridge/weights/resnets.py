"""ResNets of PyTorch: torchvision's, and the ResNet-12 of few-shot learning.

The names of ResNet-12 are those of MetaOptNet (Lee et al., CVPR 2019), which RFS (Tian
et al., ECCV 2020), LibFewShot, FEAT and others have taken over; before them stands
``embedding.module.``, ``model.``, ``emb_func.`` or the like. Four stages
of one block, ``layer1.0`` to ``layer4.0``, each of ``conv1`` to ``conv3`` and
``downsample``, leaky ReLUs of slope 0.1 and a maximum over 2x2.
"""

from metabridge.weights.source import Path, Source, leaf_name

_ANCHOR = "layer1.0.conv1.weight"
_LAYERS = 4  # convolutions of a stage of ResNet-12: the shortcut's, then the others


def _of_resnet(path: Path) -> str:
    """``("params", "layer1_0", "conv1", "kernel")`` is ``layer1.0.conv1.weight``."""
    *modules, leaf = path[1:]
    return leaf_name(".".join(modules).replace("_", "."), leaf)


def _of_resnet12(path: Path) -> str | None:
    """``("params", "Conv_5", "kernel")`` is ``layer2.0.conv1.weight``."""
    _, module, leaf = path
    kind, _, number = module.partition("_")
    if kind == "DropBlock":  # counts calls
        return None
    stage, layer = divmod(int(number), _LAYERS)
    norm = kind == "BatchNorm"
    name = f"{'bn' if norm else 'conv'}{layer}" if layer else f"downsample.{norm:d}"
    return leaf_name(f"layer{stage + 1}.0.{name}", leaf)


RESNET = Source(_ANCHOR, "conv1.weight", _of_resnet, ("fc.",))
RESNET12 = Source(_ANCHOR, _ANCHOR, _of_resnet12, ("classifier.", "fc."))
