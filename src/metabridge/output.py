"""Output of commands: files checked before the work, streams, results as text."""

import os
import sys
from pathlib import Path
from typing import Any

from metabridge.task_shape import describe
from metabridge.units import format_accuracy
from metabridge.untrusted import expanded, shown


def check_output(
    output: str | os.PathLike[str], name: str = "output", *, make_folder: bool = False
) -> Path:
    """Check the path of a file before the work whose result goes there.

    Args:
      output: path of the file; one that is there is replaced.
      name: of the argument, for messages.
      make_folder: make the folder of the file if there is none.
    """
    path = expanded(output)
    folder = path.absolute().parent
    if path.is_dir():
        raise ValueError(f"`{name}` {shown(path)} is a folder; name a file")
    if make_folder:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise ValueError(f"`{name}` is {shown(path)}, but its folder does not exist")
    place = path if path.exists() else folder
    if not os.access(place, os.W_OK):
        raise OSError(
            f"`{name}` is {shown(path)}, but {shown(place)} cannot be written"
        )
    return path


def prepare_streams() -> None:
    """Let the standard streams take any text, and be closed.

    A character that the locale's encoding lacks is printed as a question mark. What a
    process prints whose stream is closed is dropped; the number of the stream is not
    left to the next file that is opened, into which others would write.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream, mode = getattr(sys, name), "w" if number else "r"
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            opened = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, opened)
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def result_text(result: dict[str, Any]) -> str:
    """A result of training or evaluation, for the terminal."""
    shape = describe(result)
    of = " of validation classes" if result.get("split") == "validation" else ""
    accuracy = format_accuracy(result["accuracy"], result["ci95"])
    centroid, ci95 = (result[f"pixel_centroid_{name}"] for name in ("accuracy", "ci95"))
    baseline = f"nearest centroid on raw {result.get('inputs', 'pixels')}"
    lines = [
        f"\n{result['algorithm']} on {result['dataset']}, {shape}, "
        f"{result['tasks']} unseen tasks{of}",
        f"{'accuracy':34}{accuracy} %",
        *_other_interval(result),
        f"{baseline:34}{format_accuracy(centroid, ci95)} %",
    ]
    lines += _uncertainty(result)
    if "trained_on" in result:
        whose = result["trained_on" if result["normalise"] == "training" else "dataset"]
        lines.append(f"trained on {result['trained_on']}, normalised as {whose}")
        lines.append(f"images: {result['images']}")
    for name in ("C", "penalty"):
        if name in result:
            lines.append(f"{name} = {result[name]:g} chosen on validation tasks")
    if "train_seconds" in result:
        steps, seconds = result["train_steps"], result["train_seconds"]
        speed = result["images_per_second"]
        lines.append(f"trained {steps} steps in {seconds:.0f} s, {speed:.0f} images/s")
    if "run_dir" in result:
        lines.append(f"everything is in {result['run_dir']}")
    return "\n  ".join(lines)


def _other_interval(result: dict[str, Any]) -> list[str]:
    """The accuracy and interval that are not the result's own, if it has them."""
    other = "open" if result.get("interval") == "closed" else "closed"
    if other not in result or "interval" not in result:
        return []
    found, name = result[other], f"{other} interval"
    what = {
        "open": "tasks, no image in two of them",
        "closed": "tasks that may share images",
    }[other]
    accuracy = format_accuracy(found["accuracy"], found["ci95"])
    return [f"{name:34}{accuracy} %, {found['tasks']} {what}"]


def _uncertainty(result: dict[str, Any]) -> list[str]:
    """Calibration and conformal sets, where a coverage was asked for."""
    if "conformal" not in result:
        return []
    found, sets = result["calibration"], result["conformal"]
    if found is None or sets is None:
        return [f"{'calibration':34}not measured, as some logits are NaN"]
    before, after = found["before"], found["after"]
    at = f"at temperature {found['temperature']:.3g}"
    errors = (f"{100 * scores['ece']:.2f} %" for scores in (before, after))
    lines = [f"{'expected calibration error':34}{', '.join(errors)} {at}"]
    for name, key in (("negative log-likelihood", "nll"), ("Brier score", "brier")):
        pair = (f"{x[key]:.4f} ± {x[f'{key}_ci95']:.4f}" for x in (before, after))
        lines.append(f"{name:34}{', '.join(pair)} {at}")
    return [*lines, *_sets(sets, "task"), *_sets(sets, "validation")]


def _sets(sets: dict[str, Any], by: str) -> list[str]:
    """Coverage and size of conformal sets of one kind."""
    share, needed = f"{100 * sets['coverage']:g}", sets["needed_examples"]
    name = f"{share} % sets by {'the task' if by == 'task' else 'validation tasks'}"
    if (found := sets[f"by_{by}"]) is None:
        more = {
            "task": f"{needed} queries of each task, and some more to measure on",
            "validation": f"{needed} validation tasks, twice as many --tasks",
        }
        return [f"{name:34}not measured: calibration needs {more[by]}"]
    covered = format_accuracy(found["coverage"], found["coverage_ci95"])
    size = f"{found['set_size']:.3f} ± {found['set_size_ci95']:.3f}"
    what = "queries a task" if by == "task" else "validation tasks"
    return [
        f"{name:34}{covered} % of queries covered, {size} classes a set, "
        f"{found['calibration']} {what} to calibrate"
    ]
