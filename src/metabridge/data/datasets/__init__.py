"""Datasets, one module for each source, which registers its names."""
