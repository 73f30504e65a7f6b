"""Decoding: modes, sizes, orientation, and files that are not images."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import images

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def test_resizing_averages(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[::2] = 200
    Image.fromarray(stripes).save(tmp_path / "a.png")
    read, _ = images.read([tmp_path / "a.png"], (8, 16))
    assert read.shape == (1, 8, 16, 1)
    # Without antialiasing the stripes would come out as 0 or 200.
    assert np.abs(read[:, 1:-1].astype(int) - 100).max() <= 10


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read the image .*odd\.png"):
        images.read([path], None)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_images(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"cut.{ending}"
    Image.fromarray(np.tile(PIXELS, (9, 9, 1))).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=rf"cut\.{ending}"):
        images.read([path], None)


def test_images_in_memory_are_decoded_in_place() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    good, bad = images.Encoded("a", file.getvalue()), images.Encoded("row 7", b"")
    out = np.zeros((2, 9, 7, 3), np.uint8)
    assert images.decode([good, good], out).all()
    np.testing.assert_array_equal(out, [PIXELS, PIXELS])
    with pytest.raises(ValueError, match="cannot read the image row 7"):
        images.decode([good, bad], out)


def test_corrupt_images_can_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        Image.fromarray(PIXELS + np.uint8(number)).save(file)
    files[0].write_bytes(b"no image")  # its header says so
    files[2].write_bytes(files[2].read_bytes()[:-60])  # its pixels only
    pixels, kept = images.read(files, None, skip_corrupt=True)
    assert kept.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(pixels, [PIXELS + np.uint8(n) for n in (1, 3)])
    for number in (0, 2):
        assert f"{number}.png" in caplog.text
    with pytest.raises(ValueError, match=r"0\.png.*`skip_corrupt`"):
        images.read(files, None)
    with pytest.raises(ValueError, match="none of 1 images can be read"):
        images.read(files[:1], None, skip_corrupt=True)


def test_huge_images_are_refused_before_decoding(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return (
            struct.pack(">I", len(data))
            + checked
            + struct.pack(">I", zlib.crc32(checked))
        )

    header = struct.pack(">IIBBBBB", 8000, 8000, 8, 0, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match=r"huge\.png: it is 8000 x 8000; the limit"):
        images.read([path], (8, 8))


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, None), (32, (32, 32)), ((4, 5), (4, 5)), ([4, np.int64(5)], (4, 5))],
)
def test_sizes_that_are_taken(given: Any, expected: Any) -> None:
    assert images.checked_size(given) == expected


@pytest.mark.parametrize("size", [True, 3.0, "32", (1, 2, 3), (1, "2"), {1, 2}])
def test_sizes_of_a_wrong_type(size: Any) -> None:
    with pytest.raises(TypeError, match="integer or a pair"):
        images.checked_size(size)


@pytest.mark.parametrize("size", [0, -3, 1025, (5, 0)])
def test_sizes_out_of_range(size: Any) -> None:
    with pytest.raises(ValueError, match="from 1 to 1024"):
        images.checked_size(size)
