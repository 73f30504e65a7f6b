"""Pickles of ImageNet: changed ones, programmes of opcodes, and known traps."""

import contextlib
import functools
import io
import pickle
import pickletools
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data.datasets.imagenet import SPECS, loading, pickles
from metabridge.data.reading import Reading
from metabridge.data.unpickle import load_arrays
from tests.data.datasets.imagenet import toys
from tests.data.datasets.imagenet.test_pickles import png_of
from tests.fuzz.fuzzing import HOSTILE, check, each_count, mutated
from tests.fuzz.test_cache import described, header

pytestmark = pytest.mark.extended

OPCODES = [code for code in pickletools.opcodes if code.name != "STOP"]
NAMES = (
    ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"), ("numpy", "ndarray"), ("numpy", "dtype"),
    ("_codecs", "encode"), ("collections", "OrderedDict"), ("builtins", "eval"),
    ("os", "system"), ("numpy", "dtype.__init__"), ("a\x1b[2J", "b"),
)  # fmt: skip


@functools.cache
def valid() -> tuple[bytes, ...]:
    """Contents that are read, by all protocols."""
    contents = (
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        {"labels": [0, 1, 300], "classes": OrderedDict(a=[1], b=(3,)), "x": b"\0\xff"},
        {"o": np.array([np.arange(2), None], dtype=object), "t": np.array(["a", "bc"])},
        {"f": np.asfortranarray(np.ones((2, 3), ">f4")), "s": np.float32(1), "n": 1.5},
    )
    return tuple(
        pickle.dumps(content, protocol)
        for content in contents
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    )


def argument(code: pickletools.OpcodeInfo, generator: random.Random) -> bytes:
    """What may stand behind an opcode, right or not."""
    if code.arg is None:
        return b""
    content = generator.choice((b"", b"a", b"abc", generator.randbytes(9)))
    size = generator.choice((len(content), len(content), 0, 2**31 - 1, 2**32 - 1))
    kind = code.arg.n
    if kind == pickletools.TAKEN_FROM_ARGUMENT1:
        return bytes([size & 0xFF]) + content
    if kind == pickletools.TAKEN_FROM_ARGUMENT4:
        return struct.pack("<i", min(size, 2**31 - 1)) + content
    if kind == pickletools.TAKEN_FROM_ARGUMENT4U:
        return struct.pack("<I", size) + content
    if kind == pickletools.TAKEN_FROM_ARGUMENT8U:
        return struct.pack("<Q", generator.choice((size, 2**62))) + content
    if kind == pickletools.UP_TO_NEWLINE:
        lines = generator.choice(NAMES) if code.name in ("GLOBAL", "INST") else ()
        text = generator.choice(("0", "1", "-1", "9" * 30, "'a'", "00", "01", "\x1b"))
        return "".join(f"{line}\n" for line in lines or (text,)).encode()
    return generator.choice((bytes(kind), b"\xff" * kind, generator.randbytes(kind)))


def programme(generator: random.Random) -> bytes:
    """Opcodes in any order, after some that leave a thing to work on."""
    done = b"\x80\x04"
    for _ in range(generator.randrange(1, 25)):
        if generator.random() < 0.5:
            code = generator.choice(OPCODES)
            done += code.code.encode("latin1") + argument(code, generator)
        else:
            name = "\n".join(generator.choice(NAMES)).encode()
            parts = b"c" + name + b"\n", b"(", b")", b"]", b"}", b"K\x01", b"X\1\0\0\0u"
            done += generator.choice((*parts, b"t", b"R", b"b", b"s", b"a", b"2", b"N"))
    return done + b"."


def programmes(count: int) -> Iterator[bytes]:
    generator = random.Random(0)
    for number in range(count):
        if number % 2:
            yield mutated(generator.choice(valid()), generator)
        else:
            yield programme(generator)


