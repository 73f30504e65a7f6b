"""Bodies: Flax modules that map inputs to features."""

from metabridge.models.conv4 import Conv4 as Conv4
from metabridge.models.conv4 import Conv4R2D2 as Conv4R2D2
from metabridge.models.dropblock import DropBlock as DropBlock
from metabridge.models.mlp import MLP as MLP
from metabridge.models.mlp import NTKDense as NTKDense
from metabridge.models.pooling import max_pool as max_pool
from metabridge.models.resnet import ResNet as ResNet
from metabridge.models.resnet12 import ResNet12 as ResNet12
from metabridge.models.vit import VisionTransformer as VisionTransformer
