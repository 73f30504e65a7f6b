"""CIFAR-FS and FC100: two class splits of CIFAR-100, from any form that people have.

Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019. https://arxiv.org/abs/1805.08136 (CIFAR-FS: 64/16/20 classes.)
Oreshkin, Rodriguez, Lacoste. TADAM: Task dependent adaptive metric for improved
few-shot learning. NeurIPS 2018. https://arxiv.org/abs/1805.10123 (FC100: 60/20/20,
split by superclass.)

Both use all 600 images of a class, from CIFAR-100's training and test files. Looked for
in `data_dir`, in this order:

- ``cifar100/VERSION/``, prepared with TFDS as array_record;
- the pickles of Lee et al. (MetaOptNet), ``CIFAR_FS_{train,val,test}.pickle`` or
  ``FC100_{train,val,test}.pickle``, there or in a folder ``CIFAR-FS`` or ``FC100``;
- ``cifar-100-python/``, with ``train``, ``test`` and ``meta``;
- ``cifar-100-python.tar.gz``, as its author publishes it; `metabridge prepare` gets it.

The classes, their order and their images are the same from each of them; in which order
the images of a class come, differs.
"""

import functools

from metabridge.data.datasets.cifar.loading import load as load
from metabridge.data.datasets.cifar.original import ARCHIVE
from metabridge.registry import register_dataset

register_dataset(
    "cifar_fs",
    functools.partial(load, "cifar_fs"),
    summary="CIFAR-100 split at random, 32x32 colour, 64/16/20 classes of 600",
    needs_data_dir=True,
    archives=(ARCHIVE,),
)
register_dataset(
    "fc100",
    functools.partial(load, "fc100"),
    summary="CIFAR-100 split by superclass, 32x32 colour, 60/20/20 classes of 600",
    needs_data_dir=True,
    archives=(ARCHIVE,),
)
