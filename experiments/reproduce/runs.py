"""Runs in a folder, finished or not, named for the recipe they follow.

A run is tested with other shots than its own by ``metabridge evaluate RUN --shots 1
--output RUN/evaluation-1shot.json``, and that file is found beside its result.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from experiments import recipes
from metabridge.config import ResolvedConfig, images_per_step, resolve
from metabridge.runs import folder as run_folder
from metabridge.runs.evaluation import FILE, Evaluation, read_own
from metabridge.runs.metrics import read_metrics
from metabridge.untrusted import read_json

_DECISIVE = {
    "data": ("augmentation", "rotations"),
    "evaluation": ("queries", "head", "C", "penalty", "tune_head", "test_steps"),
}
"""Fields of these sections that are a recipe's; of the others all but `_FREE`."""
_FREE = {
    "seed", "steps", "minutes", "validate_every", "validation_tasks", "log_every",
    "checkpoint_minutes", "stream", "devices", "rollbacks",
}  # fmt: skip


class Run(NamedTuple):
    """One run."""

    name: str
    """Name of its folder."""
    recipe: str
    """The recipe that is nearest to it, or its learner where there is none."""
    changes: tuple[str, ...]
    """Options in which it differs from that recipe, but for its budget."""
    config: ResolvedConfig
    finished: bool
    steps: int
    """Steps taken."""
    cpu_seconds: float | None
    """Processor time of these; None if the run did not count it."""
    whole: int | None
    """Training images of the recipe, if it follows one."""
    validations: list[dict[str, Any]]
    """Its records, with ``"step"``, ``"accuracy"``, ``"ci95"`` and ``"cpu_seconds"``,
    if it was counted."""
    tests: dict[int, dict[str, Any]]
    """Results on test tasks by shots; none before it is finished."""
    kept: dict[int, Evaluation]
    """The evaluations behind these, of those that kept them."""

    @property
    def label(self) -> str:
        """Recipe and changes."""
        return ", ".join((self.recipe, *self.changes))

    @property
    def budget(self) -> int:
        """Training images of all of its steps."""
        return self.config.train.steps * images_per_step(self.config.train)

    @property
    def equal_budget(self) -> tuple[str, float]:
        """Kind and amount of the budget that all seeds of a run have.

        With a budget of time, steps are timed in each run, and differ.
        """
        minutes = self.config.train.minutes
        return ("images", self.budget) if minutes is None else ("minutes", minutes)

    @property
    def images(self) -> int:
        """Training images seen."""
        return self.steps * images_per_step(self.config.train)

    @property
    def core_hours(self) -> float | None:
        """Processor time in hours."""
        return None if self.cpu_seconds is None else self.cpu_seconds / 3600


