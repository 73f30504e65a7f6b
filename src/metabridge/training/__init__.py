"""From a configuration to a run folder with a trained learner and its result."""

from metabridge.training.divergence import DivergenceError as DivergenceError
from metabridge.training.loggers import Logger as Logger
from metabridge.training.loop import train as train
from metabridge.training.run_folder import RunError as RunError
