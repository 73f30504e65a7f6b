"""The numbers as tables, for the terminal and for the page."""

from experiments.ntk_compare.study import DepthStudy
from experiments.presentation.plots import number, slope_text
from experiments.presentation.table import Table, short
from metabridge.evaluation import Score
from metabridge.theory.finite.width_study import Widths


def gaps(study: DepthStudy, title: str, *, relative: bool) -> Table:
    """Gap or relative gap of MTL against ANIL, by depth and time, with slopes."""
    field, slope = (
        ("relative_gap", "relative_slope") if relative else ("gap", "gap_slope")
    )
    columns = tuple(f"λτ = {number(time)}" for time in study.times)
    rows = [
        (str(depth), *(short(getattr(c, field)[row]) for c in study.anil))
        for row, depth in enumerate(study.depths)
    ]
    rows.append(("slope in L", *(slope_text(getattr(c, slope)) for c in study.anil)))
    return Table(title, ("L", *columns), tuple(rows))


def bounds(study: DepthStudy, title: str) -> Table:
    """Gap beside the bound ``c (time + 1 / depth)``."""
    columns = tuple(f"λτ = {number(time)}" for time in study.times)
    rows = tuple(
        (
            str(depth),
            *(
                f"{short(column.gap[row])} ≤ {short(study.bound(depth, time))}"
                for time, column in zip(study.times, study.anil, strict=True)
            ),
        )
        for row, depth in enumerate(study.depths)
    )
    return Table(title, ("L", *columns), rows)


def others(study: DepthStudy, title: str) -> Table:
    """Gaps of the other comparisons by depth, with slopes."""
    rows = [
        (str(depth), *(short(column.gap[row]) for column in study.others.values()))
        for row, depth in enumerate(study.depths)
    ]
    slopes = (slope_text(column.gap_slope) for column in study.others.values())
    rows.append(("slope in L", *slopes))
    return Table(title, ("L", *study.others), tuple(rows))


def accuracies(values: dict[float, dict[str, Score]], title: str) -> Table:
    """Accuracy of each method with its interval, a column a time of adaptation."""
    rows = tuple(
        (
            name,
            *(
                f"{100 * column[name].accuracy:.1f} ± {100 * column[name].ci95:.1f} %"
                for column in values.values()
            ),
        )
        for name in next(iter(values.values()))
    )
    columns = tuple(f"time {number(time)}" for time in values)
    return Table(title, ("method", *columns), rows)


def widths(result: Widths, title: str) -> Table:
    """Mean relative errors by width, with slopes."""
    rows = [
        (
            str(width),
            *(f"{errors.mean(1)[row]:.3f}" for errors in result.errors.values()),
        )
        for row, width in enumerate(result.widths)
    ]
    rows.append(("slope", *(slope_text(slope) for slope in result.slopes.values())))
    return Table(title, ("width", *result.errors), tuple(rows))
