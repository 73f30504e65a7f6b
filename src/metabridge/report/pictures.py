"""Images inside a page, as data URIs."""

import base64
import io

import numpy as np
from PIL import Image, ImageOps

_LARGEST = 84
_SMALL = 24  # pixels a side up to which a lossless image is no larger


def data_uri(image: np.ndarray) -> str:
    """One image of a dataset, uint8 ``[H, W, 1 or 3]``, as people expect to see it.

    Drawings are stored as ink 255 on paper 0 and shown dark on white. What is larger
    than 84 pixels is made smaller; colour images are JPEG.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    grey = picture.mode == "L"
    if grey:
        picture = ImageOps.invert(picture)
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    kind = "png" if grey or max(picture.size) <= _SMALL else "jpeg"
    file = io.BytesIO()
    if kind == "png":
        picture.save(file, kind, optimize=True)
    else:
        picture.save(file, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
