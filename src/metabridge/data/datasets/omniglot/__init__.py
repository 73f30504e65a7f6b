"""Omniglot: handwritten characters of 50 alphabets, 20 drawings of each.

Lake, Salakhutdinov, Tenenbaum. Human-level concept learning through probabilistic
program induction. Science 350, 2015. https://doi.org/10.1126/science.aab3050

Training uses the authors' background set less five alphabets, which are held out
whole for validation; test is their evaluation set. Much published work instead
mixes characters of all alphabets (Vinyals et al., 2016), or adds rotated copies as
classes; neither is done here, so that test alphabets are unseen.

Looked for in `data_dir`, in this order:

- ``omniglot/VERSION/``, prepared with TFDS as array_record;
- ``images_background/ALPHABET/characterNN/*.png`` and ``images_evaluation/``, or the
  authors' archives ``images_background.zip`` and ``images_evaluation.zip``, which
  `metabridge prepare` gets; there or in ``omniglot-py/`` (torchvision), ``omniglot/``,
  ``omniglot/python/`` or ``python/`` (the authors' repository).
"""

from metabridge.data.datasets.omniglot.loading import (
    VALIDATION_ALPHABETS as VALIDATION_ALPHABETS,
)
from metabridge.data.datasets.omniglot.loading import ink as ink
from metabridge.data.datasets.omniglot.loading import load as load
from metabridge.data.datasets.omniglot.original import ARCHIVES
from metabridge.registry import DRAWINGS, register_dataset

register_dataset(
    "omniglot",
    load,
    summary="handwritten characters of 50 alphabets, 28x28, 828/136/659 classes of 20",
    needs_data_dir=True,
    recipe={**DRAWINGS, "images": 600_000},
    archives=ARCHIVES,
)
