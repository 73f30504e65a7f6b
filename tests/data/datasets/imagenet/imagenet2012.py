"""ImageNet as TFDS has it, of toys; importing this imports TensorFlow."""

import numpy as np
import tensorflow_datasets as tfds

from tests.data.datasets.imagenet.toys import Toy


class Imagenet2012(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
    """Of the features of the real one, in files without any loss."""

    VERSION = tfds.core.Version("5.1.0")
    toy: Toy

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(names=[*self.toy.pixels, "n99999999"]),
            "file_name": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        grey = np.full((1, 90, 80, 3), 7, np.uint8)
        for name, pixels in {**self.toy.pixels, "n99999999": grey}.items():
            for row, image in enumerate(pixels):
                file_name = f"{name}_{row}.JPEG"
                yield file_name, {"image": image, "label": name, "file_name": file_name}
