"""Multi-task learning and gradient-based meta-learning, trained and compared in JAX.

Names are imported when first used, so that ``metabridge --help`` does not wait for JAX.
"""

from typing import Any as _Any

import lazy_loader as _lazy

_getattr, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> _Any:
    if name == "OwnConfig":  # of version 0.1
        from metabridge import config

        return config.OwnConfig
    return _getattr(name)
