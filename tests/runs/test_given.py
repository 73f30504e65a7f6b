"""Datasets given in Python: their names, and runs that are refused with others."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from metabridge.config import Config, DataConfig
from metabridge.data.registry import load_dataset
from metabridge.registry import DATASETS, register_dataset
from metabridge.runs import given
from metabridge.runs.folder import RunError
from tests import toy

ONE = dataclasses.replace(toy.dataset(), name="given_in_a_test")
OTHER = dataclasses.replace(ONE, std=(0.3,))


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    DATASETS.remove(ONE.name)


def test_another_may_take_the_name() -> None:
    for dataset in (ONE, OTHER, ONE):
        config = given.with_dataset(Config(), dataset)
        assert config.data == DataConfig(dataset.name)
        assert load_dataset(dataset.name) is dataset


def test_a_dataset_that_is_registered_otherwise_stays() -> None:
    register_dataset(ONE.name, lambda: OTHER)
    with pytest.raises(ValueError, match="'given_in_a_test', as is one that is regist"):
        given.with_dataset(Config(), ONE)
    assert load_dataset(ONE.name) is OTHER
    with pytest.raises(ValueError, match="'glyphs', as is one that is registered"):
        given.with_dataset(Config(), dataclasses.replace(ONE, name="glyphs"))


def test_a_run_is_refused_with_another_dataset(tmp_path: Path) -> None:
    file = tmp_path / "provenance.json"
    given.check(tmp_path, OTHER)  # nothing is recorded
    file.write_text(json.dumps({"python": "3"} | given.about(ONE)))
    given.check(tmp_path, ONE)
    given.check(tmp_path, dataclasses.replace(ONE, name="else"))
    assert given.recorded(tmp_path) == given.about(ONE)
    with pytest.raises(RunError, match="was given another dataset than the one that"):
        given.check(tmp_path, OTHER)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dataset": []}', "\0"])
def test_damaged_provenance_records_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(text)
    assert given.recorded(tmp_path) == {}
