"""Decoding: sizes, files that are not images, and those above the limit."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import images
from metabridge.data.reading import Reading
from tests.data.test_picture import SMOOTH, decoded, saved

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


@pytest.mark.parametrize(("limit", "shape"), [(19_200, 120), (10_000, 60), (2400, 30)])
@pytest.mark.parametrize("progressive", [False, True])
def test_large_jpeg_files_are_decoded_at_reduced_size(
    limit: int, shape: int, progressive: bool
) -> None:
    file = saved(Image.fromarray(SMOOTH), "JPEG", quality=95, progressive=progressive)
    assert decoded(file, max_pixels=limit).shape == (shape, shape * 4 // 3, 3)
    out = np.zeros((2, 24, 32, 3), np.uint8)
    images.decode([file], out[:1])
    images.decode([file], out[1:], reading=Reading(max_pixels=limit))
    assert np.abs(out[0].astype(int) - out[1]).mean() < 3


def test_files_above_the_limit_are_refused(tmp_path: Path) -> None:
    """JPEG files above eight times as much, and those that are not resized."""
    reading = Reading(max_pixels=2399)
    for name, most in {
        "a.jpg": r"120 x 160; .* 2,399 pixels, 8 times",
        "a.png": "2,399",
    }.items():
        Image.fromarray(SMOOTH).save(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{most}.*pass another `max_pixels`"):
            images.read([tmp_path / name], (8, 8), reading=reading)
    reading = Reading(max_pixels=10_000)
    with pytest.raises(ValueError, match=r"120 x 160.*pass another `image_size`"):
        images.read([tmp_path / "a.jpg"], None, reading=reading)
    assert images.read([tmp_path / "a.jpg"], (8, 8), reading=reading)[1].all()


def test_a_turned_large_file_is_reduced_and_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = decoded(tmp_path / "a.jpg", max_pixels=10_000)
    plain = np.rot90(SMOOTH.reshape(60, 2, 80, 2, 3).mean((1, 3)))
    assert found.shape == plain.shape
    assert np.abs(found - plain).mean() < 3


def test_a_large_progressive_file_may_have_fewer_scans() -> None:
    """A scan is a pass over all of it: the time is what the limit is about."""
    file = saved(Image.fromarray(SMOOTH), "JPEG", progressive=True)
    scan = file.content[file.content.rindex(b"\xff\xda") : -2]
    slow = images.Encoded("it", file.content[:-2] + scan * 20 + file.content[-2:])
    assert decoded(slow).shape == SMOOTH.shape
    with pytest.raises(ValueError, match=r"has 30 scans; the limit is 12"):
        decoded(slow, max_pixels=2400)


def test_what_a_phone_puts_behind_an_image_is_no_scan() -> None:
    """Such as the film of a motion photo, whose bytes look like markers by chance."""
    file = saved(Image.fromarray(SMOOTH), "JPEG", quality=95)
    thumbnail = b"\xff\xe1\x00\x08\xff\xda\xff\xd9\xff\xda"
    content = file.content[:2] + thumbnail + file.content[2:] + b"\xff\xda" * 200
    found = decoded(images.Encoded("it", content))
    np.testing.assert_array_equal(found, decoded(file))


def test_a_file_of_segments_is_refused() -> None:
    file = saved(Image.fromarray(SMOOTH), "JPEG")
    many = b"\xff\xe5\x00\x02" * 100_001
    with pytest.raises(ValueError, match="more than 100,000 segments"):
        decoded(images.Encoded("it", file.content[:2] + many + file.content[2:]))


def test_more_pixels_than_pillow_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="more pixels than Pillow reads") as error:
        decoded(saved(Image.fromarray(SMOOTH), "PNG"))
    assert "max_pixels" not in str(error.value)
