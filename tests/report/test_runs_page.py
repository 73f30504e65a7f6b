"""The page of runs in a browser: it loads, its controls work, its numbers are right."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.report import runs_report
from metabridge.report.runs_page import MOST_RUNS
from metabridge.runs.evaluation import FILE, read_evaluation
from metabridge.runs.metrics import read_metrics
from tests.kept import keep_evaluations
from tests.report import fake
from tests.report.conftest import EVIL, on_screens
from tests.report.test_reliability import MEASURED

pytestmark = pytest.mark.extended

RESULTS = "#results tbody tr"


@pytest.fixture(scope="module")
def page_file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of both trained runs."""
    output = tmp_path_factory.mktemp("page") / "report.html"
    return runs_report([trained], output, examples=2, tasks=5)


@on_screens
def test_loads_from_disk_and_is_accessible(
    show: Any, page_file: Path, width: int, scheme: str
) -> None:
    shown = show(page_file, width=width, scheme=scheme)
    shown.assert_sound()
    for details in shown.page.locator("details summary").all():
        details.click()
    assert shown.violations() == []
    assert page_file.stat().st_size < 3_000_000


def test_numbers_are_those_of_the_files(
    show: Any, page_file: Path, trained: Path
) -> None:
    shown = show(page_file)
    rows = {
        row.locator("th").inner_text().strip(): row.locator("td").all_inner_texts()
        for row in shown.page.locator(RESULTS).all()
    }
    assert rows.keys() == {"mtl", "other"}
    for name, cells in rows.items():
        result = json.loads((trained / name / "result.json").read_text())
        accuracy = f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f}"
        assert accuracy in [cell.strip() for cell in cells]
        assert f"{100 * result['pixel_centroid_accuracy']:.1f}" in cells
        assert f"{result['parameters']:,}" in cells
        assert f"{result['images_per_second']:,.0f}" in cells


def test_sorting(show: Any, page_file: Path) -> None:
    page = show(page_file).page
    head = page.locator("#results th", has_text="Images/s")

    def values() -> list[float]:
        column = head.evaluate("head => head.cellIndex")
        cells = page.locator(f"{RESULTS} > :nth-child({column + 1})").all()
        return [float(cell.get_attribute("data-value")) for cell in cells]

    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    assert page.locator("#results [aria-sort]").count() == 1
    page.locator("#results th button", has_text="Run").click()
    names = page.locator(f"{RESULTS} th").all_inner_texts()
    assert [name.strip() for name in names] == ["mtl", "other"]


def test_the_curves_are_read_by_keyboard_and_switched(
    show: Any, page_file: Path
) -> None:
    shown = show(page_file)
    page, runs = shown.page, shown.data()["runs"]
    figure = page.locator("#curves-figure")
    assert figure.locator(".series .line").count() == 2
    figure.locator(".segments button", has_text="Steps").click()
    figure.locator(".frame").focus()
    page.keyboard.press("End")
    read = dict(
        zip(
            figure.locator(".legend button > span:nth-child(2)").all_inner_texts(),
            figure.locator(".legend .value").all_inner_texts(),
            strict=True,
        )
    )
    for run in runs:
        last = 100 * run["validation"]["accuracy"][-1]
        half = 100 * run["validation"]["ci95"][-1]
        assert read[run["name"]] == f"{last:.1f} ± {half:.1f}"
    assert "step 6" in figure.locator("[aria-live]").inner_text()
    button = figure.locator(".legend button").first
    button.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    assert figure.locator(".series .line").count() == 1
    figure.locator(".segments button", has_text="Loss").click()
    assert "training loss" in figure.locator("svg").text_content()
    assert page.locator("#efficiency-figure .bar").count() == 2
    figure.locator(".legend button").nth(1).click()
    assert "Nothing to show" in figure.locator("svg").text_content()
    figure.locator(".frame").press("End")
    assert not shown.troubles


