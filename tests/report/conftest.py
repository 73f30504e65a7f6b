"""Runs for the pages, a browser that shows them, and the checks of accessibility."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from metabridge.config import MTLConfig, ProtoNetConfig
from tests import toy
from tests.once import build_once

EVIL = "<img src=x onerror=alert(1)>"
"""The name of a test class."""
on_screens = pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (390, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
    ],
)


@pytest.fixture(scope="session")
def images(shared_dir: Path) -> Path:
    """Class folders of tiny images, one with a name that is markup."""

    def write(folder: Path) -> None:
        test = toy.write_folder(folder / "images") / "test"
        (test / "test_0").rename(test / EVIL)

    return build_once(shared_dir, "report-images", write) / "images"


@pytest.fixture(scope="session")
def trained(shared_dir: Path, images: Path) -> Path:
    """Folder with two finished runs, ``mtl`` and ``other``."""

    def train_both(folder: Path) -> None:
        for name, learner in {"mtl": MTLConfig(), "other": ProtoNetConfig()}.items():
            toy.train_run(toy.config(images, learner=learner), folder / name)

    return build_once(shared_dir, "report-runs", train_both)


@pytest.fixture(autouse=True)
def checkpoints_promote() -> Iterator[None]:
    """Optax divides counts by numbers where a state is made anew."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"]
        )
        yield started
        started.close()


class Shown:
    """A page in the browser, and everything that went wrong on it."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str) -> None:
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def violations(self) -> list[str]:
        """What axe-core finds."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = axe.run(self.page).response["violations"]
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]

    def assert_sound(self) -> None:
        """Nothing failed, nothing came from elsewhere, all can be read by all."""
        assert not self.troubles
        assert not self.loaded_elsewhere()
        assert not self.overflows()
        assert self.violations() == []

    def data(self) -> Any:
        """What the page gave to its script."""
        return json.loads(self.page.text_content("#report-data"))

    def loaded_elsewhere(self) -> list[str]:
        return [u for u in self.requests if not u.startswith(("file:", "data:"))]

    def overflows(self) -> bool:
        """Whether the page as a whole scrolls sideways."""
        wide = "document.documentElement.scrollWidth > innerWidth"
        return bool(self.page.evaluate(wide))


@pytest.fixture
def show(browser: Any) -> Iterator[Any]:
    """Opens pages: ``show(path, width=1280, scheme="light")``."""
    opened: list[Shown] = []

    def opener(path: Path, *, width: int = 1280, scheme: str = "light") -> Shown:
        opened.append(Shown(browser, path, width, scheme))
        return opened[-1]

    yield opener
    for shown in opened:
        shown.context.close()
