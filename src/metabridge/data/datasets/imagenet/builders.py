"""TFDS builders of mini-ImageNet and tiered-ImageNet, to prepare them once and share.

Importing this module makes them known to TFDS, by the names that `load_dataset` takes::

    import tensorflow_datasets as tfds
    from metabridge.data.datasets.imagenet import builders

    config = tfds.download.DownloadConfig(manual_dir="FOLDER")
    builder = tfds.builder("mini_imagenet", data_dir="DATA", file_format="array_record")
    builder.download_and_prepare(download_config=config)

FOLDER holds one of the forms that this package lists, if it names classes
by WordNet ids, as class folders, lists and the pickles of mini-ImageNet with
``class_dict`` do; those of tiered-ImageNet do not. Preparing needs TensorFlow, reading
what was prepared does not.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from metabridge.data.dataset import SPLITS
from metabridge.data.datasets.imagenet import loading
from metabridge.data.datasets.imagenet.form import SIDE, SPECS, Images
from metabridge.data.reading import Reading


class _FromImageNet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The common part of both."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "`manual_dir` must hold one of the forms that metabridge.data.datasets.imagenet"
        " lists, with classes named by WordNet ids, as ImageNet's class folders are"
    )

    def _info(self) -> tfds.core.DatasetInfo:
        spec = SPECS[self.name]
        names = sorted(name for split in SPLITS for name in spec.classes[split])
        features = {
            "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=names),
            "file_name": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://www.image-net.org",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        spec = SPECS[self.name]
        form = loading.find(spec, dl_manager.manual_dir)
        found = {split: loading.checked(spec, form, split) for split in SPLITS}
        for split, images in found.items():
            if set(images.rows) != set(spec.classes[split]):
                raise ValueError(
                    f"{form.text} does not name its classes by WordNet ids"
                )
        return {split: self._generate_examples(found[split]) for split in SPLITS}

    def _generate_examples(self, images: Images) -> Iterator[tuple[str, Any]]:
        for name, rows in images.rows.items():
            pixels = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
            images.decode(rows, pixels, False, Reading())
            for row, image in enumerate(pixels):
                key = f"{name}_{row:05d}"
                yield key, {"image": image, "label": name, "file_name": key}


class MiniImagenet(_FromImageNet):
    """100 classes of ImageNet with 600 images each, 84x84, divided 64/16/20.

    Vinyals et al. Matching networks for one shot learning. NeurIPS 2016; classes
    divided by Ravi, Larochelle. Optimization as a model for few-shot learning. ICLR
    2017.
    """


class TieredImagenet(_FromImageNet):
    """608 classes of ImageNet, 84x84, divided 351/97/160 by category.

    Ren et al. Meta-learning for semi-supervised few-shot classification. ICLR 2018.
    """
