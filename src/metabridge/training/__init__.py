"""From a configuration to a run folder with a trained learner and its result."""

from metabridge.runs.folder import RunError as RunError
from metabridge.runs.loggers import Logger as Logger
from metabridge.training.guards.divergence import DivergenceError as DivergenceError

from .train import train as train
