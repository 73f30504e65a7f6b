"""Few-shot datasets, their episodes and their augmentation.

Names are imported when first used, so that listing the datasets starts at once.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
