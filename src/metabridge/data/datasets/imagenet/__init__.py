"""mini-ImageNet and tiered-ImageNet, from any form of them that people have.

Looked for in `data_dir`, in this order:

- ``NAME/VERSION/``, prepared with TFDS by `metabridge.data.datasets.imagenet.builders`;
- pickles of arrays (`metabridge.data.datasets.imagenet.pickles` lists them);
- ``train.csv``, ``val.csv``, ``test.csv`` with lines ``file name,class`` beside
  ``images/``, as Ravi and Larochelle's lists name the images of mini-ImageNet;
- class folders named by WordNet ids: ``train/CLASS/*``, ``validation/CLASS/*`` (or
  ``val``) and ``test/CLASS/*``, or all of them, as in ImageNet, in ``train/``,
  ``images/``, ``ILSVRC/Data/CLS-LOC/train/`` or `data_dir` itself;
- ``imagenet2012/VERSION/``, prepared with TFDS as array_record.

Where a class has more images than mini-ImageNet's 600, the first 600 by file name are
taken: without the lists nobody has the very images of Vinyals et al.
"""

import functools

from metabridge.data.datasets.imagenet.form import SPECS as SPECS
from metabridge.data.datasets.imagenet.form import Spec as Spec
from metabridge.data.datasets.imagenet.loading import find as find
from metabridge.data.datasets.imagenet.loading import load as load
from metabridge.registry import register_dataset

register_dataset(
    "mini_imagenet",
    functools.partial(load, "mini_imagenet"),
    summary="100 classes of ImageNet, 84x84 colour, 64/16/20 classes of 600",
    needs_data_dir=True,
)
register_dataset(
    "tiered_imagenet",
    functools.partial(load, "tiered_imagenet"),
    summary="608 classes of ImageNet split by category, 84x84 colour, 351/97/160 "
    "classes",
    needs_data_dir=True,
)
