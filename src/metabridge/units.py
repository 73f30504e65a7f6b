"""Numbers, errors and tables as text."""

from collections.abc import Sequence

_LONGEST = 200


def format_accuracy(mean: float, half_width: float) -> str:
    """A mean in [0, 1] and half the width of its interval, in percent."""
    return f"{100 * mean:.2f} ± {100 * half_width:.2f}"


def format_difference(mean: float, half_width: float) -> str:
    """A difference of accuracies and half its interval, in points."""
    return f"{100 * mean:+.2f} ± {100 * half_width:.2f}"


def format_bytes(size: int | float) -> str:
    """Three digits in kB, MB, GB or TB: ``1.23 GB``."""
    for factor, unit in ((1e3, "kB"), (1e6, "MB"), (1e9, "GB")):
        if size < 999.5 * factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e12:.3g} TB"


def format_duration(seconds: int | float) -> str:
    """Seconds, minutes or hours with one decimal: ``1.5 min``."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    if seconds < 5970:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def shortened(error: BaseException) -> str:
    """An error on one line that is not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
