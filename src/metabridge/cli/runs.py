"""Commands on what training has written: evaluate, verify, export, report."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from metabridge.config import DatasetName, HeadName
from metabridge.config.sections import ImageSize
from metabridge.files import write_json
from metabridge.output import check_output, result_text
from metabridge.task_shape import Imbalance

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="Folder of the run.")]
DataDir = Annotated[
    Path | None,
    tyro.conf.arg(
        help="Where the data is now, if it has moved: its folder, that of ImageNet's "
        "images, or the images of folder:PATH."
    ),
]


def evaluate(
    run: tyro.conf.Positional[Path | None] = None,
    ways: int | None = None,
    shots: int | None = None,
    queries: int | None = None,
    min_ways: int | None = None,
    min_shots: int | None = None,
    min_queries: int | None = None,
    imbalance: Imbalance | None = None,
    tasks: int | None = None,
    head: HeadName | None = None,
    C: float | None = None,
    penalty: float | None = None,
    tune_head: bool = False,
    flips: bool | None = None,
    split: Literal["validation", "test"] = "test",
    finetune_steps: int | None = None,
    test_steps: int | None = None,
    finetune_rate: float | None = None,
    interval: Literal["closed", "open"] | None = None,
    keep_logits: bool | None = None,
    coverage: float | None = None,
    conformity_score: Literal["lac", "aps"] | None = None,
    dataset: DatasetName | None = None,
    normalise: Literal["training", "dataset"] = "training",
    unit_norm: bool = False,
    data_dir: DataDir = None,
    output: Path | None = None,
) -> None:
    """Score the best checkpoint of a run, or an exported body, on unseen tasks.

    What is not given is as the run was configured. Without a run, but with --dataset,
    all heads are scored on its features (or those of its inputs as they are), with 1
    and 5 shots, unless --head or --shots name one.

    Args:
      run: Folder of the run; or a file of export, or a body's name.
      ways: Classes of a test task.
      shots: Support images a class.
      queries: Query images a class.
      min_ways: The least classes of a task, each of which draws how many up to --ways.
      min_shots: The least support images of a class, up to --shots.
      min_queries: The least query images of a class, up to --queries.
      imbalance: How the shots of the classes of a task differ: none, linear, step (half
        of the classes the least) or random.
      tasks: Test tasks.
      head: learner (its own adaptation), a head on frozen features (logistic, ridge,
        svm, centroid, attention), or finetune, which trains body and head.
      C: Logistic regression and SVM: weight of the data against the squared weights.
      penalty: Ridge regression: weight of the squared weights.
      tune_head: Choose C or the penalty by accuracy on the validation tasks.
      flips: Take the mean of the features of an image and of its mirror image.
      split: Whose classes the tasks are made of. To choose an option, take validation.
      finetune_steps: Fine-tuning: steps of Adam on the support.
      test_steps: Learners with an inner loop: its steps on a test task.
      finetune_rate: Fine-tuning: Adam's learning rate.
      interval: Of the accuracy: closed (tasks that may share images) or open (no image
        is in two tasks); the result has both.
      keep_logits: Keep logits beside predictions; by default up to 64 MB.
      coverage: Measure calibration and conformal prediction sets, too, which are to
        hold the right class of this share of the queries, for example 0.9; takes as
        many validation tasks.
      conformity_score: Of these sets: lac (the smallest) or aps (adaptive).
      dataset: Another dataset, on whose unseen classes to score; --data-dir is where
        it is. Images get the size and channels that the body takes.
      normalise: Whose mean and standard deviation to normalise another dataset by:
        those of the run's training, or of that dataset.
      unit_norm: Without a run: scale features to unit norm.
      output: JSON file for the result; tasks and predictions go into an .npz beside it.
    """
    from metabridge.apply import evaluate_body
    from metabridge.training.scoring import evaluate_run

    given = {
        "ways": ways, "shots": shots, "queries": queries, "tasks": tasks, "head": head,
        "finetune_steps": finetune_steps, "finetune_rate": finetune_rate,
        "test_steps": test_steps, "C": C, "penalty": penalty, "flips": flips,
        "interval": interval, "keep_logits": keep_logits, "coverage": coverage,
        "conformity_score": conformity_score, "min_ways": min_ways,
        "min_shots": min_shots, "min_queries": min_queries, "imbalance": imbalance,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if run is None:
        if dataset is None:
            raise ValueError(
                "name a run or a body; or a --dataset, such as features:FILE, whose "
                "features are scored without one"
            )
        if tune_head or normalise != "training":
            name = "tune_head" if tune_head else "normalise"
            raise ValueError(f"`{name}` is of a run, but none is named")
        given["unit_norm"] = unit_norm
        _evaluate_heads(dataset, given, split, data_dir, output)
        return
    if unit_norm:
        raise ValueError("`unit_norm` is for features without a run: leave it out")
    # A head that is given takes the place of one that the run would choose.
    if tune_head or any(value is not None for value in (head, C, penalty)):
        given["tune_head"] = tune_head
    evaluate = evaluate_run if run.expanduser().is_dir() else evaluate_body
    result = evaluate(
        run, given, split=split, data_dir=data_dir, output=output, dataset=dataset,
        normalise=normalise,
    )  # fmt: skip
    print(result_text(result))


def _evaluate_heads(
    dataset: str,
    given: dict[str, Any],
    split: Literal["validation", "test"],
    data_dir: Path | None,
    output: Path | None,
) -> None:
    """Score heads on a dataset, print a table, and write it where asked."""
    from metabridge.apply.features import as_json, evaluate_features, table_of_heads

    taken = (
        "ways", "shots", "queries", "tasks", "head", "C", "penalty", "unit_norm",
    )  # fmt: skip
    if unused := [name for name in given if name not in taken]:
        raise ValueError(f"`{unused[0]}` is of a run, but none is named")
    file = None if output is None else check_output(output)
    place: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    found = evaluate_features(dataset, split=split, **given, **place)
    if file is not None:
        write_json(file, as_json(dataset, split, found))
    print(f"{dataset}, {found[0].closed.tasks} tasks of {split} classes\n")
    print(table_of_heads(found))


def embed(
    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")],
    output: Annotated[Path, tyro.conf.Positional],
    body: Annotated[str, tyro.conf.arg(metavar="RUN|FILE|NAME|MODULE:FUNCTION")],
    batch: int = 256,
    dtype: Literal["float32", "float16"] = "float32",
    data_dir: DataDir = None,
    image_size: ImageSize = None,
) -> None:
    """Write the features of a dataset to a file, which features:FILE reads.

    A command that was cut off goes on where it was, and ends with the same bytes.

    Args:
      dataset: Its name: `metabridge datasets` lists them.
      output: NAME.npz.
      body: Folder of a run, a file of export, a body's name; or a function of yours
        from a batch of inputs to features [N, D], by module and name.
      batch: Inputs a call of the body.
      dtype: Of the features in the file.
      image_size: Side, or height and width, to which images of a folder are resized.
    """
    from metabridge.apply import embed
    from metabridge.apply.frozen import find_function

    given = {"data_dir": data_dir, "image_size": image_size}
    options = {name: value for name, value in given.items() if value is not None}
    file = embed(
        find_function(body) or body, dataset, output, batch=batch, dtype=dtype,
        **options,
    )  # fmt: skip
    print(f"{file} holds the features; evaluate them: --dataset features:{file}")


def verify(
    run: Run,
    data_dir: DataDir = None,
    tolerance: float | None = None,
    retrain: bool = False,
    output: Path | None = None,
) -> None:
    """Check that a finished run is reproduced: data, checkpoint, accuracy.

    Scores its best checkpoint again and compares with its result. Prints a table; exit
    code 1 if anything differs.

    Args:
      tolerance: Points of accuracy that the numbers may differ by. Default: 0 with the
        versions and devices of the run, else 0.1.
      retrain: Train again from the seed, too, and compare the final parameters.
      output: JSON file for the report.
    """
    from metabridge.training import verify as verification

    report = verification.verify(
        run, data_dir=data_dir, tolerance=tolerance, retrain=retrain, output=output
    )
    print(verification.table(report))
    if not report["reproduced"]:
        sys.exit(1)


def export(
    run: Run,
    file: Annotated[Path, tyro.conf.Positional],
    licence: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    data_dir: DataDir = None,
    push: str | None = None,
) -> None:
    """Write the body of a run to one file, and a card beside it.

    It is that of the best checkpoint, with all that `metabridge.FewShotClassifier`
    needs.

    Args:
      file: NAME.safetensors; the card is NAME.md.
      licence: Of the body, for the card.
      dtype: Of the parameters in the file: float16 takes half the space. Arrays that it
        does not hold, and batch statistics, stay float32.
      push: Where to upload both, too: hf://USER/NAME, on the Hugging Face hub.
    """
    from metabridge.apply import export_body, hub

    place = None if push is None else hub.place_of(push)
    if push is not None and place is None:
        raise ValueError(f"`push` is {push!r}, but must be hf://USER/NAME")
    if place is not None:
        hub.import_hub()  # before anything is written

    card = export_body(run, file, licence=licence, dtype=dtype, data_dir=data_dir)
    print(f"{file} holds the body of {run}; {card} says what it is")
    if place is not None:
        print(f"uploaded to {hub.push(place, file, card)}")


def report(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    theory: Path | None = None,
    output: Path = Path("report.html"),
    examples: int = 3,
    tasks: int = 100,
    data_dir: DataDir = None,
) -> None:
    """Compare runs on one HTML page that stands by itself.

    Results with intervals and costs, learning curves, example tasks with predictions,
    accuracy by class, features and configurations.

    Args:
      runs: Run folders, or folders that hold some, such as that of a comparison.
        Default: every finished run under runs/.
      theory: Instead of runs, the results.json of `make ntk-compare`: its predictors
        of MTL and GBML, to explore.
      output: The page.
      examples: Test tasks to show.
      tasks: Test tasks to count confusions over. With --examples 0 --tasks 0 neither
        data nor checkpoints are read.
    """
    from metabridge.report import closeness_report, runs_report

    if theory is not None:
        if runs:
            raise ValueError("pass run folders or --theory, not both")
        page = closeness_report(theory, output)
    else:
        page = runs_report(
            runs, output, examples=examples, tasks=tasks, data_dir=data_dir, tell=print
        )
    print(f"the page: {page}")
