"""A run on regression tasks, from its options to its result."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from metabridge.files import write_json
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.regression.families import FAMILIES, Family
from metabridge.regression.fitting import fit
from metabridge.regression.learners import make_learner
from metabridge.regression.options import RegressionConfig
from metabridge.regression.results import write_result
from metabridge.regression.table import Table, read_table
from metabridge.regression.tasks import Source
from metabridge.runs import folder as run_folder
from metabridge.runs.provenance import provenance
from metabridge.training.guards import preemption
from metabridge.untrusted import expanded, quoted, read_json


@in_32_bits
def train(
    config: RegressionConfig,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    source: Source | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train on regression tasks, select on validation tasks, and test on unseen ones.

    Args:
      config: what to run.
      run_dir: a new or empty folder, or with `resume` that of an interrupted run.
        Default: a new one under ``runs/``.
      source: tasks of your own in place of those that `config` names.
      resume: go on with the run in `run_dir`; without one there, start it.

    Returns:
      The contents of ``result.json``: ``mse`` (in squared units of the targets),
      ``r2``, their 95 % intervals ``_ci95``, and others.

    Raises:
      ValueError: wrong options, data or folder, before any work starts.
      DivergenceError: the loss is not finite any more.
      Preempted: a signal has asked the run to stop, and it has saved.
    """
    source = load_source(config) if source is None else source
    _check_sizes(config, source)
    new = Path("runs") / f"regress-{config.name}-{source.name}"
    folder = run_folder.numbered(new) if run_dir is None else expanded(run_dir)
    result = _finished(folder, config, source, resume=resume)
    if result is not None:
        return result
    learner = make_learner(config, source)
    with run_folder.locked(folder), contextlib.ExitStack() as closing:
        closing.callback(give_back_host_memory)
        stop_asked = closing.enter_context(preemption.watched())
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.json").exists():
            write_json(folder / "config.json", _about(config, source))
            write_json(folder / "provenance.json", provenance())
        best = fit(config, source, learner, folder, stop_asked)
        return write_result(config, source, folder, best, _about(config, source))


def load_source(config: RegressionConfig) -> Family | Table:
    """The tasks that a configuration names.

    Raises:
      ValueError: an unknown name, or a table that cannot be used.
    """
    options = config.tasks
    if options.tasks.startswith("table:"):
        path = options.tasks.removeprefix("table:")
        assert options.group is not None  # checked with the options
        return read_table(
            path, group=options.group, targets=options.targets,
            features=options.features, min_rows=options.min_rows,
        )  # fmt: skip
    if options.tasks not in FAMILIES:
        raise ValueError(
            f"unknown `tasks` {quoted(options.tasks)}; known are "
            f"{', '.join(FAMILIES)} and table:PATH. Datasets of classes are for "
            "`metabridge train`"
        )
    if options.tasks == "shared_linear":
        return FAMILIES["shared_linear"](
            options.inputs, options.rank, noise=options.noise
        )
    return FAMILIES[options.tasks]()


def _check_sizes(config: RegressionConfig, source: Source) -> None:
    options = config.tasks
    source.check(options.shots, options.queries)
    for shots in (options.shots, *options.test_shots):
        source.check(shots, options.test_queries)


def _about(config: RegressionConfig, source: Source) -> dict[str, Any]:
    values = json.loads(json.dumps({**config.values(), "source": source.describe()}))
    if config.tasks.tasks.startswith("table:"):
        path = expanded(config.tasks.tasks.removeprefix("table:")).absolute()
        values["tasks"]["tasks"] = f"table:{path}"
    return values


def _finished(
    folder: Path, config: RegressionConfig, source: Source, *, resume: bool
) -> dict[str, Any] | None:
    """The result of a run that is finished; None of one to begin or to go on with.

    Raises:
      RunError: the folder cannot serve.
    """
    if not run_folder.holds_run(folder, resume=resume):
        return None
    before = run_folder.flatten(read_json(folder / "config.json"))
    run_folder.check_same(folder, before, run_folder.flatten(_about(config, source)))
    if not (folder / "result.json").is_file():
        return None
    try:
        return run_folder.read_result(folder) | {"run_dir": str(folder)}
    except run_folder.RunError:
        return None  # damaged; it is made anew from the checkpoints
