"""Where a body is loaded from, and that it is loaded once."""

from pathlib import Path

import pytest

from metabridge.apply.loading import cached, load_body


def test_a_run_is_loaded_once_until_it_changes(run: Path) -> None:
    body = cached(run, None)
    assert cached(str(run), None) is body
    assert cached(body, None) is body
    assert load_body(run) is not body
    (run / "result.json").touch()
    assert cached(run, None) is not body


def test_what_is_no_body(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is int, but must be a run's folder, a file"):
        cached(3, None)
    for place in (tmp_path, tmp_path / "nowhere", ""):
        with pytest.raises(
            ValueError, match=r"holds no run|is neither a run's folder nor a file"
        ):
            load_body(place)
