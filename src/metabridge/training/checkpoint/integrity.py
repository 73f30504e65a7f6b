"""Digests of checkpoints: what was saved is what comes back, to the bit."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from metabridge.parallel.mesh import one_copy

_BYTES = 16


def digest(tree: Any) -> str:
    """BLAKE2b of every leaf's path, dtype, shape and bytes, in tree order.

    Args:
      tree: of arrays; those spread over several processes are the same on all of them.

    Returns:
      Hexadecimal; the same wherever the arrays are.
    """
    hasher = hashlib.blake2b(digest_size=_BYTES)
    for path, leaf in jax.tree.leaves_with_path(tree):
        array = np.asarray(one_copy(leaf))
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        hasher.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        # As bytes: not all dtypes of JAX have a buffer of their own.
        hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def checksum(values: Mapping[str, Any]) -> str:
    """BLAKE2b of JSON values, whatever the order of their names."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=_BYTES).hexdigest()
