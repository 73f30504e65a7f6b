"""Digests: of contents alone, and of all of them."""

import jax.numpy as jnp
import numpy as np

from metabridge.training.checkpoint.integrity import checksum, digest

TREE = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.ones(2, jnp.int32)]}


def test_the_same_values_have_the_same_digest_wherever_they_are() -> None:
    same = {"b": [np.ones(2, np.int32)], "a": np.arange(6, dtype=np.float32)}
    same["a"] = np.asfortranarray(same["a"].reshape(2, 3))
    assert digest(TREE) == digest(same)
    assert len(digest(TREE)) == 32
    assert digest({"a": jnp.ones(2, jnp.bfloat16)}) == digest(
        {"a": np.asarray(jnp.ones(2, jnp.bfloat16))}
    )


def test_every_change_changes_it() -> None:
    one = np.arange(6, dtype=np.float32)
    changed = [
        {"a": TREE["a"]},
        {"a": TREE["a"], "c": TREE["b"]},
        {"a": TREE["a"].reshape(3, 2), "b": TREE["b"]},
        {"a": TREE["a"], "b": [jnp.ones(2, jnp.float32)]},
        {"a": np.nextafter(one, 7).reshape(2, 3), "b": TREE["b"]},
        {"a": TREE["a"], "b": [jnp.ones(1, jnp.int32), jnp.ones(1, jnp.int32)]},
        {"a": -TREE["a"], "b": TREE["b"]},
        {},
    ]
    found = [digest(tree) for tree in (TREE, *changed)]
    assert len(set(found)) == len(found)


def test_scalars_and_zeros_have_signs() -> None:
    assert digest({"a": jnp.asarray(0.0)}) != digest({"a": jnp.asarray(-0.0)})
    assert digest({"a": jnp.asarray(1.0)}) != digest({"a": jnp.ones(1)})


def test_a_checksum_is_of_the_values() -> None:
    assert checksum({"a": 1, "b": 0.1}) == checksum({"b": 0.1, "a": 1})
    assert checksum({"a": 1}) != checksum({"a": 2})
