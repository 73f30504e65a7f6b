"""Options of a run: frozen dataclasses, their defaults and their JSON form.

Nothing here imports JAX, so that the command line answers at once. A field left None is
filled in by `resolve` with the dataset's recipe; a run folder holds what came out.
"""

import warnings as _warnings
from typing import Any as _Any

from metabridge.config.learners import ANILConfig as ANILConfig
from metabridge.config.learners import BOILConfig as BOILConfig
from metabridge.config.learners import GradientBasedConfig as GradientBasedConfig
from metabridge.config.learners import IMAMLConfig as IMAMLConfig
from metabridge.config.learners import LearnerOptions as LearnerOptions
from metabridge.config.learners import MAMLConfig as MAMLConfig
from metabridge.config.learners import MatchingConfig as MatchingConfig
from metabridge.config.learners import MetaOptNetConfig as MetaOptNetConfig
from metabridge.config.learners import MetaSGDConfig as MetaSGDConfig
from metabridge.config.learners import MTLConfig as MTLConfig
from metabridge.config.learners import ProtoNetConfig as ProtoNetConfig
from metabridge.config.learners import R2D2Config as R2D2Config
from metabridge.config.learners import ReptileConfig as ReptileConfig
from metabridge.config.learners import RFSConfig as RFSConfig
from metabridge.config.places import with_absolute_paths as with_absolute_paths
from metabridge.config.places import with_data_dir as with_data_dir
from metabridge.config.places import with_paths as with_paths
from metabridge.config.registration import options_of as options_of
from metabridge.config.registration import register as register
from metabridge.config.run import check as check
from metabridge.config.run import head_names as head_names
from metabridge.config.run import images_per_step as images_per_step
from metabridge.config.run import resolve as resolve
from metabridge.config.run import task_pool as task_pool
from metabridge.config.run import with_images as with_images
from metabridge.config.run import with_steps as with_steps
from metabridge.config.sections import Config as Config
from metabridge.config.sections import DataConfig as DataConfig
from metabridge.config.sections import DatasetName as DatasetName
from metabridge.config.sections import EvaluationConfig as EvaluationConfig
from metabridge.config.sections import HeadName as HeadName
from metabridge.config.sections import ModelConfig as ModelConfig
from metabridge.config.sections import ResolvedConfig as ResolvedConfig
from metabridge.config.sections import ResolvedData as ResolvedData
from metabridge.config.sections import ResolvedEvaluation as ResolvedEvaluation
from metabridge.config.sections import ResolvedModel as ResolvedModel
from metabridge.config.sections import ResolvedTrain as ResolvedTrain
from metabridge.config.sections import RunOptions as RunOptions
from metabridge.config.sections import TrainConfig as TrainConfig
from metabridge.config.serialise import from_json as from_json
from metabridge.config.serialise import resolved_from_json as resolved_from_json
from metabridge.config.serialise import to_json as to_json


def __getattr__(name: str) -> _Any:
    """Names of version 0.1."""
    from metabridge.registry import LEARNERS

    if name in ("OwnConfig", "LearnerConfig"):
        new, value = "LearnerOptions", LearnerOptions
    elif name == "ALGORITHMS":
        new = "metabridge.registry.LEARNERS"
        value = {key: entry.traits for key, entry in LEARNERS.items()}
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _warnings.warn(f"`{name}` is now `{new}`", FutureWarning, stacklevel=2)
    return value