def test_the_geometry_is_read_and_its_formula_stands_beside_it(
    show: Any, page_file: Path, trained: Path
) -> None:
    shown = show(page_file)
    page, figure = shown.page, shown.page.locator("#geometry-figure")
    runs = {
        name: list(read_metrics(trained / name, "features"))
        for name in ("mtl", "other")
    }
    results = {
        name: json.loads((trained / name / "result.json").read_text()) for name in runs
    }
    figure.locator(".segments button", has_text="Steps").click()
    select = figure.locator("select")
    assert select.locator("option").count() == 6
    for quantity, formula, dots in (
        ("validation_cdnv", "(var_i + var_j) / (2 |μ_i − μ_j|²)", 2),
        ("train_cdnv", "(var_i + var_j)", 0),
        ("validation_cosine_same_class", "q·s / (|q| |s|)", 2),
        ("validation_cosine_other_class", "q·s / (|q| |s|)", 2),
        ("head_condition_number", "κ = σ_1 / σ_r", 0),
        ("head_norm_mean", "|w_c|", 0),
    ):
        select.select_option(quantity)
        assert formula in figure.locator("p.note").inner_text()
        assert figure.locator(".series .line").count() == 2
        assert figure.locator('.series circle.dot[r="5"]').count() == dots
        figure.locator(".frame").focus()
        page.keyboard.press("End")
        names = figure.locator(".legend button > span:nth-child(2)").all_inner_texts()
        values = figure.locator(".legend .value").all_inner_texts()
        for name, value in zip(names, values, strict=True):
            read = [float(v.replace(",", "")) for v in value.split(" ± ")]
            last = runs[name][-1]
            expected = [last[quantity]]
            if quantity == "head_norm_mean":
                expected.append(last["head_norm_std"])
            assert read == pytest.approx(expected, rel=6e-3)
    for run in shown.data()["runs"]:
        features = results[run["name"]]["features"]
        assert run["test"]["test_cdnv"] == pytest.approx(features["test_cdnv"], 1e-5)
    shown.assert_sound()


@pytest.mark.slow
def test_agreement_is_that_of_the_kept_files(
    show: Any, page_file: Path, trained: Path
) -> None:
    shown = show(page_file)
    section = shown.page.locator("#agreement")
    kept = [
        read_evaluation(trained / name / FILE).closed.outcome
        for name in ("mtl", "other")
    ]
    same = 100 * np.mean(kept[0].predicted == kept[1].predicted)
    select, tables = section.locator("select"), section.locator("table.matrix")
    for measure, cell in (
        ("same_class", f"{same:.1f}"), ("kappa", None), ("divergence", None),
        ("logit_distance", None),
    ):  # fmt: skip
        select.select_option(measure)
        assert [t.is_visible() for t in tables.all()].count(True) == 1
        visible = section.locator(f'[data-measure="{measure}"]')
        assert visible.locator("p.note").is_visible()
        values = visible.locator("td.own, td.other").all_inner_texts()
        assert len(set(values)) == 1
        assert cell is None or values == [cell, cell]
        shown.assert_sound()
    assert "No comparison of methods" in section.inner_text()
    finding = shown.page.locator(".finding").inner_text()
    gap = abs(float(np.mean(np.float64(kept[0].accuracy) - kept[1].accuracy)))
    assert f"On the same tasks it is {100 * gap:.2f} ± " in finding


def test_a_run_of_an_earlier_version_has_no_geometry(show: Any, tmp_path: Path) -> None:
    run = fake.finished(tmp_path / "earlier")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["kind"] != "features"]
    (run / "metrics.jsonl").write_text("".join(kept))
    shown = show(runs_report([run], tmp_path / "a.html", examples=0, tasks=0))
    assert shown.page.locator("#geometry").count() == 0
    assert not shown.troubles
    new = fake.finished(tmp_path / "new")
    shown = show(runs_report([run, new], tmp_path / "b.html", examples=0, tasks=0))
    assert shown.page.locator("#geometry-figure .series .line").count() == 1
    shown.assert_sound()


def test_time_has_round_numbers_and_a_name_is_not_struck_through(
    show: Any, tmp_path: Path
) -> None:
    run = fake.finished(tmp_path / "quarter of an hour", train_seconds=900.0)
    page = runs_report([run], tmp_path / "a.html", examples=0, tasks=0)
    figure = show(page).page.locator("#efficiency-figure")
    times = figure.locator(".ticks .middle").all_text_contents()
    assert times == ["0.2 min", "0.5 min", "1 min", "2 min", "5 min", "10 min"]
    name = figure.locator(".series .end")
    assert name.text_content() == "quarter of an hour"
    last = float(figure.locator(".dot").get_attribute("cy"))
    assert float(name.get_attribute("y")) < last - 8


def test_example_tasks(show: Any, page_file: Path) -> None:
    shown = show(page_file)
    page, group = shown.page, shown.data()["groups"][0]
    page.locator(".segments button", has_text="Task 2").click()
    page.locator("#tasks select").select_option("1")
    task = page.locator('.task[data-task="1"]')
    assert page.locator(".task:visible").count() == 1
    confidence = group["confidence"]["1"][1]
    for way, rows in enumerate(confidence):
        for query, row in enumerate(rows):
            said = row.index(max(row))
            chosen = f'button[data-way="{way}"][data-query="{query}"]'
            button = task.locator(chosen)
            sure = f"{said + 1} · {int(100 * max(row) + 0.5)} %"
            assert button.inner_text().strip().removeprefix("✗ ") == sure
            assert button.get_attribute("class") == (
                "right" if said == way else "wrong"
            )
    task.locator('button[data-way="2"][data-query="1"]').press("Enter")
    cells = page.locator(".confidence tbody tr").nth(1).locator("td")
    written = [f"{100 * value:.1f}" for value in confidence[2][1]]
    read = [float(cell) for cell in cells.all_inner_texts()]
    assert read == pytest.approx([float(value) for value in written], abs=0.051)


