"""The comparison from beginning to end: numbers, tables, figures, page."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.ntk_compare import figures, study, tables, tasks
from experiments.ntk_compare.config import Config, check
from experiments.ntk_compare.measure import TRAIN, Results, draw_images, measure
from experiments.presentation import page, table
from experiments.presentation.numbers import write_json
from metabridge.data import load_dataset
from theory import image_tasks
from theory.finite_width import Widths


def run(config: Config) -> Path:
    """Runs the comparison.

    Returns:
      The HTML page.

    Raises:
      ValueError: a bad argument, before any work.
      FileNotFoundError: the dataset is not there.
    """
    check(config)
    dataset = load_dataset(config.dataset, data_dir=config.data_dir)
    image_tasks.check(dataset, tasks.shape(config))
    images = draw_images(config, dataset)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    results = measure(config, images)
    drawn = _draw(results, config.output_dir)
    all_tables = _tables(results, config)
    for each in all_tables.values():
        print(each.text() + "\n")
    print(table.seconds(results.seconds).text())
    _write_json(config, results)
    (config.output_dir / "tables.md").write_text(
        table.markdown(list(all_tables.values())), encoding="utf-8"
    )
    output = config.output_dir / "index.html"
    sections = _sections(config, results, drawn, all_tables)
    page.write(
        "Multi-task learning and meta-learning, infinitely wide", sections, output
    )
    return output


def _draw(results: Results, folder: Path) -> dict[str, Path]:
    names = (
        "gap-synthetic", "gap-images", "gap-time", "predictions", "kernels",
        "finite-width",
    )  # fmt: skip
    paths = {name: folder / f"{name}.png" for name in names}
    figures.gap_by_depth(results.synthetic, "Synthetic tasks", paths["gap-synthetic"])
    figures.gap_by_depth(results.images, "Image tasks", paths["gap-images"])
    figures.gap_by_time(results.synthetic, "Synthetic tasks", paths["gap-time"])
    figures.predictions(results.curves, paths["predictions"])
    per_task = len(next(iter(results.matrices.values()))) // TRAIN
    figures.kernels(results.matrices, per_task, paths["kernels"])
    figures.finite_width(
        results.kernel_widths, results.prediction_widths, paths["finite-width"]
    )
    return paths


def _tables(results: Results, config: Config) -> dict[str, table.Table]:
    images = f"{config.ways}-way {config.shots}-shot tasks of {config.dataset}"
    synthetic = "synthetic tasks"
    return {
        "gap": tables.gaps(
            results.synthetic, f"Gap of MTL and ANIL, {synthetic}", relative=False
        ),
        "relative": tables.gaps(
            results.synthetic, f"Relative gap, {synthetic}", relative=True
        ),
        "bound": tables.bounds(
            results.synthetic,
            f"Gap ≤ bound {results.synthetic.constant:.2g} (λτ + 1/L), {synthetic}",
        ),
        "others": tables.others(
            results.synthetic, f"Gap in other comparisons, {synthetic}"
        ),
        "image gap": tables.gaps(
            results.images, f"Gap of MTL and ANIL, {images}", relative=False
        ),
        "image relative": tables.gaps(
            results.images, f"Relative gap, {images}", relative=True
        ),
        "image others": tables.others(
            results.images, f"Gap in other comparisons, {images}"
        ),
        "accuracy": tables.accuracies(
            results.accuracies,
            f"Accuracy on {2 * config.tasks} unseen {images}, "
            f"{config.accuracy_depth} hidden layers, with 95 % interval",
        ),
        "kernel widths": tables.widths(
            results.kernel_widths,
            "Relative error of the tangent kernel of finite networks",
        ),
        "prediction widths": tables.widths(
            results.prediction_widths,
            "Relative error of the predictions of trained finite networks",
        ),
    }


def _sections(
    config: Config,
    results: Results,
    drawn: dict[str, Path],
    all_tables: dict[str, table.Table],
) -> list[page.Section]:
    from experiments.ntk_compare.text import sections

    return sections(config, results.seconds, drawn, all_tables)


def _write_json(config: Config, results: Results) -> None:
    def widths(result: Widths) -> dict[str, Any]:
        errors = {name: table.tolist() for name, table in result.errors.items()}
        return {"widths": result.widths, "errors": errors, "slopes": result.slopes}

    values = {
        "config": dataclasses.asdict(config),
        "synthetic": _study_json(results.synthetic),
        "images": _study_json(results.images),
        "accuracies": {
            str(time): {name: value._asdict() for name, value in column.items()}
            for time, column in results.accuracies.items()
        },
        "kernel_widths": widths(results.kernel_widths),
        "prediction_widths": widths(results.prediction_widths),
        "explorer": results.explorer,
        "seconds": results.seconds,
    }
    write_json(config.output_dir / "results.json", values)


def _study_json(result: study.DepthStudy) -> dict[str, Any]:
    return {
        "depths": result.depths,
        "times": result.times,
        "anil": [column._asdict() for column in result.anil],
        "others": {name: column._asdict() for name, column in result.others.items()},
        "bound_constant": result.constant,
    }
