"""Where a command is to write is looked at before it works."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user_paths.calls import command, work

Runs = Callable[[str], Path]
COMMANDS = {
    "evaluate": ("evaluate", "RUN", "--output", "OUT"),
    "verify": ("verify", "RUN", "--output", "OUT"),
    "report": ("report", "RUN", "--output", "OUT"),
    "theory report": ("report", "--theory", "results.json", "--output", "OUT"),
    "export": ("export", "RUN", "OUT"),
    "import": ("import", "w.pt", "--model", "resnet18", "--output", "OUT"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("output", "message"),
    [("", "is a folder"), ("missing/out.safetensors", "its folder does not exist")],
)
def test_a_bad_place_is_refused_before_any_work(
    arguments: tuple[str, ...],
    output: str,
    message: str,
    trained: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = str(trained("mtl"))
    monkeypatch.setattr("metabridge.runs.inputs.load_data", work)
    monkeypatch.setattr("metabridge.report.runs_page.predict_groups", work)
    filled = {"RUN": run, "OUT": str(tmp_path / output)}
    capsys.readouterr()
    assert command(*(filled.get(word, word) for word in arguments)) == 2
    assert message in capsys.readouterr().err