def test_features_and_classes(show: Any, page_file: Path) -> None:
    shown = show(page_file)
    page = shown.page
    assert page.locator("#features-figure figure").count() == 2
    first = page.locator("#features-figure .legend button").first
    first.click()
    assert first.get_attribute("aria-pressed") == "true"
    points = page.locator("#features-figure figure .point")
    assert points.count() == 2 * len(shown.data()["embeddings"][0]["points"])
    dim = page.locator("#features-figure figure .point.dim")
    assert dim.count() == points.count() * 3 // 4
    assert page.locator("#classes .classes tbody tr").count() == 4


def test_only_what_differs(show: Any, page_file: Path) -> None:
    page = show(page_file).page
    alike = page.locator(".options tr.alike")
    assert alike.count() > 10
    assert not alike.first.is_visible()
    page.locator("#only-differences").uncheck()
    assert alike.first.is_visible()
    assert page.locator(".options tr.differs").first.is_visible()


def test_print(show: Any, page_file: Path) -> None:
    page = show(page_file, scheme="dark").page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("#curves-figure svg").is_visible()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".matrix").first.is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"


def test_what_others_wrote_stays_text(
    show: Any, page_file: Path, tmp_path: Path
) -> None:
    shown = show(page_file)
    assert EVIL in shown.page.locator("#classes").inner_text()
    assert EVIL in shown.page.locator("#tasks").inner_text()
    made = {"command": f"</script>{EVIL}", "commit": {"a": EVIL}}
    evil = fake.finished(tmp_path / EVIL, provenance=made)
    other = fake.finished(tmp_path / "x" / EVIL, 0.5)
    output = runs_report([evil, other], tmp_path / "a.html", examples=0, tasks=0)
    shown = show(output)
    assert not shown.troubles
    assert (
        f"/{EVIL} is the most accurate" in shown.page.locator(".finding").inner_text()
    )
    assert shown.page.locator("img").count() == 0
    assert f"</script>{EVIL}" in shown.page.locator(".options").inner_text()


def test_a_run_alone_whose_data_are_gone(
    show: Any, trained: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(trained / "mtl", tmp_path / "mtl"))
    shutil.rmtree(copy / "checkpoints")
    told: list[str] = []
    shown = show(runs_report([copy], tmp_path / "a.html", tasks=1, tell=told.append))
    assert not shown.troubles
    assert shown.violations() == []
    assert shown.page.locator("h1").inner_text() == "mtl"
    assert "holds no checkpoint" in shown.page.locator("#missing").inner_text()
    assert shown.page.locator(".mark").count() == 0


def test_without_scripts(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator(RESULTS).count() == 2
    assert "needs JavaScript" in page.locator("#learning").inner_text()
    assert not page.locator(".controls").first.is_visible()
    assert all(m.is_visible() for m in page.locator("#agreement .matrix").all())
    context.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"examples": -1}, "`examples` is -1"),
        ({"tasks": -1}, "`tasks` is -1"),
        ({"data_dir": Path("none")}, "`data_dir` is none, which is no folder"),
        ({"output": Path("none/a.html")}, "its folder does not exist"),
    ],
)
def test_bad_input(
    options: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fake.finished(tmp_path / "run")
    with pytest.raises(ValueError, match=says):
        runs_report([run], **options)
    assert not list(tmp_path.glob("*.html"))


def test_too_many_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [tmp_path / str(number) for number in range(MOST_RUNS + 1)]
    monkeypatch.setattr("metabridge.report.runs_page.find_runs", lambda given: many)
    with pytest.raises(ValueError, match=r"61 runs, but a page holds 60"):
        runs_report([tmp_path], tmp_path / "a.html")


def test_reliability_is_read_and_switched_to_the_temperature(
    show: Any, tmp_path: Path
) -> None:
    folders = [
        fake.finished(tmp_path / "warm", **MEASURED),
        fake.finished(tmp_path / "plain"),
    ]
    keep_evaluations(*folders)
    page_file = runs_report(folders, tmp_path / "page.html", examples=0, tasks=0)
    shown = show(page_file)
    shown.assert_sound()
    page, diagrams = shown.page, shown.data()["reliability"]
    figure = page.locator("#reliability-figure")
    curves = figure.locator(".frame").first.locator(".series:not(.target) .line")
    assert curves.count() == 2
    figure.locator(".frame").first.focus()
    page.keyboard.press("End")
    values = figure.locator(".legend").first.locator(".value").all_inner_texts()
    last = 100 * diagrams[0]["raw"]["accuracy"][-1]
    assert values[0] == f"{last:.1f}"
    figure.locator(".segments button", has_text="At the temperature").click()
    assert curves.count() == 1  # the other run has none
    assert not shown.troubles
