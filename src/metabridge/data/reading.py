"""Options of reading images: background, white, and how large an image may be."""

import dataclasses
import functools
import math
from typing import Any

from metabridge.untrusted import quoted

MAX_PIXELS = 40_000_000
"""Default of `Reading.max_pixels`."""


class LimitError(ValueError):
    """An image that another value of an option would have read."""

    def __init__(self, problem: str, option: str) -> None:
        super().__init__(problem)
        self.option = option


@dataclasses.dataclass(frozen=True)
class Reading:
    """Options of reading; a run records them, so that its body is used as trained."""

    background: str = "white"
    """Colour that transparent images are composed onto: a name or "#rrggbb"."""
    white_level: float | None = None
    """Value of images of 16 and 32 bits that becomes white; what is brighter is white,
    too. Default: the largest of the file's bit depth (65535 for integers of 32 bits,
    1 for floats)."""
    max_pixels: int = MAX_PIXELS
    """Pixels of an image that are decoded, at most. Larger JPEG files are decoded at
    half or a quarter of their size, if that is not below it; others are refused."""

    def __post_init__(self) -> None:
        most, white = self.max_pixels, self.white_level
        if not isinstance(self.background, str):
            raise TypeError(f"`background` must be text, not {quoted(self.background)}")
        if type(most) is not int:
            raise TypeError(f"`max_pixels` must be an integer, not {quoted(most)}")
        if most < 1:
            raise ValueError(f"`max_pixels` is {most}, but must be positive")
        if isinstance(white, bool) or not isinstance(white, int | float | None):
            raise TypeError(f"`white_level` must be a number, not {quoted(white)}")
        if white is not None and not 0 < white < math.inf:
            raise ValueError(f"`white_level` is {white}, but must be finite, above 0")

    @property
    def colour(self) -> tuple[int, int, int]:
        """The background as red, green and blue; a ValueError if it is no colour."""
        return _colour(self.background)

    def changed(self) -> dict[str, Any]:
        """The options that are not at their default, by name."""
        given = dataclasses.asdict(self)
        return {name: v for name, v in given.items() if v != getattr(Reading, name)}


DEFAULT = Reading()


@functools.cache
def _colour(name: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        found = ImageColor.getrgb(name)
        if len(found) != 3:
            raise ValueError("it has an alpha")
        return found
    except ValueError as error:
        raise ValueError(
            f"`background` is {quoted(name)}, but must be a colour without "
            'transparency, such as "white" or "#8040ff"'
        ) from error
