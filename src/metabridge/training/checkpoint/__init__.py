"""Checkpoints of a run: saved, verified, restored."""

from metabridge.training.checkpoint.record import START as START
from metabridge.training.checkpoint.record import Progress as Progress
from metabridge.training.checkpoint.record import TrainState as TrainState
from metabridge.training.checkpoint.record import digest as digest
from metabridge.training.checkpoint.store import Checkpoints as Checkpoints
from metabridge.training.checkpoint.store import DamagedError as DamagedError
