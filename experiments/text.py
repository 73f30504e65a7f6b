"""Few-shot learning of text: is a trained body better than the features it is given?

    python -m experiments.text --output runs/text

The text is on any machine with Python: the docstrings of installed packages, which are
read as files, never imported. A class is a package or, of large ones, a package in it;
whole top-level packages are held out for validation and for the test. Features are the
256 numbers of WordLlama (https://github.com/dleemiller/WordLlama, MIT; the extra
`test`), the mean of its token vectors.

MTL and ProtoNet train a body on the training classes. On the same tasks of unseen
classes they are compared with logistic regression on the raw features, scaled to unit
norm as theirs are, in pairs.
Written to the folder: ``text.npz``, which ``features:`` reads, a run for each learner,
``results.json`` and ``table.md``.
"""

import ast
import dataclasses
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import metabridge
from metabridge import Config, EvaluationConfig, ModelConfig, TrainConfig
from metabridge.apply.features import evaluate_features
from metabridge.config import DataConfig
from metabridge.data import from_arrays
from metabridge.data.dataset import Dataset
from metabridge.evaluation.intervals import difference
from metabridge.evaluation.scores import score
from metabridge.files import write_json, write_text
from metabridge.registry import LEARNERS
from metabridge.units import format_accuracy, format_difference, markdown_table

_LEAST, _MOST = 25, 200
"""Docstrings of a class: with fewer it is left out, of more these are taken."""
_SHORTEST, _LONGEST = 60, 600
"""Characters of a docstring that counts, and that are embedded."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare trained bodies with raw features on text."""

    output: Path = Path("runs/text")
    """Folder of the results; what is finished there is taken as it is."""
    steps: int = 3000
    """Training steps of each learner."""
    width: int = 256
    """Features of the trained bodies."""
    shots: tuple[int, ...] = (1, 5)
    """Shots of the test tasks."""
    tasks: int = 2000
    """Test tasks of each shot."""
    seed: int = 0
    """Seed of the training."""


def read_docstrings() -> dict[str, list[str]]:
    """Docstrings of the packages that are installed, by class.

    They are those of the standard library and of the packages beside it, each once.
    """
    roots = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for root in roots:
        for file in sorted(root.rglob("*.py")):
            place = file.relative_to(root)
            if {"site-packages", "test", "tests", "idlelib"} & set(place.parts):
                continue
            for text in _docstrings_of(file):
                if text not in seen:
                    seen.add(text)
                    found.setdefault(_class_of(place), []).append(text)
    return {
        name: _spread(texts)
        for name, texts in sorted(found.items())
        if len(texts) >= _LEAST
    }


def _class_of(place: Path) -> str:
    folders = place.parent.parts
    return ".".join(folders[:2]) or place.stem


def _docstrings_of(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if text and len(text) >= _SHORTEST:
            yield text[:_LONGEST]


def _spread(texts: list[str]) -> list[str]:
    rows = np.linspace(0, len(texts) - 1, min(len(texts), _MOST)).astype(int)
    return [texts[row] for row in rows]


def split_of(name: str) -> str:
    """The split of a class, which its top-level package decides."""
    top = name.partition(".")[0]
    share = hashlib.sha256(top.encode()).digest()[0] / 256
    return "train" if share < 0.6 else "validation" if share < 0.75 else "test"


def embed_texts(texts: list[str]) -> np.ndarray:
    """Features of texts, float32 ``[N, 256]``, by WordLlama.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import wordllama
    except ModuleNotFoundError as error:
        raise ImportError(
            "the experiment needs WordLlama: pip install wordllama"
        ) from error
    # Its own files, where it looks for those that it has downloaded.
    folder = Path(str(wordllama.__file__)).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    return np.asarray(model.embed(texts), np.float32)


def make_dataset() -> Dataset:
    """The dataset of docstrings of this machine."""
    classes = read_docstrings()
    texts = [text for each in classes.values() for text in each]
    labels = np.repeat(
        np.array(list(classes)), [len(each) for each in classes.values()]
    )
    splits = {name: split_of(name) for name in classes}
    return from_arrays(
        embed_texts(texts), labels, splits, name="text", standardise=False
    )


def main(options: Options) -> dict[str, Any]:
    """Run what is missing, and write the table."""
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "text.npz"
    if not file.exists():
        make_dataset().save(file)
    dataset = metabridge.load_dataset(f"features:{file}")

    def raw_scores(unit_norm: bool) -> dict[int, Any]:
        found = evaluate_features(
            dataset, head="logistic", shots=options.shots, tasks=options.tasks,
            unit_norm=unit_norm,
        )  # fmt: skip
        return {score.shots: score for score in found}

    plain, raw = raw_scores(False), raw_scores(True)
    results: dict[str, Any] = {
        "classes": {n: s.num_classes for n, s in dataset.splits()},
        "examples": {n: len(s.labels) for n, s in dataset.splits()},
        "plain": {s: found.closed._asdict() for s, found in plain.items()},
        "raw": {s: found.closed._asdict() for s, found in raw.items()},
    }
    for learner in ("mtl", "protonet"):
        folder = options.output / learner
        config = _config(learner, file, options)
        metabridge.train(config, folder, resume=folder.exists())
        for shots in options.shots:
            result = metabridge.evaluate_run(
                folder, {"shots": shots, "tasks": options.tasks}, each_task=True
            )
            own = np.asarray(result["task_accuracies"])
            gain = difference(own, raw[shots].accuracies)
            results.setdefault(learner, {})[shots] = {
                **score(own)._asdict(),
                "gain": gain._asdict(),
            }
    write_json(options.output / "results.json", results)
    write_text(options.output / "table.md", table(results, options.shots) + "\n")
    print(table(results, options.shots))
    return results


def _config(learner: str, file: Path, options: Options) -> Config:
    return Config(
        learner=LEARNERS[learner].traits(),
        data=DataConfig(f"features:{file}"),
        model=ModelConfig("linear", width=options.width),
        train=TrainConfig(steps=options.steps, seed=options.seed),
        evaluation=EvaluationConfig(tasks=options.tasks, ways=5, shots=5),
    )


def table(results: dict[str, Any], shots: tuple[int, ...]) -> str:
    """The results as a table in Markdown."""
    columns = ["", *(f"5-way {s}-shot, %" for s in shots)]
    columns += [f"gain over unit norm, points, {s}-shot" for s in shots]

    def accuracy(found: dict[str, Any]) -> str:
        return format_accuracy(found["accuracy"], found["ci95"])

    raw = {"plain": "raw features", "raw": "raw features of unit norm"}
    rows = [
        [f"logistic regression on {title}"]
        + [accuracy(results[name][s]) for s in shots]
        + ["" for _ in shots]
        for name, title in raw.items()
    ]
    for learner, title in (("mtl", "MTL"), ("protonet", "ProtoNet")):
        own = results[learner]
        gains = (own[s]["gain"] for s in shots)
        rows.append(
            [f"{title}, a linear body"]
            + [accuracy(own[s]) for s in shots]
            + [format_difference(g["mean"], g["ci95"]) for g in gains]
        )
    return markdown_table(columns, rows)


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"text: {error}")
