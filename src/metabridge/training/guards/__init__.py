"""Checks that end or repair a run in time: divergence, memory, disk, signals."""
