"""Memory of a step: counted without running it, and less where steps are recomputed."""

import pytest

from benchmarks import maml_memory
from benchmarks.maml_memory import Options
from metabridge.models import MLP


@pytest.mark.slow
def test_recomputed_steps_need_less(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(maml_memory, "ResNet12", lambda: MLP(64, 2))
    options = Options(size=8, shots=100, queries=1, inner_steps=12, both=True)
    found = maml_memory.main(options)
    # 500 images of 192 numbers, and two layers of 64: some 0.7 MB a step.
    assert 1e-3 < found["rematerialised_gb"] < found["kept_gb"] / 2 < 0.1
    assert "kept_gb" in capsys.readouterr().out
