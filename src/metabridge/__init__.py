"""Multi-task learning and gradient-based meta-learning, trained and compared in JAX.

Names are imported when first used, so that ``metabridge --help`` does not wait for JAX.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
