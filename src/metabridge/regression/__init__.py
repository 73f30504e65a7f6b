"""Few-shot regression: tasks, learners on squared loss, training and scores.

>>> from metabridge import regression
>>> config = regression.RegressionConfig(regression.MAML())
>>> regression.train(config)["mse"]

Names are imported when first used, so that the command line answers at once.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
