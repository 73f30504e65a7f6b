"""The distinct letters that matplotlib's bundled fonts can draw, script by script.

A letter is a code point of category Lu, Ll or Lo without a Unicode decomposition (so
no accented letters, mathematical alphabets or presentation forms) that at least
`MIN_FACES` faces hold. Letters that look alike at the same size are one class:
Latin A, Greek Alpha and Cyrillic A; but also C and c. The first one in the order of
`SCRIPTS` stays, so that no held-out letter is seen in training under another name.
"""

import functools
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SCRIPTS = {
    "train": ("LATIN", "CANADIAN SYLLABICS", "OLD ITALIC", "LISU"),
    "validation": ("CYRILLIC", "LAO", "HEBREW"),
    "test": ("GEORGIAN", "ARMENIAN", "ARABIC", "GREEK"),
}
"""Scripts of each split, as Unicode's names of letters begin. Fixed; divided so that
the splits hold about 64, 16 and 20 % of the letters."""

MIN_FACES = 4
SIDE = 80
"""Height and width of a rendered letter; the longer side of its ink fills `INK`."""
INK = 56

_FONTS = (
    "DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral", "STIXGeneralBol",
    "STIXGeneralBolIta", "STIXGeneralItalic",
)  # fmt: skip
# TeX's fonts give most code points other shapes; these six are true for A-Z and a-z.
_TEX_FONTS = ("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10", "cmmi10")
_UPRIGHT = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
# Cosine of two blurred pictures above which letters are one class. 0.95 tells D from
# D with a stroke, but not C from c; letters of different splits must differ more.
_ALIKE = 0.95
_ALIKE_ACROSS_SPLITS = 0.92


class Letter(NamedTuple):
    """One class of drawings."""

    character: str
    script: str
    faces: tuple[str, ...]
    """The faces that hold it, by file name without the ending, sorted."""

    @property
    def class_name(self) -> str:
        """For example ``LATIN/U+0041 LATIN CAPITAL LETTER A``."""
        name = unicodedata.name(self.character)
        return f"{self.script}/U+{ord(self.character):04X} {name}"


class Faces:
    """The bundled fonts: which characters each holds, and their pictures."""

    def __init__(self) -> None:
        import matplotlib

        self._folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self._font = functools.cache(self._open)

    def coverage(self) -> dict[str, tuple[str, ...]]:
        """The faces that hold each character."""
        from fontTools.ttLib import TTFont

        found: dict[str, list[str]] = {}
        for path in sorted(self._folder.glob("*.ttf")):
            of_tex = path.stem in _TEX_FONTS
            if not of_tex and path.stem.split("-")[0] not in _FONTS:
                continue
            for character in map(chr, TTFont(path, lazy=True).getBestCmap() or {}):
                if not of_tex or (character.isascii() and character.isalpha()):
                    found.setdefault(character, []).append(path.stem)
        return {character: tuple(faces) for character, faces in found.items()}

    def render(self, character: str, face: str) -> np.ndarray:
        """Draw a letter so that the longer side of its ink is `INK` pixels.

        It is uint8 ``[SIDE, SIDE]``, ink 255 on 0, centred; empty if it has no ink.
        """
        size = 64
        ink = self._ink(character, face, size)
        # One step is exact but for rounding, which matters for a dot of five pixels.
        for _ in range(3):
            if ink.size and abs(max(ink.shape) - INK) > 2:
                size = round(size * INK / max(ink.shape))
                ink = self._ink(character, face, size)
        ink = ink[:SIDE, :SIDE]
        canvas = np.zeros((SIDE, SIDE), np.uint8)
        top, left = ((SIDE - side) // 2 for side in ink.shape)
        canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        return canvas

    def _ink(self, character: str, face: str, size: int) -> np.ndarray:
        """The smallest box around a letter's ink, uint8; ``[0, 0]`` without ink."""
        from PIL import Image, ImageDraw

        font = self._font(face, size)
        left, top, right, bottom = font.getbbox(character)
        margin = 2 + size // 8  # the box above is of the advance; ink may leave it
        sides = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
        canvas = Image.new("L", sides)
        place = margin - left, margin - top
        ImageDraw.Draw(canvas).text(place, character, fill=255, font=font)
        box = canvas.getbbox()
        return np.zeros((0, 0), np.uint8) if box is None else np.array(canvas.crop(box))

    def _open(self, face: str, size: int) -> Any:
        from PIL import ImageFont

        file, layout = self._folder / f"{face}.ttf", ImageFont.Layout.BASIC
        return ImageFont.truetype(file, size, layout_engine=layout)


def find_letters(faces: Faces) -> dict[str, list[Letter]]:
    """Find the letters of each split, in the order of `SCRIPTS` and then of Unicode."""
    coverage = faces.coverage()
    kept: dict[str, list[Letter]] = {}
    # Looks of the letters kept, by face, and the limit that those of each split have.
    shape = len(coverage), (SIDE // 2) ** 2
    seen = {face: np.empty(shape, np.float32) for face in _UPRIGHT}
    limits: dict[str, list[float]] = {face: [] for face in _UPRIGHT}
    for split, scripts in SCRIPTS.items():
        kept[split] = []
        for letter in (x for script in scripts for x in _letters(script, coverage)):
            looks = {
                face: _look(faces.render(letter.character, face))
                for face in _UPRIGHT
                if face in letter.faces
            }
            if any(
                np.any(seen[face][: len(limit)] @ look > np.asarray(limit, np.float32))
                for face, look in looks.items()
                for limit in [limits[face]]
            ):
                continue
            kept[split].append(letter)
            for face, look in looks.items():
                seen[face][len(limits[face])] = look
                limits[face].append(_ALIKE)
        limits = {f: [_ALIKE_ACROSS_SPLITS] * len(n) for f, n in limits.items()}
    return kept


def _letters(script: str, coverage: dict[str, tuple[str, ...]]) -> list[Letter]:
    return [
        Letter(character, script, coverage[character])
        for character in sorted(coverage)
        if unicodedata.name(character, "").startswith(f"{script} ")
        and unicodedata.category(character) in ("Lu", "Ll", "Lo")
        and not unicodedata.decomposition(character)
        and len(coverage[character]) >= MIN_FACES
    ]


def _look(picture: np.ndarray) -> np.ndarray:
    """A unit vector, float32; the product of two is 1 for equal shapes."""
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(picture.astype(np.float32), 2.0)[::2, ::2]
    return (blurred / max(np.linalg.norm(blurred), 1e-6)).ravel()
