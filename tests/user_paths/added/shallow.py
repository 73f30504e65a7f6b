"""One dense layer."""

from flax import linen as nn

import metabridge


class Shallow(nn.Module):
    """ReLU features of the pixels."""

    width: int

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        return nn.relu(nn.Dense(self.width)(images.reshape(len(images), -1)))


metabridge.register_body("shallow", Shallow, width=16)
