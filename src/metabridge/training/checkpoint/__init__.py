"""Checkpoints of a run: saved, verified, restored."""
