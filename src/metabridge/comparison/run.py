"""Several algorithms, trained one after another with equal budgets."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from metabridge import build, unions
from metabridge.comparison.curves import efficiency_curves
from metabridge.comparison.processes import in_a_process, in_processes
from metabridge.comparison.summary import summary, table
from metabridge.config import Config, LearnerOptions, ResolvedConfig, with_images
from metabridge.config.fields import Range
from metabridge.data.dataset import Dataset
from metabridge.data.registry import load_dataset
from metabridge.files import finite, write_json, write_text
from metabridge.plugins import import_plugins
from metabridge.precision import in_32_bits
from metabridge.registry import BODIES, DATASETS, HEADS, LEARNERS
from metabridge.runs import folder as run_folder
from metabridge.runs import given, inputs
from metabridge.task_shape import describe
from metabridge.training import train
from metabridge.untrusted import expanded

Contender = str | LearnerOptions | tuple[LearnerOptions, Mapping[str, Any]]
"""A learner's name, which stands for its defaults; its options; or these and the fields
of `TrainConfig` in which it differs from all."""
COMMON = ("minutes", "steps", "seed", "validation_tasks")
"""Fields of `TrainConfig` that all have alike: the budget, and validation."""

_KILLED = "the process was killed; perhaps the machine's memory ran out"


@in_32_bits
def compare(
    algorithms: Sequence[Contender],
    config: Config | None = None,
    *,
    images: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    dataset: Dataset | None = None,
) -> dict[str, Any]:
    """Train and score algorithms with equal budgets, and write the results.

    Each has a process of its own, one at a time, so a script calls this under
    ``if __name__ == "__main__":``. Each has a run folder of its own; a run that is
    finished there is taken as it is, one that was interrupted goes on.

    Args:
      algorithms: learners' names or options, or pairs of options and the fields of
        `TrainConfig` in which it differs, as in ``(ANILConfig(), {"learning_rate":
        0.01})``. The cost of all is held against the first's.
      config: of all. Its `minutes` are the training time of each, by default 1.
      images: training images of each, instead of the time.
      folder: of the run folders, ``compare.md``, ``compare.json`` and
        ``efficiency.png``. Default: one under ``runs/`` named for the task.
      dataset: one of your own arrays (`metabridge.data.from_arrays`) in place of that
        which `config` names; it is saved in the folder, where the processes find it.

    Returns:
      The content of ``compare.json``, and the folder; a run that failed has its reason
      under ``"error"``.

    Raises:
      ValueError: anything wrong, before the first training.
    """
    config = Config() if config is None else config
    if dataset is not None:
        folder = Path("runs") / f"compare-{dataset.name}" if folder is None else folder
        config = _with_saved(config, dataset, expanded(folder) / "dataset.npz")
    configs = plan(algorithms, config, images)
    if folder is None:
        folder = Path("runs") / f"compare-{run_folder.task_name(config)}"
    folder = expanded(folder)
    _check(configs, folder)
    folder.mkdir(parents=True, exist_ok=True)
    errors: dict[str, str | None] = {}
    for number, (name, planned) in enumerate(configs.items(), start=1):
        run_dir = folder / name
        finished = (run_dir / "result.json").is_file()
        print(f"{number} of {len(configs)}: {name}", flush=True)
        errors[name] = None if finished else train_in_a_process(planned, run_dir)
    found = {"title": _title(configs, images), **summary(folder, errors)}
    write_json(folder / "compare.json", finite(found))
    write_text(folder / "compare.md", table(found))
    efficiency_curves(found, folder / "efficiency.png")
    return found | {"folder": str(folder)}


def _with_saved(config: Config, dataset: Dataset, path: Path) -> Config:
    """The configuration with a dataset that is saved in a file.

    Raises:
      ValueError: the file holds another dataset, or the configuration names one.
    """
    name = f"npz:{path.absolute()}"
    config = given.naming(config, name, dataset.name)
    if path.exists():
        if load_dataset(name).fingerprint() != dataset.fingerprint():
            raise ValueError(
                f"{path} holds another dataset than that which was given: choose "
                "another `folder`"
            )
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save(path)
    return config


def plan(
    algorithms: Sequence[Contender], config: Config, images: int | None
) -> dict[str, ResolvedConfig]:
    """The resolved configuration of each algorithm, their budgets equal."""
    contenders = [_contender(algorithm) for algorithm in algorithms]
    for registry, wanted in (
        *((DATASETS, part) for part in unions.split_name(config.data.dataset)),
        (BODIES, config.model.model),
        (HEADS, config.evaluation.head),
    ):
        if wanted is not None and wanted in registry:
            _check_visible(registry[wanted].factory, wanted)
    names = [Config(learner).algorithm for learner, _ in contenders]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"`algorithms` are {', '.join(names)!r}, but must be different ones, one "
            "at least"
        )
    asked = config.train
    if asked.steps or (images is not None and asked.minutes is not None):
        raise ValueError(
            "a comparison gives each algorithm equal `minutes` or equal `images`; "
            "pass one of the two, and no `steps`"
        )
    if images is not None:
        Range(1).check("images", images)
    minutes = 1.0 if asked.minutes is None else asked.minutes
    configs = {}
    for name, (learner, changes) in zip(names, contenders, strict=True):
        if taken := [field for field in COMMON if field in changes]:
            raise ValueError(
                f"{name} has `{taken[0]}` of its own, but in a comparison all have the "
                "same budget and validation"
            )
        if unknown := sorted(changes.keys() - vars(asked).keys()):
            raise ValueError(f"{name} has {unknown}, which no training has")
        timed = dataclasses.replace(asked, minutes=minutes, **changes)
        own = dataclasses.replace(config, learner=learner, train=timed)
        planned = inputs.resolve_for_data(own)
        if images is not None:
            train = dataclasses.replace(planned.train, minutes=None)
            planned = dataclasses.replace(planned, train=with_images(train, images))
        configs[name] = planned
    return configs


def _contender(algorithm: Contender) -> tuple[LearnerOptions, Mapping[str, Any]]:
    """The options of a learner, and in what its training differs."""
    options, changes = algorithm if isinstance(algorithm, tuple) else (algorithm, {})
    if isinstance(options, str):
        options = LEARNERS.find(options).traits()
    _check_visible(type(options), type(options).__name__)
    return options, changes


def _check_visible(thing: Any, name: str) -> None:
    """Refuse what is defined in a session."""
    interactive = not hasattr(sys.modules["__main__"], "__file__")
    if interactive and getattr(thing, "__module__", "") == "__main__":
        raise ValueError(
            f"{name} is defined in a session, which the processes of a comparison "
            "cannot see: put it and its registration into a module and import that"
        )


def _title(configs: dict[str, ResolvedConfig], images: int | None) -> str:
    config = next(iter(configs.values()))
    shape, minutes = config.evaluation, config.train.minutes
    budget = f"{minutes:g} min of training" if images is None else f"{images} images"
    return f"{config.data.dataset}, {describe(vars(shape))}, {budget} each"


def _check(configs: dict[str, ResolvedConfig], folder: Path) -> None:
    """Raise before the first training what would stop one of them at its start.

    Nothing here puts an array on a device, whose memory is the trainings'.
    """
    dataset = inputs.load_data(next(iter(configs.values())))
    for name, planned in configs.items():
        inputs.check_shapes(planned, dataset)
        build.learner(planned, dataset)
        run_folder.check_run(folder / name, planned, resume=True)


def train_in_a_process(config: ResolvedConfig, run_dir: Path) -> str | None:
    """Train in a process of its own, started afresh; return the reason of a failure."""
    try:
        return in_a_process(_train, config, run_dir)
    except BrokenProcessPool:
        return _KILLED


def train_in_processes(
    configs: Mapping[str, ResolvedConfig], folder: Path, jobs: int
) -> Iterator[tuple[str, str | None]]:
    """Train runs in `folder`, `jobs` at once, each in a process of its own.

    Yields:
      The name of each as it finishes, with the reason of a failure.

    Raises:
      Preempted: this process was asked to stop; all runs have saved.
    """
    calls = {name: (config, folder / name) for name, config in configs.items()}
    for name, done in in_processes(_train, calls, jobs):
        try:
            yield name, done.result()
        except BrokenProcessPool:
            yield name, _KILLED


def _train(config: ResolvedConfig, run_dir: Path) -> str | None:
    try:
        import_plugins()  # that of a learner may be another than of its options
        train(config, run_dir, resume=True)
    except Exception as error:  # whatever it is, the others go on
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return None
