"""The closeness page: its result checked, its sliders and numbers in a browser."""

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metabridge.report import closeness_report
from metabridge.report.closeness import read_explorer
from tests.report import fake
from tests.report.conftest import on_screens


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    result = fake.write_explorer(tmp_path / "results.json")
    return closeness_report(result, tmp_path / "theory.html")


@pytest.mark.extended
@on_screens
def test_loads_from_disk_and_is_accessible(
    show: Any, page_file: Path, width: int, scheme: str
) -> None:
    show(page_file, width=width, scheme=scheme).assert_sound()


@pytest.mark.extended
def test_every_setting_shows_its_numbers(show: Any, page_file: Path) -> None:
    shown = show(page_file)
    page, given = shown.page, fake.explorer()
    cells = {(c["depth"], c["time"], c["shots"], c["task"]): c for c in given["cells"]}
    frame = page.locator("#predictions-figure .frame")
    for task, *places in itertools.product(range(2), repeat=4):
        page.locator("[data-task]").nth(task).click()
        for name, place in zip(("depth", "time", "shots"), places, strict=True):
            slider = page.locator(f"#{name}-slider")
            slider.press("End" if place else "Home")
            assert slider.input_value() == str(place)
        depth, time, shots = places
        cell = cells[(depth, time, shots, task)]
        gap = float(page.locator("#gap").inner_text())
        relative = page.locator("#relative-gap").inner_text().removesuffix(" %")
        assert gap == pytest.approx(cell["gap"], rel=5e-3)
        assert float(relative) == pytest.approx(100 * cell["relative_gap"], rel=5e-3)
        layers = f"{given['depths'][depth]} hidden layer"
        assert page.locator("#depth-slider-value").inner_text().startswith(layers)
        time_shown = page.locator("#time-slider-value").inner_text()
        assert float(time_shown) == given["times"][time]
        support = page.locator("#predictions-figure circle.dot")
        assert support.count() == given["shots"][shots]
        frame.focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        values = page.locator("#predictions-figure .value").all_inner_texts()
        expected = [0.0 + 1.0, cell["mtl"][1], cell["gbml"][1]]
        assert [float(v) for v in values] == pytest.approx(expected, rel=5e-3)
    assert not shown.troubles


@pytest.mark.extended
def test_sliders_move_by_the_keyboard(show: Any, page_file: Path) -> None:
    page = show(page_file).page
    slider = page.locator("#depth-slider")
    before = page.locator("#gap").inner_text()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "16 hidden layers"
    assert page.locator("#gap").inner_text() != before
    label = page.locator("#predictions-figure svg").get_attribute("aria-label")
    assert "16 hidden layers" in label


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no result"):
        closeness_report(tmp_path / "none.json", tmp_path / "a.html")
    result = fake.write_explorer(tmp_path / "results.json")
    with pytest.raises(ValueError, match="its folder does not exist"):
        closeness_report(result, tmp_path / "none" / "a.html")


def test_a_page_that_would_be_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metabridge.report.markup.MAX_BYTES", 1000)
    result = fake.write_explorer(tmp_path / "results.json")
    with pytest.raises(ValueError, match="compare fewer depths or times"):
        closeness_report(result, tmp_path / "a.html")


def test_a_result(tmp_path: Path) -> None:
    path = fake.write_explorer(tmp_path / "results.json", more="ignored")
    training_tasks, values = read_explorer(path)
    assert training_tasks == 8
    assert values["depths"] == (1, 16)
    assert (len(values["tasks"]), len(values["cells"])) == (2, 16)
    assert "more" not in values


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e.pop("depths"), "'depths'"),
        (lambda e: e["depths"].clear(), "`depths` holds 0 numbers, not some"),
        (lambda e: e["depths"].__setitem__(0, 0), "a depth is not positive"),
        (lambda e: e["times"].__setitem__(0, "<b>"), r"`times\[0\]` is '<b>'"),
        (lambda e: e["times"].__setitem__(0, 10**400), "no result of"),
        (lambda e: e["cells"].pop(), "lacks some combinations"),
        (lambda e: e["cells"].__setitem__(0, e["cells"][1]), "lacks some"),
        (lambda e: e["cells"][0].update(depth=2), "`depth` is 2, but must be at most"),
        (lambda e: e["cells"][0].update(gap=None), "`gap` is None, .* be a number"),
        (lambda e: e["cells"][0]["mtl"].pop(), "`mtl` holds 2 numbers, not 3"),
        (lambda e: e.update(tasks=3), "no result of"),
        (lambda e: e.update(cells=[1]), "no result of"),
    ],
)
def test_what_is_none(change: Change, says: str, tmp_path: Path) -> None:
    values = copy.deepcopy(fake.explorer())
    change(values)
    path = fake.write_explorer(tmp_path / "results.json")
    path.write_text(json.dumps({"explorer": values}))
    with pytest.raises(ValueError, match=says):
        read_explorer(path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"explorer": 1}', "{"])
def test_an_older_result_or_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    says = "is not JSON" if content == "{" else "make it anew with `make ntk-compare`"
    with pytest.raises(ValueError, match=says):
        read_explorer(tmp_path / "results.json")
