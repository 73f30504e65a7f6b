"""Names of runs: as short as tells them apart."""

from pathlib import Path

from metabridge.runs.find import name_runs


def test_names_have_as_many_folders_as_tell_them_apart(tmp_path: Path) -> None:
    places = ("a/runs/mtl", "b/runs/mtl", "b/runs/anil", "c/mtl")
    assert name_runs([tmp_path / place for place in places]) == [
        "a/runs/mtl", "b/runs/mtl", "anil", "c/mtl",
    ]  # fmt: skip
    assert name_runs([tmp_path / "mtl", tmp_path / "mtl"]) == ["mtl", "mtl"]
