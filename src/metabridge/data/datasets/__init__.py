"""Datasets, one module for each source, which registers its names."""

from metabridge.registry import DATASETS

len(DATASETS)  # registers those of all modules here, in one order
