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

from metabridge.data.datasets.imagenet.loading import find as find
from metabridge.data.datasets.imagenet.loading import load as load
from metabridge.data.datasets.imagenet.specs import SPECS as SPECS
from metabridge.data.datasets.imagenet.specs import Spec as Spec