def read(folder: Path) -> list[Run]:
    """The runs in a folder and in those two levels below, by name.

    Raises:
      ValueError: it is no folder, or a file of a run is damaged.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of runs")
    found = (folder.glob(f"{depth}config.json") for depth in ("", "*/", "*/*/"))
    return [_read(path.parent) for paths in found for path in sorted(paths)]


def evaluation_file(run_dir: Path, shots: int) -> Path:
    """File with the result of a run with other shots."""
    return run_dir / f"evaluation-{shots}shot.json"


def other_shots(run_dir: Path) -> dict[int, dict[str, Any]]:
    """Test results of a finished run with other shots than its own, by shots.

    Those of another checkpoint than its result's are left out: it was trained further.
    """
    result, found = run_folder.read_result(run_dir), {}
    for shots in recipes.SHOTS:
        path = evaluation_file(run_dir, shots)
        if not path.is_file():
            continue
        other = read_json(path)
        if (other.get("split"), other.get("shots")) != ("test", shots):
            raise ValueError(
                f"{path} must be a result on the test split with {shots} shots, but "
                f"is one on {other.get('split')} with {other.get('shots')}"
            )
        if other.get("best_step") == result["best_step"]:
            found[shots] = other
    return found


def nearest_recipe(
    config: ResolvedConfig,
) -> tuple[str, tuple[str, ...], int | None]:
    """The recipe that a run follows, what it changes, and the recipe's images.

    Of the recipes with the run's learner it is that with the fewest changes.
    """
    dataset, shots = config.data.dataset, config.evaluation.shots
    nearest: tuple[str, tuple[str, ...], int | None] = (config.algorithm, (), None)
    if dataset not in recipes.DATASETS or shots not in recipes.SHOTS:
        return nearest
    budget = config.train.steps * images_per_step(config.train)
    for name in recipes.NAMES:
        recipe = recipes.recipe(name, dataset, shots)
        if recipe.algorithm != config.algorithm:
            continue
        per_step = images_per_step(recipe.train)
        cut = resolve(recipes.with_budget(recipe, max(budget, per_step)))
        changes = _changes(cut, config)
        if nearest[2] is None or len(changes) < len(nearest[1]):
            nearest = name, changes, per_step * (recipe.train.steps or 0)
    return nearest


def _changes(recipe: ResolvedConfig, config: ResolvedConfig) -> tuple[str, ...]:
    """``field=value`` of what a run does otherwise than a recipe."""
    before, now = _decisive(recipe), _decisive(config)
    other_body = before["model.model"] != now["model.model"]
    changes = []
    for name, value in now.items():
        section, _, field = name.partition(".")
        if section == "model" and other_body and field not in ("model", "precision"):
            continue  # an option of one of the two bodies alone
        if field == "train_sizes" and other_body and not value:
            continue  # as `recipes.with_body` has it
        if field == "drop_ramp" and config.train.minutes is not None:
            continue  # as `with_budget` scales it to steps, unknown with a time
        if before.get(name) != value:
            shown = Path(value).name if field == "teacher" else value
            changes.append(f"{field}={shown}")
    return tuple(changes)


def _decisive(config: ResolvedConfig) -> dict[str, Any]:
    """The options that a recipe consists of, by section and name."""
    found = {}
    for name, value in run_folder.flat_options(config).items():
        section, _, field = name.partition(".")
        if field in _DECISIVE.get(section, (field,)) and field not in {*_FREE, ""}:
            found[name] = value
    return found


def _read(run_dir: Path) -> Run:
    config = run_folder.read_config(run_dir)
    finished = (run_dir / "result.json").is_file()
    validations = _records(run_dir, "validation")
    tests: dict[int, dict[str, Any]] = {}
    kept = {}
    if finished:
        result = run_folder.read_result(run_dir)
        steps, cpu_seconds = result["train_steps"], result.get("cpu_seconds")
        # The run's own last: it holds for its shots, whatever else was tested there.
        tests = other_shots(run_dir) | {result["shots"]: result}
        for shots, test in tests.items():
            file = evaluation_file(run_dir, shots).with_suffix(".npz").name
            name = FILE if shots == result["shots"] else file
            own = read_own(run_dir, name, test)
            if own is not None:
                kept[shots] = own
    else:
        start = {"step": 0, "cpu_seconds": 0.0}
        *_, last = start, *_records(run_dir, "train")
        steps, cpu_seconds = last["step"], last.get("cpu_seconds")
    recipe = nearest_recipe(config)
    name = run_dir.resolve().name
    return Run(
        name, *recipe[:2], config, finished, steps, cpu_seconds, recipe[2],
        validations, tests, kept,
    )  # fmt: skip


def _records(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError):  # it has just begun
        return list(read_metrics(run_dir, kind))
    return []


def in_order(runs: Iterable[Run]) -> list[Run]:
    """Runs by dataset, and by recipe in the order of `recipes.NAMES`."""

    def place(run: Run) -> tuple[Any, ...]:
        known = run.recipe in recipes.NAMES
        number = recipes.NAMES.index(run.recipe) if known else len(recipes.NAMES)
        seed = run.config.train.seed
        return run.config.data.dataset, number, run.label, run.budget, seed

    return sorted(runs, key=place)
