"""What the site adds to notebooks."""

import importlib.util
from types import SimpleNamespace

import pytest

from tests.docs.notebooks import FOLDER

_SPEC = importlib.util.spec_from_file_location("hooks", FOLDER.parent / "hooks.py")
assert _SPEC is not None
assert _SPEC.loader is not None
hooks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hooks)
MISSING = '<img alt="No description has been provided for this image" src="x">'


def page(path: str) -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(abs_src_path=path))


def test_pictures_get_their_text_in_order() -> None:
    made = hooks.on_page_content(
        f"<p>{MISSING}</p>{MISSING}", page=page(str(FOLDER / "closeness.ipynb"))
    )
    assert "No description" not in made
    assert made.index("against depth.") < made.index("against the time")


def test_pictures_that_do_not_match_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"closeness.ipynb: 2 pictures, 1 without"):
        hooks.on_page_content(MISSING, page=page(str(FOLDER / "closeness.ipynb")))


def test_other_pages_are_left_alone() -> None:
    assert hooks.on_page_content(MISSING, page=page("index.md")) == MISSING
