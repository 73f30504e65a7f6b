"""Weights of PyTorch's bodies, read without it and turned into variables of Flax's."""

from metabridge.weights.convert import Converted as Converted
from metabridge.weights.convert import convert as convert
from metabridge.weights.reading import Entry as Entry
from metabridge.weights.reading import StateDict as StateDict
from metabridge.weights.reading import read_weights as read_weights
