"""Pickles of arrays: those that come back, and those that are traps or damaged."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data import unpickle


def dump(path: Path, content: Any, protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol))


class _Trap:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "trap", [(os.system, "touch {}"), (eval, "open('{}', 'w')"), (open, "{}", "w")]
)
def test_nothing_in_a_pickle_is_run(tmp_path: Path, trap, protocol: int) -> None:
    done = tmp_path / "done"
    function, *arguments = trap
    filled = [argument.format(done) for argument in arguments]
    content = {"image_data": _Trap(function, *filled), "class_dict": {}}
    dump(tmp_path / "trap.pkl", content, protocol)
    with pytest.raises(
        ValueError, match=r"trap\.pkl is not a pickle of arrays .*asks for"
    ):
        unpickle.load_arrays(tmp_path / "trap.pkl")
    assert not done.exists()
    pickle.loads((tmp_path / "trap.pkl").read_bytes())  # it is a trap
    assert done.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_come_back(tmp_path: Path, protocol: int) -> None:
    content = {
        "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["a", "bc"]),
        "objects": np.array([np.arange(2), None], dtype=object),
        "scalar": np.float32(0.5),
        "file": b"\x00\xff",
        "classes": OrderedDict(a=[1, 2], b=(3,)),
    }
    dump(tmp_path / "a.pkl", content, protocol)
    found = unpickle.load_arrays(tmp_path / "a.pkl")
    assert list(found) == list(content)
    for name in ("images", "fortran", "text", "scalar"):
        np.testing.assert_array_equal(found[name], content[name])
        assert found[name].dtype == content[name].dtype
    assert found["objects"][0].tolist() == [0, 1]
    assert found["objects"][1] is None
    assert found["file"] == b"\x00\xff"
    assert found["classes"] == content["classes"]


def test_pickles_of_python_2(tmp_path: Path) -> None:
    # ``pickle.dumps({'labels': numpy.array([1, 300], '<i2')}, 2)`` there.
    content = (
        b"\x80\x02}q\x00U\x06labelsq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02"
        b"cnumpy\nndarray\nq\x03K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02"
        b"\x85q\x08cnumpy\ndtype\nq\tU\x02i2q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<"
        b"q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x04\x01\x00,\x01"
        b"q\x0ftq\x10bs."
    )
    (tmp_path / "a.pkl").write_bytes(content)
    assert unpickle.load_arrays(tmp_path / "a.pkl")["labels"].tolist() == [1, 300]


OBJECTS = b"cnumpy\ndtype\n(VO8\nI00\nI01\ntR(I3\nV|\nNNNI-1\nI-1\nI%d\ntb"


def pickled(shape: int, kind: bytes, content: bytes) -> bytes:
    """An array of one axis, as protocol 0 writes it."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR"
        + b"(I1\n(I%d\nt" % shape
        + kind
        + b"I00\n"
        + content
        + b"tb."
    )


U1 = b"cnumpy\ndtype\n(Vu1\nI00\nI01\ntR"
MADE = b"cnumpy.core.multiarray\n_reconstruct\n("
DAMAGED = (b"", b"\x80", b"PK\x03\x04", b"\x80\x04K", b"0.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((content, "") for content in DAMAGED),
        # Codecs may be registered, so that one is a way to call anything.
        (b"c_codecs\nencode\n(Vabc\nVrot13\ntR.", "asks for the encoding 'rot13'"),
        # A class that is called, or a shape of its own, could take all the memory.
        (b"cnumpy\nndarray\n((I9000000000000\nlVf8\ntR.", "which no array needs"),
        (MADE + b"cnumpy\nndarray\n(I90000\ntVb\ntR.", "array of another kind"),
        (MADE + b"cnumpy\ndtype\n(I0\ntVb\ntR.", "array of another kind"),
        # Bytes for pointers, by a type whose flags say that it holds no objects.
        (pickled(1, OBJECTS % 0, b"VAAAAAAAA\n"), "content of an array"),
        # More objects than the list holds: NumPy would read on behind its end.
        (pickled(100_000, OBJECTS % 63, b"(lI1\na"), "content of an array"),
        (pickled(100_000, U1, b"Vab\n"), "content of an array"),
        (pickled(-1, U1, b"Vab\n"), "array of no shape"),
        # A type that has fields, and one of records.
        (
            pickled(1, U1 + b"(I3\nV|\nNI1\nNI-1\nI-1\nI0\ntb", b"Va\n"),
            "array of a type with parts",
        ),
        (pickled(1, b"cnumpy\ndtype\n(VV16\nI00\nI01\ntR", b"Va\n"), "array of type"),
        (
            b"cnumpy.core.multiarray\nscalar\n(" + OBJECTS % 0 + b"VAAAAAAAA\ntR.",
            "scalar of another kind",
        ),
        (
            b"cnumpy.core.multiarray\nscalar\n(VO\nVAAAAAAAA\ntR.",
            "array of a type of its own",
        ),
    ],
)
def test_damaged_and_forged_pickles_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.pkl is not a pickle of arr.*{message}"):
        unpickle.load_arrays(tmp_path / "a.pkl")


def test_the_same_pickles_unforged_are_read(tmp_path: Path) -> None:
    """So that the ones above are refused for what is forged in them."""
    for content, expected in (
        (pickled(2, OBJECTS % 63, b"(lI1\naI2\na"), [1, 2]),
        (pickled(2, U1, b"Vab\n"), [97, 98]),
    ):
        (tmp_path / "a.pkl").write_bytes(content)
        assert unpickle.load_arrays(tmp_path / "a.pkl").tolist() == expected
    big = np.asarray([1, 300], ">i2")
    dump(tmp_path / "a.pkl", big, 2)
    found = unpickle.load_arrays(tmp_path / "a.pkl")
    assert found.tolist() == [1, 300]
