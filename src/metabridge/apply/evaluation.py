"""Accuracy of a body on unseen tasks of its own or another dataset."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from metabridge.apply import loading
from metabridge.apply.body import Body
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.runs.domains import Domain, Normalise, domain_of, load_domain
from metabridge.runs.evaluation import check_result_output
from metabridge.training.checkpoint import digest
from metabridge.training.scoring import load_inputs, tune_head, with_evaluation
from metabridge.training.unseen import LoadedRun, score, write_scored
from metabridge.untrusted import shown


@in_32_bits
def evaluate_body(
    body: str | os.PathLike[str] | Body,
    evaluation: Mapping[str, Any] | None = None,
    *,
    split: Literal["validation", "test"] = "test",
    data_dir: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    normalise: Normalise = "training",
) -> dict[str, Any]:
    """Score a body on the tasks that `evaluate_run` scores its run on.

    Args:
      body: a file or a name, as `load_body` takes them, or a body.
      evaluation: fields of `EvaluationConfig` that differ from the run's.
      split: whose classes the tasks are made of. To choose an option, take validation.
      data_dir: where the dataset is; of ``folder:PATH`` the folder of images.
      output: JSON file to write the result to; tasks and predictions go beside it, into
        an ``.npz`` of the same name.
      dataset: another dataset than that of the training, as of `evaluate_run`; how many
        of its images were in that is not known.
      normalise: whose statistics normalise its images, likewise.

    Raises:
      ValueError: no body there, or tasks the data does not hold.
    """
    file = None if output is None else check_result_output(output)
    body = body if isinstance(body, Body) else loading.load_body(body)
    if "imported" in body.about and dataset is None and data_dir is None:
        raise ValueError(
            "the body was imported, without a dataset: pass `dataset`, or `data_dir` "
            "with a folder of class folders (--dataset, --data-dir)"
        )
    domain = domain_of(dataset, data_dir, normalise, split)
    run = _with_data(body, evaluation, data_dir, domain)
    tuned = tune_head(run, body.variables)
    contents = digest(body.variables)
    scored = score(tuned, body.variables, split, checkpoint=contents)
    scored = scored._replace(result={**scored.result, **_origin(body, scored.result)})
    if file is not None:
        write_scored(file, scored)
    give_back_host_memory()
    return scored.result


def _origin(body: Body, result: Mapping[str, Any]) -> dict[str, Any]:
    """Names in the result of an imported body, which no learner of ours has trained."""
    imported = body.about.get("imported")
    if not isinstance(imported, dict):
        return {}
    file = shown(imported.get("file"))
    names = {
        "algorithm": body.config.model.model,
        "trained_on": f"the images of {file}",
    }
    return {name: text for name, text in names.items() if name in result}


def _with_data(
    body: Body,
    evaluation: Mapping[str, Any] | None,
    data_dir: str | os.PathLike[str] | None,
    domain: Domain | None,
) -> LoadedRun:
    wanted = body.shapes.input_shape
    if domain is not None:
        config = with_evaluation(body.config, evaluation)
        moved, other, about = load_domain(
            domain, config, shape=wanted, mean=body.mean, std=body.std,
            images=body.shapes.images,
        )  # fmt: skip
        return LoadedRun(Path(), moved, other, body.learner(config.evaluation), about)
    run = load_inputs(Path(), body.config, evaluation, data_dir)
    found = run.dataset.input_shape
    if found != wanted or run.dataset.has_images != body.shapes.images:
        raise ValueError(
            f"inputs of {run.config.data.dataset!r} are {list(found)}, but the body "
            f"takes {list(wanted)}"
        )
    dataset = dataclasses.replace(run.dataset, mean=body.mean, std=body.std)
    learner = body.learner(run.config.evaluation)
    return run._replace(dataset=dataset, learner=learner)
