"""Data URIs, decoded again."""

import base64
import io

import numpy as np
from PIL import Image

from metabridge.report.pictures import data_uri


def decoded(uri: str) -> tuple[str, Image.Image]:
    kind, content = uri.split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(content)))


def test_ink_is_dark() -> None:
    drawing = np.zeros((28, 28, 1), np.uint8)
    drawing[3, 4] = 255
    kind, picture = decoded(data_uri(drawing))
    assert kind == "data:image/png"
    np.testing.assert_array_equal(np.asarray(picture), 255 - drawing[..., 0])


def test_colours_stay() -> None:
    small = np.zeros((8, 8, 3), np.uint8)
    small[..., 0] = 200
    kind, picture = decoded(data_uri(small))
    assert kind == "data:image/png"
    np.testing.assert_array_equal(np.asarray(picture), small)
    kind, picture = decoded(data_uri(np.tile(small, (4, 4, 1))))
    assert kind == "data:image/jpeg"
    assert np.abs(np.asarray(picture)[0, 0].astype(int) - [200, 0, 0]).max() < 8


def test_large_ones_are_made_smaller() -> None:
    picture = decoded(data_uri(np.zeros((300, 150, 3), np.uint8)))[1]
    assert picture.size == (42, 84)
