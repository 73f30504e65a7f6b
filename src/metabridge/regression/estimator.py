"""A regressor for a few examples, as scikit-learn has them, from a run."""

import json
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from metabridge.config.fields import hints_of, typed
from metabridge.learners import variables_of
from metabridge.regression.fitting import restore
from metabridge.regression.learners import make_learner, with_penalty
from metabridge.regression.options import (
    LEARNERS,
    ModelOptions,
    RegressionConfig,
    TaskOptions,
    TrainOptions,
)
from metabridge.regression.run import load_source
from metabridge.regression.tasks import Source
from metabridge.runs.folder import RunError, read_result
from metabridge.types import Examples
from metabridge.untrusted import expanded, read_json, shown


class FewShotRegressor(RegressorMixin, BaseEstimator):
    """What a run has learned, adapted to the examples of a new task.

    Args:
      run_dir: folder of a finished run of `metabridge regress`.
      source: tasks of your own, where the run was trained on such.

    Example:
      >>> model = FewShotRegressor("runs/regress-maml-sinusoids").fit(X, y)
      >>> model.predict(X_new)
    """

    def __init__(
        self, run_dir: str | os.PathLike[str], source: Source | None = None
    ) -> None:
        self.run_dir = run_dir
        self.source = source

    def fit(self, X: Any, y: Any) -> "FewShotRegressor":
        """Adapt to inputs ``[S, d]`` and targets ``[S]`` or ``[S, K]``, in their units.

        Raises:
          ValueError: other shapes than those of the run, or values that are not finite.
          RunError: no finished run, or tasks that are not those it was trained on.
        """
        config = read_config(self.run_dir)
        source, folder = self._load_source(config), expanded(self.run_dir)
        inputs = _matrix("X", X, source.num_inputs)
        targets = np.asarray(y, np.float32)
        self.flat_ = targets.ndim == 1
        targets = _matrix(
            "y", targets[:, None] if self.flat_ else targets, source.num_outputs
        )
        if len(inputs) != len(targets):
            raise ValueError(
                f"`X` has {len(inputs)} examples, but `y` {len(targets)}: pass a "
                "target for each"
            )
        learner = make_learner(config, source)
        penalty = read_result(folder).get("penalty")
        variables = variables_of(restore(folder, config, source).state)
        if penalty is not None:
            variables = with_penalty(variables, penalty)
        support = Examples(
            jnp.asarray(source.scale.inputs(inputs)),
            jnp.asarray(source.scale.targets(targets)),
        )
        adapted = learner.adapt(variables, support, ways=source.num_outputs)
        self.adapted_ = jax.device_get(adapted)
        self._made = learner, source
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "..."]:
        """Predict targets of inputs ``[N, d]``, shaped as those of `fit`."""
        check_is_fitted(self, "adapted_")
        if not hasattr(self, "_made"):  # it comes from a pickle
            config = read_config(self.run_dir)
            source = self._load_source(config)
            self._made = make_learner(config, source), source
        learner, source = self._made
        inputs = _matrix("X", X, source.num_inputs)
        scale = source.scale
        outputs = learner.logits(self.adapted_, jnp.asarray(scale.inputs(inputs)))
        found = np.asarray(jax.device_get(scale.outputs(outputs)))
        return found[:, 0] if self.flat_ else found

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: not the learner's functions, which are made anew."""
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_made"}

    def _load_source(self, config: RegressionConfig) -> Source:
        """The tasks that the run was trained on, whose scale is that of its body."""
        source = load_source(config) if self.source is None else self.source
        given = json.loads(json.dumps(source.describe()))
        trained = read_json(expanded(self.run_dir) / "config.json").get("source")
        if given != trained:
            raise RunError(
                f"the run in {shown(self.run_dir)} was trained on other tasks than "
                f"{source.name}, or on other values of theirs: pass those that it was "
                "trained on as `source`"
            )
        return source


def read_config(run_dir: str | os.PathLike[str]) -> RegressionConfig:
    """The options of a run of regression.

    Raises:
      RunError: there is none, or one of another kind.
    """
    path = expanded(run_dir) / "config.json"
    if not path.is_file():
        raise RunError(f"{shown(path.parent)} holds no run: there is no config.json")
    try:
        values = read_json(path)
        if values.get("kind") != "regression":
            raise ValueError("it is of a run of classification: `metabridge train`")
        return RegressionConfig(
            _section(LEARNERS[values["learner_name"]], values["learner"]),
            _section(TaskOptions, values["tasks"]),
            _section(ModelOptions, values["model"]),
            _section(TrainOptions, values["train"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{shown(path)} cannot be used: {error}") from error


def _section(kind: type, values: dict[str, Any]) -> Any:
    hints = hints_of(kind)
    return kind(**{name: typed(hints[name], v, name) for name, v in values.items()})


def _matrix(name: str, values: Any, width: int) -> Float[np.ndarray, "N d"]:
    found = np.asarray(values, np.float32)
    if found.ndim != 2 or found.shape[1] != width or not len(found):
        raise ValueError(
            f"`{name}` has the shape {list(found.shape)}, but the run takes "
            f"[N, {width}]"
        )
    if not np.isfinite(found).all():
        raise ValueError(f"`{name}` has values that are not finite")
    return found
