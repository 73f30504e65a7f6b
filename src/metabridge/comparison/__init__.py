"""Algorithms trained with equal budgets and compared, each in a process of its own."""

from metabridge.comparison.run import compare as compare
