"""Kernels of infinitely wide networks, and their evaluation in float64."""
