"""Kernel matrices of many points: tiles, files, products."""
