"""The learning rate of each method, chosen on validation tasks.

A method's recipe was made for its usual budget, body and dataset. Beside one that is
trained well, one that is not would look like another predictor for that reason alone.
"""

from collections.abc import Container

from experiments.agreement.options import Options, Rates, trial_runs
from metabridge.runs.folder import RunError, read_result

Tried = dict[tuple[int | None, str], dict[float, float]]
"""Validation accuracy by learning rate, of each method, by depth and its name."""


def read_tried(options: Options, failed: Container[str] = ()) -> Tried:
    """What finished trials reached; those that `failed` or are damaged are left out."""
    tried: Tried = {}
    for run in trial_runs(options):
        own = tried.setdefault((run.rung.depth, run.learner), {})
        if run.name in failed or run.rate is None:
            continue
        try:
            result = read_result(options.folder / run.name)
        except RunError:
            continue  # missing, or made anew
        accuracy = result.get("validation_accuracy")
        if isinstance(accuracy, float):
            own[run.rate] = accuracy
    return tried


def choose(tried: Tried) -> Rates:
    """The rate of the best validation accuracy; of equal ones the smallest."""
    return {
        method: max(sorted(own), key=own.__getitem__)
        for method, own in tried.items()
        if own
    }
