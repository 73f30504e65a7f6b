"""All code on the pages of the documentation is run, page by page and in its order.

Python is executed. So is shell; what it calls is followed to its end where that takes
seconds, and else to the point where the work would begin (`tests/docs/follow.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
import yaml

from tests.docs import surroundings
from tests.docs.blocks import Block, blocks
from tests.docs.follow import follow
from tests.docs.shell import ROOT, commands
from tests.own import forgotten

pytestmark = pytest.mark.usefixtures(forgotten.__name__)
__all__ = ["forgotten"]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SLOW = ("docs/closeness.md", "docs/theory.md")
"""Pages whose code takes minutes."""


@pytest.fixture(scope="session")
def run(finished_run: Path) -> Path:
    """Finished run on tiny images."""
    return finished_run


@pytest.fixture(autouse=True)
def as_users_have_it() -> Iterator[None]:
    """JAX as it is when nothing is set."""
    ranks = jax.numpy_rank_promotion("allow")
    with ranks, jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=str(page.relative_to(ROOT)),
            marks=pytest.mark.slow
            if str(page.relative_to(ROOT)) in SLOW
            else pytest.mark.extended,
        )
        for page in PAGES
    ],
)
def test_code(
    page: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = surroundings.prepare(tmp_path, run, monkeypatch)
    for block in blocks(page):
        try:
            _execute(block, names)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{block}: {error}") from error


def _execute(block: Block, names: dict[str, Any]) -> None:
    match block.language:
        case "python":
            # Line numbers of a traceback are those of the page.
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(block.page), "exec"), names)
        case "bash":
            for called in commands(block.code, Path.cwd()):
                follow(called)
        case "yaml":
            job = yaml.safe_load(block.code)
            follow(job["spec"]["template"]["spec"]["containers"][0]["command"])
        case "text":
            pass
        case other:
            raise AssertionError(f"nobody runs {other}")


def test_every_page_is_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert str(page.relative_to(ROOT / "docs")) in listed
