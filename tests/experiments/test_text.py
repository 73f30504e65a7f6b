"""The study of text: what is read, and the table of a small run."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import text

TOPS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota",
        "kappa", "lambda_", "mu", "nu", "xi")  # fmt: skip


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation: 14 packages of two packages of 40 functions each."""
    root = tmp_path / "lib"
    for top in TOPS:
        for inner in ("one", "two"):
            folder = root / top / inner
            folder.mkdir(parents=True)
            functions = (
                f'def f{n}():\n    """{top * 3} {inner} {n} {"of many" * 8}."""\n'
                for n in range(40)
            )
            (folder / "code.py").write_text("\n".join(functions))
    (root / "alpha" / "tests").mkdir()
    (root / "alpha" / "tests" / "code.py").write_text('"""' + "x" * 80 + '"""')
    (root / "broken.py").write_text("def f(:")
    monkeypatch.setattr(text.sysconfig, "get_path", lambda name: str(root))
    return root


def letters(texts: list[str]) -> np.ndarray:
    """The share of each letter in a text, a stand-in for its features."""
    counts = [[each.count(chr(97 + n)) for n in range(26)] for each in texts]
    return np.asarray(counts, np.float32)


def test_classes_are_packages(packages: Path) -> None:
    found = text.read_docstrings()
    assert set(found) == {f"{top}.{inner}" for top in TOPS for inner in ("one", "two")}
    assert all(len(texts) == 40 for texts in found.values())
    assert found["alpha.one"][0].startswith("alphaalphaalpha one 0 of many")


def test_a_top_level_package_is_in_one_split(packages: Path) -> None:
    for top in TOPS:
        assert text.split_of(f"{top}.one") == text.split_of(f"{top}.two")
    splits = [text.split_of(f"package{n}") for n in range(2000)]
    assert 0.55 < splits.count("train") / 2000 < 0.65
    assert 0.12 < splits.count("validation") / 2000 < 0.18


@pytest.mark.slow
def test_a_small_run(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "embed_texts", letters)
    monkeypatch.setattr(
        text,
        "split_of",
        lambda name: ["train", "train", "validation", "test"][
            TOPS.index(name.partition(".")[0]) % 4
        ],
    )
    options = text.Options(tmp_path / "out", steps=4, width=8, shots=(1,), tasks=20)
    results = text.main(options)
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["mtl"]["1"] == results["mtl"][1]
    gain = results["mtl"][1]["accuracy"] - results["raw"][1]["accuracy"]
    assert results["mtl"][1]["gain"]["mean"] == pytest.approx(gain, abs=1e-6)
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.count("\n") == 6
    again = text.main(options)  # what is finished is taken
    assert again == results


@pytest.mark.extended
def test_features_of_texts() -> None:
    pytest.importorskip("wordllama", reason="WordLlama is not installed")
    found = text.embed_texts(["a cat sat", "the cat sat", "tensor contraction"])
    assert found.shape == (3, 256)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert found[0] @ found[1] > 0.5 > found[0] @ found[2]
