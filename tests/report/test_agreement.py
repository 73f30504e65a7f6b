"""The section on agreement: its numbers by hand, and what it leaves out."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metabridge.report.agreement import agreement_views, paired_difference
from metabridge.report.runs import Run, read
from metabridge.runs.evaluation import FILE, read_evaluation
from tests.kept import QUERIES, TASKS, WAYS, keep_evaluations
from tests.report import fake

NAMES = ("a<b>", "b", "c", "d")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [fake.finished(tmp_path / name) for name in NAMES]
    keep_evaluations(*found)
    return found


def with_seeds(runs: list[Run]) -> list[Run]:
    """Two methods with two seeds each, in turn."""
    found = []
    for number, run in enumerate(runs):
        train = replace(run.config.train, seed=number // 2)
        model = replace(run.config.model, width=8 * (1 + number % 2))
        config = replace(run.config, train=train, model=model)
        found.append(run._replace(config=config))
    return found


def matrix(view: str, measure: str) -> tuple[list[str], np.ndarray]:
    """Names of the rows, and the numbers; NaN on the diagonal."""
    part = view.split(f'data-measure="{measure}"')[1].split("</table>")[0]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', part)
    names = [re.sub("<[^>]*>", "", name) for name, _ in rows]
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", cells) for _, cells in rows]
    return names, np.array([[float(c.replace("·", "nan")) for c in r] for r in cells])


def test_matrices_by_hand(folders: list[Path]) -> None:
    (view,) = agreement_views(with_seeds(read(folders)))
    about = f"4 runs on the same {TASKS} test tasks of {WAYS * QUERIES} queries."
    assert about in view
    assert "<b>" not in view
    kept = [read_evaluation(folder / FILE).closed.outcome for folder in folders]
    order = [0, 2, 1, 3]  # the runs of one method beside each other
    names, same = matrix(view, "same_class")
    assert names == ["a&lt;b&gt;", "c", "b", "d"]
    _, kappa = matrix(view, "kappa")
    for row, a in enumerate(order):
        assert np.isnan(same[row, row])
        for column, b in enumerate(order):
            if a == b:
                continue
            shared = np.mean(kept[a].predicted == kept[b].predicted)
            p, q = kept[a].accuracy.mean(), kept[b].accuracy.mean()
            chance = p * q + (1 - p) * (1 - q) / (WAYS - 1)
            assert same[row, column] == pytest.approx(100 * shared, abs=0.051)
            expected = (shared - chance) / (1 - chance)
            assert kappa[row, column] == pytest.approx(expected, abs=6e-4)
    shades = re.findall(r'class="(own|other) h\d"', view)
    assert shades == ["own"] * 24 + ["other"] * 24


def test_seeds_against_methods(folders: list[Path]) -> None:
    (view,) = agreement_views(with_seeds(read(folders)))
    table = view.split('class="methods"')[1]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table)
    assert [name for name, _ in rows] == [
        "same class, %", "kappa", "divergence, bits", "logit distance",
    ]  # fmt: skip
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", rows[0][1])
    _, same = matrix(view, "same_class")
    within = (same[0, 1] + same[2, 3]) / 2
    between = (same[0, 3] + same[1, 2]) / 2  # of different seeds
    assert float(cells[1]) == pytest.approx(within, abs=0.11)
    assert float(cells[2]) == pytest.approx(between, abs=0.11)
    assert "Within: pairs of seeds of one method" in view
    # Runs of one method alone.
    (view,) = agreement_views(read(folders[:2]))
    assert 'class="methods"' not in view
    assert "No comparison of methods: " in view


def test_what_is_not_comparable_is_left_out(folders: list[Path]) -> None:
    keep_evaluations(*folders[2:], seed=1)
    assert len(agreement_views(read(folders))) == 2  # one of each set of tasks
    (folders[2] / FILE).unlink()
    (view,) = agreement_views(runs := read(folders))
    assert matrix(view, "kappa")[0] == ["a&lt;b&gt;", "b"]
    assert paired_difference(runs[0], runs[1]) is not None
    assert paired_difference(runs[0], runs[2]) is None
    assert paired_difference(runs[0], runs[3]) is None
    keep_evaluations(*folders[:2], logits=False)
    (view,) = agreement_views(read(folders))
    assert 'data-measure="kappa"' in view
    assert "divergence" not in view
    (folders[0] / FILE).unlink()
    assert agreement_views(read(folders)) == []


def test_a_matrix_of_the_most_accurate(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metabridge.report.agreement.MOST_RUNS", 3)
    (view,) = agreement_views(read(folders))
    assert "queries; the 3 most accurate ones." in view
    assert matrix(view, "kappa")[0] == ["a&lt;b&gt;", "b", "c"]
