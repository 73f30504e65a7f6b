"""The kept file of an evaluation: there and back, damage, accuracy by class."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from metabridge.evaluation import Tasks, draw_disjoint_tasks
from metabridge.evaluation.scores import Outcome
from metabridge.files import write_json
from metabridge.runs.evaluation import (
    Evaluation,
    TaskRecords,
    check_result_output,
    read_evaluation,
    read_own,
    same_tasks,
    split_digest,
    write_evaluation,
)
from metabridge.runs.folder import RunError
from metabridge.types import TaskShape
from tests import toy

SHAPE = TaskShape(ways=3, shots=2, queries=3)
DATA = toy.dataset()


def make_records(seed: int) -> TaskRecords:
    tasks = draw_disjoint_tasks(seed, DATA.test, SHAPE)
    logits = np.random.default_rng(seed).normal(size=(len(tasks.classes), 9, 3))
    logits = (logits - logits.mean(-1, keepdims=True)).astype(np.float16)
    predicted = logits.argmax(-1).astype(np.int32)
    right = (predicted == np.repeat(np.arange(3), 3)).mean(1, dtype=np.float32)
    return TaskRecords(tasks, Outcome(right, predicted, logits))


def make_evaluation() -> Evaluation:
    return Evaluation(
        {"learner": "mtl", "split": "test"},
        DATA.test.class_names,
        make_records(0),
        make_records(1),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_evaluation(tmp_path / "evaluation.npz", make_evaluation())
    return tmp_path / "evaluation.npz"


def equal(a: TaskRecords, b: TaskRecords) -> None:
    for one, other in zip((*a.tasks, *a.outcome), (*b.tasks, *b.outcome), strict=True):
        if one is None or other is None:
            assert one is other
        else:
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


def test_there_and_back(path: Path) -> None:
    evaluation, found = make_evaluation(), read_evaluation(path)
    assert found[:2] == evaluation[:2]
    equal(found.closed, evaluation.closed)
    assert found.open is not None
    assert evaluation.open is not None
    equal(found.open, evaluation.open)


def test_numpy_alone_reads_it(path: Path) -> None:
    with np.load(path) as file:
        assert file["closed_predicted"].dtype == np.uint8
        queries = file["closed_query"]
        assert list(file["class_names"]) == list(DATA.test.class_names)
    assert queries.shape[1:] == (3, 3)


def test_without_logits_and_without_open_tasks(tmp_path: Path) -> None:
    records = make_records(0)
    bare = records._replace(outcome=records.outcome._replace(logits=None))
    path = tmp_path / "evaluation.npz"
    write_evaluation(path, make_evaluation()._replace(closed=bare, open=None))
    found = read_evaluation(path)
    assert found.open is None
    equal(found.closed, bare)


def test_accuracy_by_class() -> None:
    tasks = Tasks(
        np.array([[0, 2], [2, 3]]), np.zeros((2, 2, 1), int), np.zeros((2, 2, 2), int)
    )
    predicted = np.array([[0, 1, 1, 1], [0, 0, 0, 0]])
    records = TaskRecords(tasks, Outcome(np.array([0.75, 0.5]), predicted))
    np.testing.assert_array_equal(
        records.class_accuracy(5), [0.5, np.nan, 1.0, 0.0, np.nan]
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("closed_accuracy", None, "closed_accuracy"),
        ("closed_accuracy", np.zeros(3, np.float32), "is float32"),
        ("closed_predicted", np.full((20, 9), 7), "closed_predicted"),
        ("closed_logits", np.zeros((20, 9, 4), np.float16), "closed_logits"),
        ("closed_classes", np.full((20, 3), 99), "closed_"),
        ("about", np.array("{}"), "its format is not 1"),
        ("about", np.array({"a": 1}, object), "allow_pickle|Object arrays"),
    ],
)
def test_damage_is_named(
    path: Path, name: str, value: np.ndarray | None, message: str
) -> None:
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    del arrays[name]
    if value is not None:
        arrays[name] = value
    np.savez(path, **arrays)
    with pytest.raises(RunError, match=message):
        read_evaluation(path)


def test_what_is_no_such_file(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="is damaged"):
        read_evaluation(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("about.npy", b"0" * 1000)
    with pytest.raises(RunError, match="its arrays are compressed"):
        read_evaluation(path)
    with pytest.raises(RunError, match="there is no kept evaluation"):
        read_evaluation(path.with_name("other.npz"))


def test_the_kept_file_of_a_run(path: Path) -> None:
    result = {"split": "test", "shots": 2}
    write_json(path.parent / "result.json", result)
    found = read_own(path.parent)
    assert found is not None
    equal(found.closed, make_evaluation().closed)
    assert read_own(path.parent, "other.npz") is None
    with pytest.raises(RunError, match=r"its `split` is test, .* validation"):
        read_own(path.parent, result={"split": "validation"})
    unequal = found._replace(about=found.about | {"min_ways": 2})
    write_evaluation(path, unequal)
    with pytest.raises(RunError, match="its `min_ways` is 2, that of the result None"):
        read_own(path.parent)
    changed = found._replace(about=found.about | {"checkpoint": "ab"})
    write_evaluation(path, changed)
    for digest in ("ab", None):
        provenance = {"checkpoint": {"digest": digest}} if digest else []
        write_json(path.parent / "result.json", result | {"provenance": provenance})
        assert read_own(path.parent) is not None
    provenance = {"checkpoint": {"digest": "cd"}}
    write_json(path.parent / "result.json", result | {"provenance": provenance})
    with pytest.raises(RunError, match=r"of another run.*`checkpoint` is ab"):
        read_own(path.parent)


def test_same_tasks() -> None:
    one = make_evaluation()
    assert same_tasks(one, one._replace(closed=one.closed._replace(outcome=None)))
    assert not same_tasks(one, one._replace(closed=make_records(1)))
    assert not same_tasks(one, one._replace(about={"split_digest": "0"}))


def test_a_digest_tells_splits_apart() -> None:
    digests = {split_digest(split) for _, split in DATA.splits()}
    assert len(digests) == 3
    assert split_digest(DATA.test) == split_digest(toy.dataset().test)


def test_the_output_is_no_kept_file(tmp_path: Path) -> None:
    assert check_result_output(tmp_path / "one.json") == tmp_path / "one.json"
    with pytest.raises(ValueError, match=r"it names the JSON file.*name it \.json"):
        check_result_output(tmp_path / "one.npz")
    (tmp_path / "one.npz").mkdir()
    with pytest.raises(ValueError, match=r"one\.npz.* is a folder"):
        check_result_output(tmp_path / "one.json")
