"""A body of Flax NNX as a Linen module, so that learners apply it to any variables.

An NNX module holds its arrays. Here it is made anew in every call, without computing
anything, and given the variables: parameters (`nnx.Param`), and as running statistics
whatever else is in it (`nnx.BatchStat`, say), but for the state of its `nnx.Rngs`.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx, traverse_util
from jaxtyping import Array, Float, Key

_STATISTICS = "batch_stats"


class NNXBody(nn.Module):
    """An NNX module, made by ``make(rngs, input_shape)``.

    It is set to training or inference as `nnx.Module.train` and `nnx.Module.eval` do,
    and called with the inputs, and with `train` if its ``__call__`` names that. What it
    sows as `nnx.Intermediate` goes to the collection ``intermediates``.
    """

    make: Callable[[nnx.Rngs, tuple[int, ...]], nnx.Module]

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "N *X"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute features.

        Raises:
          ValueError: state that is not of floats, or no NNX module.
        """
        shape = inputs.shape[1:]
        if self.is_initializing():
            key = self.make_rng("params")
            _store(self, _checked(self.make(nnx.Rngs(key), shape)))
        dropout = self.make_rng("dropout") if self.has_rng("dropout") else None
        module = self._merged(shape, dropout)
        module.set_attributes(
            deterministic=not train or dropout is None,
            use_running_average=not train,
            raise_if_not_found=False,
        )
        named = "train" in inspect.signature(type(module).__call__).parameters
        features: Any = module
        features = features(inputs, **({"train": train} if named else {}))
        sown = nnx.pop(module, nnx.Intermediate)
        if self.is_mutable_collection("intermediates"):
            for name, value in _nested(sown).items():
                self.put_variable("intermediates", name, value)
        if not self.is_initializing() and self.is_mutable_collection(_STATISTICS):
            _, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
            for name, value in _nested(rest).items():
                self.put_variable(_STATISTICS, name, value)
        return features

    def _merged(self, shape: tuple[int, ...], key: Key[Array, ""] | None) -> nnx.Module:
        """The module with our variables for its own."""
        abstract = nnx.eval_shape(lambda: self.make(nnx.Rngs(0), shape))
        graph, params, rngs, rest = nnx.split(abstract, nnx.Param, nnx.RngState, ...)
        filled = (
            _filled(params, self.variables.get("params", {})),
            _filled(rest, self.variables.get(_STATISTICS, {})),
        )
        key = jax.random.key(0) if key is None else key
        return nnx.merge(graph, filled[0], _seeded(rngs, key), filled[1])


def _checked(module: Any) -> nnx.Module:
    if not isinstance(module, nnx.Module):
        raise ValueError(
            "the factory of a body that takes `rngs` must return an NNX module, but it "
            f"returned {type(module).__name__}"
        )
    _, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
    for path, leaf in traverse_util.flatten_dict(_nested(rest)).items():
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{'.'.join(path)} of the NNX body is of {jnp.result_type(leaf)}, but "
                "what is no parameter is averaged over tasks as running statistics "
                "are: keep it as floats, or as a Python number"
            )
    return module


def _store(owner: nn.Module, module: nnx.Module) -> None:
    """Keep the arrays of a module as Linen variables."""
    _, params, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
    for collection, state in (("params", params), (_STATISTICS, rest)):
        for name, value in _nested(state).items():
            owner.put_variable(collection, name, value)


def _nested(state: Any) -> dict[str, Any]:
    """Arrays of a state in dicts by name; numbers of lists as text."""
    pairs = nnx.to_flat_state(state)
    return traverse_util.unflatten_dict({_names(path): _value(x) for path, x in pairs})


def _filled(state: Any, variables: Mapping[str, Any]) -> Any:
    """A state with the arrays of these variables."""
    flat: Any = traverse_util.flatten_dict(dict(variables))
    return _replaced(state, lambda path, _: flat[_names(path)])


def _seeded(state: Any, key: Key[Array, ""]) -> Any:
    """The state of random streams: a key each, counted from 0."""
    counted = iter(range(len(nnx.to_flat_state(state))))

    def start(_: Any, leaf: Any) -> Array:
        number = next(counted)
        if isinstance(leaf, nnx.RngKey):
            return jax.random.fold_in(key, number)
        return jnp.zeros((), jnp.uint32)

    return _replaced(state, start)


def _replaced(state: Any, value_of: Callable[[Any, Any], Any]) -> Any:
    def changed(path: Any, leaf: Any) -> Any:
        value = value_of(path, leaf)
        return leaf.replace(value) if isinstance(leaf, nnx.Variable) else value

    flat = nnx.to_flat_state(state)
    return nnx.from_flat_state([(path, changed(path, leaf)) for path, leaf in flat])


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, path))


def _value(leaf: Any) -> Any:
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