@each_count
def test_changed_pickles_and_programmes(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"

    def loaded(content: bytes) -> None:
        path.write_bytes(content)
        load_arrays(path)

    report = check(loaded, programmes(count), errors=(ValueError,))
    assert report.accepted > count // 50
    assert report.refused > count // 2


def doubled(start: bytes, pair: bytes, times: int) -> bytes:
    """Something that holds itself twice, that twice, and so on: 2^times in all."""
    return start + pair * times


LISTS = doubled(b"]K\x01a", b"q\0000](h\0h\0e", 60)  # lists; their text has no end
TUPLES = doubled(b")", b"q\0h\0\x86", 60)  # tuples, which are hashed anew each time
TRAPS: dict[str, tuple[bytes, str]] = {
    "a key that is hashed for years": (b"}" + TUPLES + b"Ns.", "key of <class 'tuple'"),
    "the same, of an ordered dict": (
        b"ccollections\nOrderedDict\n(](" + TUPLES + b"N\x86etR.",
        "key of <class 'tuple'",
    ),
    "a note of 64 GB": (b"Nr\xff\xff\xff\xff.", ""),
    "a billion bytes": (b"B\xff\xff\xff\x3f.", "cut off"),
    "text that is not there": (b"\x8d" + struct.pack("<Q", 2**40) + b"a.", "cut off"),
    "an array of bytes that is not there": (
        b"\x96" + struct.pack("<Q", 2**40) + b"a.",
        "cut off",
    ),
    "a frame that is not there": (
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
        "cut off",
    ),
    "a type with an endless name": (
        b"cnumpy\ndtype\n(" + LISTS + b"tR.",
        "type without a name",
    ),
    "an encoding with an endless name": (
        b"c_codecs\nencode\n(X\1\0\0\0u" + LISTS + b"tR.",
        "asks for the encoding list",
    ),
    "an array of nothing": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR(I1\n"
        b"(I1000000000000000\ntcnumpy\ndtype\n(VS0\nI00\nI01\ntRI00\nV\ntb.",
        "an array of nothing",
    ),
    "a function of ours with other defaults": (
        b"cnumpy.core.multiarray\nscalar\n(N}X\x0c\0\0\0__defaults__)stb.",
        "in a way that arrays do not need",
    ),
    "a class of ours with another method": (
        b"cnumpy\ndtype\n(N}X\4\0\0\0madec_codecs\nencode\nstb.",
        "in a way that arrays do not need",
    ),
    "the same megabyte a thousand times": (
        b"](X\0\0\x10\0" + b"a" * 2**20 + b"q\0X\6\0\0\0latin1q\1"
        b"c_codecs\nencode\nq\2" + b"h\2h\0h\1\x86R" * 1000 + b"e.",
        "more than a file of its size can hold",
    ),
    "a set": (b"\x8f.", "in a way that arrays do not need"),
    "a name that clears the screen": (b"ca\x1b[2J\nb\n.", r"x1b\[2J"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps(name: str, tmp_path: Path) -> None:
    content, message = TRAPS[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(content)

    def loaded(path: Path) -> None:
        if name == "a note of 64 GB":  # takes no more than any other now
            assert load_arrays(path) is None
            return
        with pytest.raises(ValueError, match=message):
            load_arrays(path)

    report = check(loaded, [path])
    assert report.peak < 100
    assert report.slowest < 1


def test_traps_leave_no_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    for content, _ in TRAPS.values():
        path.write_bytes(content)
        with contextlib.suppress(ValueError):
            load_arrays(path)
    for content in valid():
        path.write_bytes(content)
        load_arrays(path)


SPLIT_NAMES = ("train", "val", "test", "train_phase_train")
PIXELS = np.zeros((8, 84, 84, 3), np.uint8)
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "mini-imagenet-cache-{}.pkl": (
        "mini_imagenet",
        {"image_data": PIXELS, "class_dict": {"a": [0, 1, 2, 3], "b": [4, 5, 6, 7]}},
    ),
    "miniImageNet_category_split_{}.pickle": (
        "mini_imagenet",
        {
            "data": PIXELS,
            "labels": [0] * 4 + [1] * 4,
            "catname2label": {"a": 0, "b": 1},
        },
    ),
    "{}_labels.pkl": (
        "tiered_imagenet",
        {"label_specific": np.arange(8) // 4, "label_specific_str": ["a", "b"]},
    ),
}


def endless() -> Any:
    """A list that holds itself twice, and so on."""
    made: Any = [1]
    for _ in range(60):
        made = [made, made]
    return made


ODD: tuple[Callable[[], Any], ...] = (
    endless, lambda: [PIXELS[0]] * 10**6, lambda: np.zeros((), object),
    lambda: np.zeros((10**9, 0), np.int8), lambda: {"\x1b[2J": [0, 1]},
    lambda: [10**30],
    lambda: {0: 1}, lambda: {b"a": [0]}, lambda: [True, False], lambda: [[0, 1], [2]],
    lambda: np.array(["a"]), lambda: np.full(4, -1), lambda: np.full(4, 2**62),
    lambda: np.full(4, np.nan), lambda: {"a": endless()}, lambda: {"a": None},
)  # fmt: skip


def odd_contents(count: int) -> Iterator[tuple[str, Any]]:
    """A form, and its content with one value that is not what it should be."""
    generator = random.Random(0)
    for _ in range(count):
        name = generator.choice(list(FORMS))
        content = FORMS[name][1].copy()
        key = generator.choice([*content, "labels", "x"])
        value = generator.choice([*HOSTILE, *ODD])
        content[key] = value() if callable(value) else value
        yield name, generator.choice((content, content, content, content[key]))


@each_count
def test_odd_contents(count: int, tmp_path: Path) -> None:
    specs = {name: toys.spec(name) for name in SPECS}

    def opened(given: tuple[str, Any]) -> None:
        name, content = given
        for split in SPLIT_NAMES:
            (tmp_path / name.format(split)).write_bytes(pickle.dumps(content))
            (tmp_path / f"{split}_images_png.pkl").write_bytes(
                pickle.dumps([png_of(PIXELS[0])] * 8)
            )
        spec = specs[FORMS[name][0]]
        try:
            form = pickles.find(spec, tmp_path)
            assert form is not None
            images = form.open("test")
            out = np.zeros((1, 84, 84, 3), np.uint8)
            for rows in images.rows.values():
                images.decode(rows[:1], out, False, Reading())
            loading.checked(spec, form, "test")
        finally:
            for path in tmp_path.iterdir():
                path.unlink()

    def small() -> Iterator[tuple[str, Any]]:
        for name, content in odd_contents(count):
            values = content.values() if isinstance(content, dict) else [content]
            # Made for the loader, these would be made here first.
            if not any(isinstance(v, list) and len(v) > 10**5 for v in values):
                yield name, content

    report = check(opened, small(), errors=(ValueError,))
    assert report.accepted > count // 20
    # About half the changes are of fields that nothing reads.
    assert report.refused > count // 3


def archive(start: bytes, content: bytes, name: str = "images.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, start + content)
    return file.getvalue()


ARCHIVES = {
    "all zeros": archive(described("(4, 84, 84, 3)", "|u1"), bytes(4 * 84 * 84 * 3)),
    "fewer than promised": archive(described("(4, 84, 84, 3)", "|u1"), b"12"),
    "a terabyte promised": archive(described("(1000000000, 84, 84, 3)", "|u1"), b"12"),
    "a terabyte of a type": archive(described("(4,)", "|S999999999"), b"12"),
    "objects": archive(described("(4, 84, 84, 3)", "|O"), pickle.dumps([1])),
    "a header that overflows the parser": archive(header("-" * 9000 + "1"), b""),
    "a name that leads out": archive(
        described("(1,)", "|u1"), b"1", "../../images.npy"
    ),
    "no archive": b"PK\x03\x04" + bytes(50),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x" / "test_images.npz"
    path.parent.mkdir()
    path.write_bytes(ARCHIVES[name])

    def read(path: Path) -> None:
        if name == "all zeros":
            assert pickles._array_in_archive(path, 4, path).shape == (4, 84, 84, 3)
            return
        with pytest.raises(ValueError, match=r"test_images\.npz (is no|has)"):
            pickles._array_in_archive(path, 4, path)

    assert check(read, [path]).peak < 100
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["test_images.npz", "x"]


@each_count
def test_changed_archives(count: int, tmp_path: Path) -> None:
    generator = random.Random(0)
    path = tmp_path / "test_images.npz"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        pickles._array_in_archive(path, 4, path)

    inputs = (mutated(ARCHIVES["all zeros"], generator) for _ in range(count))
    check(read, inputs, errors=(ValueError,))
