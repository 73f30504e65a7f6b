"""Image files above the limit: decoded at reduced size, or refused before."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabridge.data import images
from metabridge.data.reading import Reading
from tests.data.test_picture import SMOOTH, decoded, saved


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
