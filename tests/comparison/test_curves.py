"""The figure of a comparison, read off the drawn axes."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from metabridge.comparison.curves import efficiency_curves
from tests.own import OPTIONS


def run(name: str, number: int) -> dict[str, Any]:
    validations = [{"seconds": s, "accuracy": s / 100} for s in (6.0, 30.0, 60.0)]
    return {
        "algorithm": name,
        "error": None,
        "train_seconds": 60.0,
        "accuracy": 0.7 + number / 100,
        "ci95": 0.02,
        "validations": validations,
    }


@pytest.mark.extended
def test_twelve_algorithms_are_told_apart(
    tmp_path: Path, saved_figures: list[Figure]
) -> None:
    runs = [run(name, number) for number, name in enumerate(OPTIONS)]
    runs.append({"algorithm": "mtl", "error": "diverged"})
    efficiency_curves({"title": "glyphs", "runs": runs}, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 500
    axes = saved_figures[0].axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_title().startswith("glyphs")
    points = [np.asarray(line.get_xydata(), np.float64) for line in axes.lines]
    curves = [line for line, at in zip(axes.lines, points, strict=True) if len(at) == 3]
    assert len(curves) == len(OPTIONS)
    np.testing.assert_allclose(points[0], [[6, 6], [30, 30], [60, 60]])
    assert len({str(line.get_marker()) for line in curves}) == len(OPTIONS)
    styles = {(line.get_color(), line.get_linestyle()) for line in curves}
    assert len(styles) == len(OPTIONS)
    # A label for each, the best on top, none over another.
    saved_figures[0].draw_without_rendering()
    assert axes.texts[0].get_text() == f"{list(OPTIONS)[-1]}  81.0 ± 2.0"
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the arrow
    assert len(boxes) == len(OPTIONS)
    assert all(over.y0 > under.y1 for over, under in itertools.pairwise(boxes))


def test_the_marker_at_the_end_has_the_interval_of_the_test(
    tmp_path: Path, saved_figures: list[Figure]
) -> None:
    efficiency_curves({"title": "t", "runs": [run("mtl", 0)]}, tmp_path / "curves.png")
    axes = saved_figures[0].axes[0]
    bar = np.asarray(axes.collections[0].get_paths()[0].vertices, np.float64)
    np.testing.assert_allclose(bar, [[60, 68], [60, 72]])


def test_nothing_to_draw(tmp_path: Path) -> None:
    failed = [{"algorithm": "mtl", "error": "diverged"}]
    efficiency_curves({"title": "t", "runs": failed}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()
