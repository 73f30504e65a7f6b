"""Results of a run, and of evaluating it again in other ways."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge.runs import folder as run_folder
from metabridge.runs import inputs
from metabridge.runs.evaluation import FILE, read_evaluation, split_digest
from metabridge.training import RunError, scoring, unseen
from metabridge.training.scoring import evaluate_run
from tests.training.conftest import Run


def test_result_holds_what_a_reader_needs(whole: Run) -> None:
    result = json.loads((whole.folder / "result.json").read_text())
    expected = {
        "algorithm": "mtl",
        "dataset": whole.config.data.dataset,
        "ways": 3,
        "shots": 2,
        "queries": 3,
        "tasks": 40,
        "head": "centroid",
        "train_steps": 6,
        "seed": 0,
        "evaluation_seed": 0,
        "parameters": 8 * 8 * 16 + 5 * 4 * 16,
    }
    assert {name: result[name] for name in expected} == expected
    for name in (
        "accuracy",
        "ci95",
        "pixel_centroid_accuracy",
        "pixel_centroid_ci95",
        "validation_accuracy",
    ):
        assert 0 <= result[name] <= 1
    for name in (
        "train_seconds",
        "cpu_seconds",
        "images_per_second",
        "evaluation_seconds",
        "peak_memory_mb",
        "compile_seconds",
        "step_memory_mb",
    ):
        assert 0 < result[name] < float("inf")
    assert result["best_step"] in (2, 4, 6)
    assert result["accuracy"] > 0.5  # chance is a third


def test_a_run_keeps_its_tasks_and_predictions(whole: Run) -> None:
    result = json.loads((whole.folder / "result.json").read_text())
    kept = read_evaluation(whole.folder / FILE)
    found = kept.closed.outcome
    assert found.accuracy.mean() == pytest.approx(result["accuracy"], abs=1e-6)
    assert found.predicted.shape == (40, 9)
    np.testing.assert_array_equal(found.logits.argmax(-1), found.predicted)
    dataset = inputs.load_data(whole.config)
    labels = dataset.test.labels[kept.closed.tasks.query]
    assert (labels == kept.closed.tasks.classes[..., None]).all()
    assert kept.about["checkpoint"] == result["provenance"]["checkpoint"]["digest"]
    assert kept.about["split_digest"] == split_digest(dataset.test)
    assert kept.about["head"] == "centroid"
    assert kept.open is None  # a class of 8 images gives one block of 2 + 3
    assert "open" not in result
    assert result["closed"] == {n: result[n] for n in ("accuracy", "ci95", "tasks")}


@pytest.mark.extended
def test_an_open_interval_instead_of_a_closed_one(whole: Run, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"holds 1 task.s. of 3 ways and 2 \+ 3 images"
    ):
        evaluate_run(whole.folder, {"interval": "open"})
    file = tmp_path / "open.json"
    found = evaluate_run(whole.folder, {"interval": "open", "queries": 1}, output=file)
    kept = read_evaluation(file.with_suffix(".npz"))
    assert kept.open is not None
    accuracies = kept.open.outcome.accuracy
    assert found["tasks"] == len(accuracies) == 2
    assert found["accuracy"] == pytest.approx(accuracies.mean())
    assert found["ci95"] == pytest.approx(12.7062 * accuracies.std(ddof=1) / 2**0.5)
    assert found["closed"]["tasks"] == 40
    both = evaluate_run(whole.folder, {"queries": 1, "keep_logits": False}, output=file)
    assert both["open"] == {n: found[n] for n in ("accuracy", "ci95", "tasks")}
    assert both["closed"]["accuracy"] == both["accuracy"]
    assert read_evaluation(file.with_suffix(".npz")).closed.outcome.logits is None


def test_result_holds_what_made_it(whole: Run) -> None:
    result = json.loads((whole.folder / "result.json").read_text())
    made_by = result["provenance"]
    assert made_by["versions"].keys() >= {"metabridge", "jax", "jaxlib", "numpy"}
    assert made_by.keys() >= {"commit", "uncommitted_changes", "python", "processes"}
    assert made_by["backend"] == "cpu"
    assert made_by["devices"] == ["cpu"]
    assert made_by["config"] == json.loads((whole.folder / "config.json").read_text())
    dataset = inputs.load_data(whole.config)
    assert made_by["dataset"] == {"fingerprint": dataset.fingerprint()}
    assert made_by["checkpoint"]["step"] == result["best_step"]
    path = whole.folder / "checkpoints" / str(result["best_step"]) / "progress"
    progress = json.loads((path / "metadata").read_text())
    assert made_by["checkpoint"]["digest"] == progress["digest"]


@pytest.mark.extended
def test_evaluating_again_gives_the_same_and_writes_it(
    whole: Run, tmp_path: Path
) -> None:
    output = tmp_path / "again.json"
    result = evaluate_run(whole.folder, {}, output=output)
    assert json.loads(output.read_text()) == result
    for name in ("accuracy", "ci95", "tasks", "best_step", "pixel_centroid_accuracy"):
        assert result[name] == whole.result[name]
    other = evaluate_run(whole.folder, {"ways": 2, "shots": 1, "tasks": 25})
    assert (other["ways"], other["shots"], other["queries"]) == (2, 1, 3)
    assert other["tasks"] == 25
    assert other["accuracy"] > 0.5
    assert np.isfinite(other["ci95"])


def test_the_folder_and_the_data_may_be_named_by_text_from_elsewhere(
    whole: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(images, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    folder = os.path.relpath(whole.folder)
    result = evaluate_run(folder, {}, data_dir="moved", output="again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == result
    assert result["dataset"] == f"folder:{tmp_path}/moved"
    for name in ("accuracy", "ci95", "pixel_centroid_accuracy"):
        assert result[name] == whole.result[name]


def test_64_bit_mode_gives_the_numbers_of_32(whole: Run) -> None:
    with jax.enable_x64(True):
        result = evaluate_run(whole.folder, {})
    for name in ("accuracy", "ci95", "pixel_centroid_accuracy"):
        assert result[name] == whole.result[name]


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"ways": 5}, "`ways` is 5, but split '(validation|test)' .* has 4 classes"),
        ({"shots": 6}, "6 shots and 3 queries, 9 images.* has 8"),
        ({"tasks": 1}, "`tasks` is 1"),
    ],
)
def test_tasks_the_data_does_not_hold(whole: Run, evaluation, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_run(whole.folder, evaluation)


def test_nothing_to_evaluate(whole: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        evaluate_run(tmp_path, {})
    with pytest.raises(ValueError, match="its folder does not exist"):
        evaluate_run(whole.folder, {}, output=tmp_path / "no" / "such.json")
    config = run_folder.read_config(whole.folder)
    run_folder.open_run(tmp_path / "new", config, resume=False)
    with pytest.raises(RunError, match="holds no checkpoint yet"):
        evaluate_run(tmp_path / "new", {})


@pytest.mark.extended
def test_the_weight_of_a_head_is_chosen_on_validation_tasks(
    whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []
    best_head = scoring.best_head

    def watched(learner, heads, dataset, split, *rest, **options):
        assert split is dataset.validation
        chosen.append(best_head(learner, heads, dataset, split, *rest, **options))
        return chosen[-1]

    monkeypatch.setattr(scoring, "best_head", watched)
    monkeypatch.setattr(scoring, "_WEIGHTS", (0.03, 3.0))
    tuned = evaluate_run(whole.folder, {"head": "logistic", "tune_head": True})
    weights = scoring._WEIGHTS
    assert tuned["C"] == weights[chosen[0]]
    same = evaluate_run(whole.folder, {"head": "logistic", "C": tuned["C"]})
    assert same["accuracy"] == tuned["accuracy"]
    assert "C" not in same
    ridge = evaluate_run(whole.folder, {"head": "ridge", "tune_head": True})
    assert ridge["penalty"] == weights[chosen[1]]


@pytest.mark.extended
def test_tasks_of_the_validation_classes(
    whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    evaluator, raw_score = unseen.task_evaluator, unseen.raw_score

    def watched_evaluator(learner, dataset, split, *rest):
        seen.append(split.class_names)
        return evaluator(learner, dataset, split, *rest)

    def watched_pixels(split, *rest):
        seen.append(split.class_names)
        return raw_score(split, *rest)

    monkeypatch.setattr(unseen, "task_evaluator", watched_evaluator)
    monkeypatch.setattr(unseen, "raw_score", watched_pixels)
    for name in ("validation", "test"):
        result = evaluate_run(whole.folder, {}, split=name, each_task=True)
        assert result["split"] == name
        each = result["task_accuracies"]
        assert len(each) == result["tasks"]
        np.testing.assert_allclose(np.mean(each), result["accuracy"], rtol=1e-6)
        assert all(one.startswith(name) for one in (*seen[-2], *seen[-1]))
    assert len(seen) == 4
