"""The diagnosis of a user's tasks: its numbers, its sentences, its errors."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.closeness import verdict
from tests.theory.cases import equal_tasks, sphere, textbook

HEAD = theory.gradient_flow("head", time=1.0)
KERNEL = textbook(3, last_W_std=2**0.5)


def classes(seed: int, count: int, *, ways: int = 3, shots: int = 3) -> theory.Tasks:
    """The class of a point is its largest coordinate: the same in every task."""
    rng = np.random.default_rng(seed)
    fields = []
    for size in (ways * shots, 6):
        x = np.stack([sphere(rng, size, 8) for _ in range(count)])
        fields += [x, theory.one_hot(x[..., :ways].argmax(-1), ways, centred=True)]
    return theory.Tasks(*fields)


def found(**changes: float) -> theory.Diagnosis:
    """A diagnosis with some numbers given."""
    sizes = {"gap": 1.0, "relative_gap": 0.3, "transfer": 1.0, "agreement": 0.8}
    close = {name: changes.pop(name, value) for name, value in sizes.items()}
    empty = np.zeros(0)
    spectrum = theory.Spectrum(np.ones(10))
    values = {
        "transfer_share": 0.5, "mtl_accuracy": math.nan, "gbml_accuracy": math.nan,
        "untrained_accuracy": math.nan, "interval": 0.01, "inner_time": 0.1,
        "depth": 3, "mtl_spectrum": spectrum, "gbml_spectrum": spectrum,
    } | changes  # fmt: skip
    closeness = theory.Closeness(
        **close, gaps=empty, transfers=empty, agreements=empty, mtl=[], gbml=[]
    )
    return theory.Diagnosis(closeness=closeness, tasks=2, unseen=2, outputs=5, **values)  # type: ignore[arg-type]


def test_numbers_equal_those_of_compare() -> None:
    tasks, unseen = classes(0, 5), classes(1, 7)
    kernel, inner = textbook(2), theory.gradient_flow("all", time=0.2)
    options = {"inner": inner, "adaptation": HEAD, "train_on": "joint"}
    result = theory.diagnose(tasks, unseen, kernel=kernel, depth=2, **options)
    expected = theory.compare(kernel, tasks, unseen, **options)
    np.testing.assert_allclose(result.closeness.gaps, expected.gaps, rtol=1e-9)
    assert result.relative_gap == pytest.approx(expected.relative_gap)
    assert result.agreement == expected.agreement
    assert result.transfer == pytest.approx(expected.transfer)
    whole = [np.linalg.norm(each) for each in expected.gbml]
    assert result.transfer_share == pytest.approx(np.mean(expected.transfers / whole))
    truth = np.asarray(unseen.query_y).argmax(-1)
    right = (np.argmax(expected.mtl, -1) == truth).mean(1)
    assert result.mtl_accuracy == pytest.approx(right.mean())
    for spectrum, matrix in (
        (result.mtl_spectrum, theory.mtl_kernel(kernel, tasks, train_on="joint")),
        (result.gbml_spectrum, theory.gbml_kernel(kernel, tasks, inner=inner)),
    ):
        scale = np.trace(matrix) / len(matrix)
        inverse = np.linalg.inv(matrix + scale * np.eye(len(matrix)))
        assert spectrum.effective_dimension == pytest.approx(np.trace(matrix @ inverse))
        assert spectrum.condition == pytest.approx(np.linalg.cond(matrix), rel=1e-6)
        largest = np.linalg.eigvalsh(matrix)[-1]
        assert spectrum.top_share == pytest.approx(largest / np.trace(matrix))
        assert spectrum.top_shares.sum() <= 1


def test_accuracy_without_training_is_that_of_independent_heads() -> None:
    tasks, unseen = classes(2, 5), classes(3, 9)
    kernel = textbook(2)
    shared = theory.diagnose(tasks, unseen, kernel=kernel)
    independent = theory.diagnose(tasks, unseen, kernel=kernel, heads="independent")
    assert independent.mtl_accuracy == pytest.approx(shared.untrained_accuracy)
    assert independent.untrained_accuracy == pytest.approx(shared.untrained_accuracy)
    assert independent.relative_gap == pytest.approx(1.0)


@pytest.mark.extended
def test_default_is_three_hidden_layers_and_prints() -> None:
    tasks, unseen = classes(4, 12), classes(5, 20)
    result = theory.diagnose(tasks, unseen)
    given = theory.diagnose(
        tasks, unseen, kernel=theory.relu_network(3, last_W_std=2**0.5), depth=3,
        inner=theory.gradient_flow("head", time=0.1), adaptation=HEAD,
    )  # fmt: skip
    np.testing.assert_allclose(result.closeness.gaps, given.closeness.gaps, rtol=1e-12)
    text = str(result)
    for part in (
        "12, 20", f"{result.gap:.3g}", "same predicted class", "accuracy of MTL",
        "effective dimension", "λτ, 1/L", *result.reading,
    ):  # fmt: skip
        assert part in text
    # The class is one function in all tasks: training pays.
    assert "Training helps" in text
    written = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert written["agreement"] == result.agreement
    assert written["reading"] == list(result.reading)


def test_regression_has_neither_agreement_nor_accuracy() -> None:
    tasks, unseen = equal_tasks(6, outputs=1), equal_tasks(7, 3, outputs=1)
    result = theory.diagnose(tasks, unseen, kernel=KERNEL)
    assert math.isnan(result.agreement)
    assert math.isnan(result.mtl_accuracy)
    assert result.as_dict()["agreement"] is None
    assert "predictions are" in result.reading[0]
    assert "nan" not in str(result)
    # Two outputs that are no classes have an agreement, but no accuracy.
    result = theory.diagnose(equal_tasks(6), equal_tasks(7, 3), kernel=KERNEL)
    assert 0 <= result.agreement <= 1
    assert math.isnan(result.gbml_accuracy)
    assert "accuracy" not in str(result)


def test_queries_without_labels() -> None:
    unseen = classes(8, 4)
    bare = theory.Tasks(unseen.support_x, unseen.support_y, unseen.query_x)
    result = theory.diagnose(classes(9, 4), bare, kernel=KERNEL)
    assert math.isnan(result.mtl_accuracy)
    assert result.agreement > 0


def test_the_reading_follows_its_thresholds() -> None:
    for changes, says in (
        ({"relative_gap": verdict.CLOSE}, "can stand in for GBML"),
        ({"agreement": verdict.SAME}, "As classifiers MTL and GBML are one"),
        ({"relative_gap": verdict.APART}, "cannot stand in"),
        ({"relative_gap": 0.3}, "comes near"),
    ):
        assert says in found(**changes).reading[0]
    assert found(agreement=verdict.SAME).close
    assert found(relative_gap=verdict.CLOSE).close
    assert not found().close
    assert "adaptation on the support the rest" in found(transfer_share=0.04).reading[1]
    accuracies = {"mtl_accuracy": 0.5, "gbml_accuracy": 0.52}
    for alone, says in ((0.4, "helps"), (0.6, "harms"), (0.515, "changes little")):
        said = found(untrained_accuracy=alone, **accuracies).reading[1]
        assert f"Training {says}" in said
    said = found(untrained_accuracy=0.6, interval=0.2, **accuracies).reading[1]
    assert "not decided by these tasks" in said
    accuracies = {"mtl_accuracy": 0.2, "gbml_accuracy": 0.205}
    said = found(untrained_accuracy=0.4, **accuracies).reading[1]
    assert "Neither is better than chance, 20 %" in said
    assert "λτ = 0.1 and 1/L = 0.333" in found(depth=3).reading[-1]
    assert "1/L" not in " ".join(found(depth=None).reading)  # type: ignore[arg-type]
    still = found().closeness._replace(gap=0.0, transfers=np.zeros(3))
    assert (
        "Nothing is transferred"
        in dataclasses.replace(found(), closeness=still).reading[0]
    )
    near = found().closeness
    options = {"half_time": near._replace(relative_gap=0.31)}
    options["twice_depth"] = near._replace(relative_gap=0.1)
    assert (
        "from 0.3 to 0.31 with half the inner loop and to 0.1 with twice the depth: "
        "half the inner loop changes little, twice the depth brings the two closer."
    ) in found(**options).reading[-1]  # type: ignore[arg-type]
    flat = theory.Spectrum(np.array([1.0, 1e-12, 1e-12, 1e-12, 1e-12, 1e-12]))
    said = " ".join(found(mtl_spectrum=flat).reading)  # type: ignore[arg-type]
    assert "directions apart among its 6 rows" in said
    assert "condition number 1e+12" in said


def test_spectrum_of_equal_eigenvalues() -> None:
    spectrum = theory.Spectrum(np.full(8, 2.0))
    assert spectrum.effective_dimension == pytest.approx(4.0)
    assert spectrum.condition == 1.0
    assert theory.Spectrum(np.array([1.0, 0.0])).condition == math.inf


def test_inner_time_of_every_loop() -> None:
    tasks, unseen = classes(10, 3), classes(11, 2)
    for inner, time in (
        (theory.gradient_flow("head", time=0.3), 0.3),
        (theory.gradient_steps("head", lr=0.05, steps=4), 0.2),
        (theory.ridge("head", penalty=4.0), 0.25),
        # Theta of a ReLU network has L + 1 equal parts on its diagonal.
        (theory.gradient_flow("all", time=0.1), 0.4),
        (theory.gradient_flow("body", time=0.1), 0.3),
        (theory.gradient_flow("all", time=0.0), 0.0),
    ):
        found = theory.diagnose(tasks, unseen, kernel=KERNEL, inner=inner)
        assert found.inner_time == pytest.approx(time)


def test_repeated_images_are_named() -> None:
    fields = [np.array(field) for field in vars(classes(12, 3)).values()]
    fields[2][1, 3] = fields[2][1, 0]
    fields[0][2, 1] = fields[2][0, 4]
    with pytest.raises(theory.SingularKernelError) as caught:
        theory.diagnose(theory.Tasks(*fields), classes(13, 2), kernel=KERNEL)
    message = str(caught.value)
    for part in (
        "cannot be diagnosed", "query 0 of task 1 and query 3 of task 1",
        "2 repeat another", "query 4 of task 0 and support 1 of task 2", "jitter",
    ):  # fmt: skip
        assert part in message
    options = {"kernel": KERNEL, "jitter": 1e-3}
    result = theory.diagnose(theory.Tasks(*fields), classes(13, 2), **options)
    assert result.gap > 0


@pytest.mark.slow
def test_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[3] / "docs/closeness.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example, {})
    printed = capsys.readouterr().out
    assert "same predicted class" in printed
    agreement = float(printed.splitlines()[-1].split()[0])
    assert agreement >= 0.95


def test_bad_arguments() -> None:
    tasks = classes(14, 3)
    with pytest.raises(ValueError, match="inputs of the unseen tasks"):
        theory.diagnose(tasks, equal_tasks(15, size=5))
    with pytest.raises(ValueError, match="`depth`"):
        theory.diagnose(tasks, tasks, kernel=textbook(1), depth=-1)
    with pytest.raises(ValueError, match="outputs"):
        theory.diagnose(tasks, equal_tasks(16, outputs=2, size=8))


@pytest.mark.extended
def test_a_kernel_of_ones_own_from_its_matrices() -> None:
    tasks, unseen = equal_tasks(40), equal_tasks(41, 3)
    points, train, test = theory.at_positions(tasks, unseen)
    network = theory.relu_network(2)
    own = theory.diagnose(train, test, kernel=theory.precomputed(network(points)))
    assert own.gap == pytest.approx(
        theory.diagnose(tasks, unseen, kernel=network).gap, rel=1e-9
    )
    with pytest.raises(ValueError, match="rows of its matrices, whole numbers"):
        theory.precomputed(network(points))(np.array([[0.5]]))
    with pytest.raises(ValueError, match="row 999 of a precomputed kernel"):
        theory.precomputed(network(points))(np.array([[999]]))
