"""Closeness of multi-task and gradient-based meta-learning at infinite width."""
