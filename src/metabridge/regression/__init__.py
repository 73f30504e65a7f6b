"""Few-shot regression: tasks, learners on squared loss, training and scores.

>>> from metabridge import regression
>>> config = regression.RegressionConfig(regression.MAML())
>>> regression.train(config)["mse"]
"""

import importlib
from typing import TYPE_CHECKING, Any

from metabridge.regression.options import ANIL as ANIL
from metabridge.regression.options import IMAML as IMAML
from metabridge.regression.options import MAML as MAML
from metabridge.regression.options import MTL as MTL
from metabridge.regression.options import R2D2 as R2D2
from metabridge.regression.options import ModelOptions as ModelOptions
from metabridge.regression.options import RegressionConfig as RegressionConfig
from metabridge.regression.options import TaskOptions as TaskOptions
from metabridge.regression.options import TrainOptions as TrainOptions

if TYPE_CHECKING:
    from metabridge.regression.estimator import FewShotRegressor as FewShotRegressor
    from metabridge.regression.evaluation import draw_tasks as draw_tasks
    from metabridge.regression.families import Family as Family
    from metabridge.regression.families import harmonics as harmonics
    from metabridge.regression.families import lines as lines
    from metabridge.regression.families import shared_linear as shared_linear
    from metabridge.regression.families import sinusoids as sinusoids
    from metabridge.regression.run import train as train
    from metabridge.regression.table import Table as Table
    from metabridge.regression.table import read_table as read_table
    from metabridge.regression.tasks import Scale as Scale

# With JAX, so only when they are asked for.
_PLACES = {
    "FewShotRegressor": "estimator",
    "draw_tasks": "evaluation",
    "Family": "families",
    "harmonics": "families",
    "lines": "families",
    "shared_linear": "families",
    "sinusoids": "families",
    "Table": "table",
    "read_table": "table",
    "Scale": "tasks",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PLACES[name]}")
    return getattr(module, name)
