"""Datasets, one module for each source."""
