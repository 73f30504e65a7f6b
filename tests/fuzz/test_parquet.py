"""Parquet files with changed bytes: read, or refused in a line."""

import random
from pathlib import Path

import numpy as np
import pytest

from metabridge.data import image_table
from metabridge.data.datasets import parquet
from tests.data.datasets.test_parquet import png, write
from tests.fuzz.fuzzing import check, each_count, mutated

pytestmark = pytest.mark.extended
pytest.importorskip("pyarrow.parquet")


@each_count
def test_changed_files(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    files = [png(np.full((2, 2, 3), n, np.uint8)) for n in range(12)]
    labels = [n // 2 for n in range(12)]
    write(path, {"image": files, "label": labels}, list("abcdef"))
    whole, generator = path.read_bytes(), random.Random(0)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        image_table.divide(list(parquet._rows(path)), "a.parquet")

    inputs = (mutated(whole, generator) for _ in range(count))
    report = check(read, inputs, errors=(ValueError,))
    assert report.refused > count // 10
