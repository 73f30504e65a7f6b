"""What JAX compiles, kept between the processes of a study."""

import os
from pathlib import Path


def keep_compiled(folder: Path) -> None:
    """Have JAX keep what it compiles in a folder, in processes to come as well.

    For before JAX is imported. Variables of the environment that are set stay. Short
    compilations are kept, too: a short run has some 150 of them, ten seconds in all.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.absolute()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
