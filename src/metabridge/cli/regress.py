"""`metabridge regress`: from arguments to a run on regression tasks."""

from collections.abc import Callable
from typing import Annotated, Any, Union

import tyro

from metabridge.regression.options import (
    LEARNERS,
    ModelOptions,
    RegressionConfig,
    RunOptions,
    TaskOptions,
    TrainOptions,
)


def regress_command() -> Callable[..., None]:
    """The command `regress`, each learner a command below it."""

    def regress(learner: Any) -> None:
        """Train a learner on regression tasks, and test it on unseen ones.

        Writes a run folder with the options, metrics (JSON lines and TensorBoard),
        checkpoints, result.json and a figure.
        """

    commands = (
        tyro.conf.subcommand(name, constructor=_regress(options))
        for name, options in LEARNERS.items()
    )
    learners = tuple(Annotated[Any, command] for command in commands)
    regress.__annotations__["learner"] = Union[learners]  # noqa: UP007
    return regress


def _regress(options: type) -> Callable[..., None]:
    def regress(
        learner: Any,
        tasks: TaskOptions,
        model: ModelOptions,
        train: TrainOptions,
        run: RunOptions,
    ) -> None:
        config = RegressionConfig(learner, tasks, model, train)
        from metabridge.regression.run import train as train_run

        result = train_run(config, run.run_dir, resume=run.resume)
        print(_text(result))

    regress.__annotations__["learner"] = options
    regress.__doc__ = (options.__doc__ or "").splitlines()[0]
    return regress


def _text(result: dict[str, Any]) -> str:
    """A result for the terminal."""
    lines = [
        f"\n{result['learner']} on {result['tasks_of']}, {result['shots']} shots, "
        f"{result['tasks']} unseen tasks",
        _row("mean squared error", result, "mse"),
        f"{'of the mean of the support':34}{result['baseline_mse']:.4g}",
        _row("explained variance R2", result, "r2"),
    ]
    for shots, other in result.get("by_shots", {}).items():
        if int(shots) != result["shots"]:
            lines.append(_row(f"mean squared error, {shots} shots", other, "mse"))
    for number, (mse, ci95) in result.get("mse_by_step", {}).items():
        lines.append(f"{f'  after {number} step(s)':34}{_interval(mse, ci95)}")
    if "principal_angle" in result:
        angle = result["principal_angle"]
        lines.append(f"{'angle to the tasks subspace':34}{angle:.4f} rad")
    if "penalty" in result:
        lines.append(f"penalty = {result['penalty']:g}")
    steps, seconds = result["train_steps"], result["train_seconds"]
    lines.append(f"trained {steps} steps in {seconds:.0f} s")
    lines.append(f"everything is in {result['run_dir']}")
    return "\n  ".join(lines)


def _row(title: str, values: dict[str, Any], name: str) -> str:
    return f"{title:34}{_interval(values[name], values[f'{name}_ci95'])}"


def _interval(value: float | None, ci95: float | None) -> str:
    """A number with its interval; None where an adaptation has diverged."""
    if value is None:
        return "not finite: the adaptation diverges; pass a smaller --inner-lr"
    if ci95 is None:
        return f"{value:.4g} (no interval: one task)"
    return f"{value:.4g} ± {ci95:.2g}"
