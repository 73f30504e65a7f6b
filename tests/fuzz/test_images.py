"""Decoding of images: changed files of every kind, and some made to do harm."""

import functools
import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabridge.data import images
from tests.fuzz.fuzzing import check, each_count, mutated

# What Pillow says of broken EXIF data is no error.
pytestmark = [
    pytest.mark.extended,
    pytest.mark.filterwarnings(
        "ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning"
    ),
]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@functools.cache
def valid() -> tuple[bytes, ...]:
    """A small image in each mode and form that can be asked for."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (17, 23, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a picture"
    found = [
        encoded(colour.convert(mode), "PNG")
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA")
    ]
    found += [encoded(colour.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")]
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    transparent = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    found += [
        encoded(deep, "PNG"),
        encoded(colour, "PNG", interlace=1, exif=exif),
        encoded(colour, "PNG", save_all=True, append_images=[colour, colour]),
        encoded(transparent, "PNG", transparency=b"\x00\x80\xff"),
        encoded(colour, "JPEG", progressive=True, exif=exif, comment=b"a comment"),
        encoded(colour, "JPEG", icc_profile=b"profile" * 40, subsampling=0),
        encoded(colour, "MPO", save_all=True, append_images=[colour]),
    ]
    found += [
        encoded(colour, "TIFF", compression="tiff_lzw"),
        encoded(deep, "TIFF", compression="tiff_deflate"),
        encoded(colour.convert("RGBA"), "WEBP", exif=exif),
        encoded(transparent, "GIF", save_all=True, append_images=[colour]),
    ]
    kinds = ("BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "EPS")
    return (*found, *(encoded(colour, kind) for kind in kinds if kind in Image.SAVE))


def changed_images(count: int) -> Iterator[bytes]:
    generator = random.Random(1)
    for _ in range(count):
        content = mutated(generator.choice(valid()), generator)
        yield repaired(content) if generator.random() < 0.5 else content


def repaired(content: bytes) -> bytes:
    """A PNG file whose checksums are right again, so that what changed is looked at."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    done, place = content[:8], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        part = content[place + 4 : place + 8 + length]
        done += content[place : place + 4] + part + struct.pack(">I", zlib.crc32(part))
        place += 12 + length
    return done


@each_count
def test_changed_images(count: int) -> None:
    out = np.zeros((1, 8, 8, 3), np.uint8)

    def decoded(content: bytes) -> None:
        images.decode([images.Encoded("it", content)], out)

    report = check(decoded, changed_images(count), errors=(ValueError,))
    assert report.accepted > count // 10
    assert report.refused > count // 5


def test_changed_images_can_be_left_out() -> None:
    files = [images.Encoded(str(n), file) for n, file in enumerate(changed_images(100))]
    out = np.zeros((len(files), 8, 8, 3), np.uint8)
    written = images.decode(files, out, skip_corrupt=True)
    assert 10 < written.sum() < 90
    assert not out[~written].any()


def chunk(kind: bytes, data: bytes) -> bytes:
    return (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
    )


def png(width: int, height: int, *chunks: bytes, bits: int = 8, kind: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks)


def bomb(size: int) -> bytes:
    return chunk(b"IDAT", zlib.compress(bytes(size)))


HARMFUL = {
    "more pixels than the limit": (png(6400, 6400, bomb(100)), "the limit is"),
    "more pixels than Pillow's": (png(60_000, 60_000, bomb(100)), "cannot read"),
    "no pixels": (png(0, 0, bomb(0)), "cannot read"),
    "no rows": (png(5, 0, bomb(0)), "cannot read"),
    "a negative size": (png(2**32 - 1, 1, bomb(0)), "cannot read"),
    "a text of gigabytes": (
        png(1, 1, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9)), bomb(2)),
        "cannot read",
    ),
    "a frame larger than the screen of its animation": (
        b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\x1f\xff\x1f\0\2\1D\0;",
        "it is 8191 x 8191; the limit is",
    ),
    "a script": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\nquit", "cannot"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_images(name: str) -> None:
    content, message = HARMFUL[name]

    def decoded(content: bytes) -> None:
        out = np.zeros((1, 8, 8, 3), np.uint8)
        with pytest.raises(ValueError, match=message):
            images.decode([images.Encoded("it", content)], out)

    assert check(decoded, [content]).peak < 250


def test_an_image_of_many_scans_is_refused() -> None:
    """Fifty of them took half a second of this image; the file could hold 30,000."""
    content = encoded(Image.new("L", (4000, 4000), 77), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    out = np.zeros((1, 8, 8, 1), np.uint8)
    images.decode([images.Encoded("it", content)], out)
    assert np.all(out == 77)
    slow = images.Encoded("it", content[:-2] + last * 30_000 + content[-2:])

    def decoded(slow: images.Encoded) -> None:
        with pytest.raises(ValueError, match=r"has 30006 scans; the limit is 100"):
            images.decode([slow], out)

    assert check(decoded, [slow]).slowest < 2


def test_more_images_than_fit_in_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (100, 50)).save(path)
    monkeypatch.setattr(images.devices, "free_host_bytes", lambda: 9_999)
    with pytest.raises(ValueError, match=r"2 images of 50 x 100 pixels take 10 kB"):
        images.read([path, path], None)
    assert images.read([path], None)[0].shape == (1, 50, 100, 1)


def test_an_image_alone_keeps_its_size() -> None:
    file = images.Encoded("it", valid()[4])
    assert images.decode_alone(file, max_pixels=17 * 23).shape == (17, 23, 3)
    with pytest.raises(ValueError, match="it is 17 x 23; the limit is 390 pixels"):
        images.decode_alone(file, max_pixels=390)
    grey = images.Encoded("it", valid()[1])
    assert images.decode_alone(grey, max_pixels=1000).shape == (17, 23, 1)
