"""Kernels of convolutional ReLU networks on images."""
