"""The page of findings: every sentence is made from the numbers of results.json."""

from typing import Any

from experiments.agreement.figure import TITLES
from experiments.agreement.limit import NO_LIMIT
from experiments.report import markdown

Numbers = dict[str, Any]
HEADLINE = "disagreement"
"""The distance that the answer is about."""
_ADAPTATIONS = {
    "learner": "each method's own adaptation",
    "logistic": "logistic regression on frozen features",
}
_PAIRS = {
    "within": "two seeds of one method",
    "between": "two methods, other seeds",
    "same_seed": "two methods, same seed",
}
"""Kinds of pairs of runs."""
_TWO_SEEDS = (
    "With two seeds the intervals are over tasks alone: a bootstrap of pairs of seeds "
    "has one pair to draw."
)


def page(found: Numbers) -> str:
    """The page in Markdown."""
    settings = found["settings"]
    parts = [
        f"# Do they predict the same? {settings['dataset']}, {settings['model']}",
        answer(found),
        *([_TWO_SEEDS] if settings["seeds"] == 2 else []),
        *(f"![Agreement, {_ADAPTATIONS[h]}](agreement-{h}.png)" for h in _ADAPTATIONS),
    ]
    for head, adaptation in _ADAPTATIONS.items():
        parts += [f"## {adaptation.capitalize()}", _distances(found, head)]
        parts += [_slopes(found, head), _accuracies(found, head), _pairs(found, head)]
    if any(rung["cka"] for rung in found["rungs"]):
        parts += ["## Linear CKA of layers", _layers(found)]
    parts += ["## At infinite width", limits(found)]
    parts += ["## Learning rates", _rates(found)]
    if found["failed"]:
        failed = [f"- {name}: {why}" for name, why in found["failed"].items()]
        parts += ["## Runs that failed, and are left out", "\n".join(failed)]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def answer(found: Numbers) -> str:
    """The answer in one paragraph, by the share of queries given different classes."""
    settings = found["settings"]
    sentences = [
        f"On {settings['tasks']} unseen 5-way {settings['shots']}-shot tasks of "
        f"{settings['dataset']}, {len(found['methods'])} methods "
        f"({', '.join(found['methods'])}) of {settings['seeds']} seeds each, trained "
        f"on {settings['images']:,} images."
    ]
    depths = list(dict.fromkeys(rung["depth"] for rung in found["rungs"]))
    for depth in depths:
        own = [rung for rung in found["rungs"] if rung["depth"] == depth]
        if len(depths) > 1:
            sentences.append(f"With {depth} hidden layers:")
        for head, adaptation in _ADAPTATIONS.items():
            sentences += [f"By {adaptation}:", *_told(found, own, head)]
    return " ".join(sentences)


def _told(found: Numbers, rungs: list[Numbers], head: str) -> list[str]:
    """Sentences on one depth and one head."""
    narrow, wide = (
        (rung["width"], rung["heads"][head]["distances"][HEADLINE])
        for rung in (rungs[0], rungs[-1])
    )
    sentences = [
        f"{who} give different classes to {_number(HEADLINE, narrow[1][group])} % of "
        f"the queries at width {narrow[0]} and to {_number(HEADLINE, wide[1][group])} "
        f"% at width {wide[0]}."
        for who, group in (
            ("two seeds of one method", "within"),
            ("two methods with different seeds", "between"),
        )
    ]
    signs = [
        (rung["width"], _sign(rung["heads"][head]["distances"][HEADLINE]["difference"]))
        for rung in rungs
    ]
    verdicts = []
    for sign, verdict in _VERDICTS.items():
        at = [f"{width}" for width, own in signs if own == sign]
        if at:
            verdicts.append(f"{verdict} at width {', '.join(at)}")
    sentences.append(f"Between-method disagreement is {'; '.join(verdicts)}.")
    slope = slope_of(found, rungs[0]["depth"], head, HEADLINE)
    sentences.append(
        f"The difference {_TRENDS[_sign(slope)]}: {_number(HEADLINE, slope, '+')} "
        "points with each doubling."
    )
    corrected = slope_of(found, rungs[0]["depth"], head, "chance_corrected")
    sentences.append(
        f"Corrected for what accuracies alone make equal (1 − kappa), it "
        f"{_TRENDS[_sign(corrected)]}: {_number('chance_corrected', corrected, '+')}."
    )
    return [sentence[0].upper() + sentence[1:] for sentence in sentences]


_VERDICTS = {
    1: "larger than that of two seeds",
    0: "not told from that of two seeds",
    -1: "smaller than that of two seeds",
}
"""By the sign of an interval that leaves 0 out; 0 if it does not."""
_TRENDS = {
    1: "grows with width",
    0: "has no trend with width that the interval tells from none",
    -1: "shrinks with width",
}


def _sign(interval: dict[str, float]) -> int:
    return int(interval["low"] > 0) - int(interval["high"] < 0)


def slope_of(
    found: Numbers, depth: int | None, head: str, distance: str
) -> dict[str, float]:
    """Change of between less within with a doubling of the width."""
    return next(
        each["slope"]
        for each in found["slopes"]
        if (each["depth"], each["head"], each["distance"]) == (depth, head, distance)
    )


def _number(distance: str, interval: dict[str, float] | None, sign: str = "") -> str:
    """An estimate with its interval, shares in percent."""
    if interval is None:
        return "–"
    scale, form = (100, ".2f") if distance == "disagreement" else (1, ".3f")
    middle, low, high = (
        f"{scale * interval[name]:{sign}{form}}" for name in ("estimate", "low", "high")
    )
    return f"{middle} [{low}, {high}]"


def _size(rung: Numbers) -> str:
    depth = "" if rung["depth"] is None else f"{rung['depth']} x "
    return f"{depth}{rung['width']}"


def _distances(found: Numbers, head: str) -> str:
    columns = ["distance", "size", *_PAIRS.values(), "between less within"]
    rows = []
    for name, title in TITLES.items():
        for rung in found["rungs"]:
            own = rung["heads"][head]["distances"][name]
            cells = (_number(name, own.get(kind)) for kind in _PAIRS)
            gap = _number(name, own["difference"], "+")
            rows.append([title, _size(rung), *cells, gap])
    return markdown(columns, rows)


def _slopes(found: Numbers, head: str) -> str:
    rows = []
    for each in found["slopes"]:
        if each["head"] == head and each["distance"] in TITLES:
            depth = "" if each["depth"] is None else f"{each['depth']}"
            slope = _number(each["distance"], each["slope"], "+")
            rows.append([TITLES[each["distance"]], depth, slope])
    columns = ["distance", "hidden layers", "between less within, each doubling"]
    return markdown(columns, rows)


def _accuracies(found: Numbers, head: str) -> str:
    columns = ["accuracy, %, of each seed", *map(_size, found["rungs"])]
    rows = [
        [
            name,
            *(
                ", ".join(
                    f"{100 * a:.1f}" for a in rung["heads"][head]["accuracy"][name]
                )
                for rung in found["rungs"]
            ),
        ]
        for name in found["methods"]
    ]
    return markdown(columns, rows)


def _pairs(found: Numbers, head: str) -> str:
    """Each pair of methods at the narrowest and at the widest size."""
    rungs = [found["rungs"][0], found["rungs"][-1]]
    columns = [
        "methods",
        *(f"1 − kappa, between less within, {_size(r)}" for r in rungs),
    ]
    cells: dict[str, list[str]] = {}
    for rung in rungs:
        for each in rung["heads"][head]["methods"]:
            if each["measure"] == "kappa":
                gap = each["difference"]
                turned = {
                    "estimate": -gap["estimate"],
                    "low": -gap["high"],
                    "high": -gap["low"],
                }
                pair = f"{each['first']}, {each['second']}"
                cells.setdefault(pair, []).append(
                    _number("chance_corrected", turned, "+")
                )
    return markdown(columns, [[pair, *own] for pair, own in cells.items()])


def _layers(found: Numbers) -> str:
    rows = [
        [_size(rung), layer, *(f"{own[kind]:.3f}" for kind in _PAIRS)]
        for rung in found["rungs"]
        for layer, own in rung["cka"].items()
    ]
    return markdown(["size", "layer", *_PAIRS.values()], rows)


def _rates(found: Numbers) -> str:
    """Validation accuracy at each rate that a method tried."""
    rows = []
    for each in found["rates"]:
        rate, tried = f"{each['rate']:g}", each["tried"]
        cells = ", ".join(f"{name}: {100 * own:.1f}" for name, own in tried.items())
        rates = [float(name) for name in tried]
        at_end = len(rates) > 2 and each["rate"] in (min(rates), max(rates))
        at = " (end of the grid)" if at_end else ""
        depth = "" if each["depth"] is None else f"{each['depth']}"
        rows.append([each["method"], depth, f"{rate}{at}", cells])
    columns = ["method", "hidden layers", "rate", "validation accuracy, %, by rate"]
    return markdown(columns, rows)


def limits(found: Numbers) -> str:
    """The infinite-width predictions, or why there are none."""
    if found["settings"]["model"] != "mlp":
        return NO_LIMIT
    if not found["limit"]:
        return "Not asked for."
    columns = ["hidden layers", "pair", *TITLES.values(), "relative gap"]
    rows = []
    for depth, pairs in found["limit"].items():
        for other, own in pairs.items():
            shown = [f"{100 * own['disagreement']:.2f}"]
            names = ("chance_corrected", "logit_distance", "relative_gap")
            shown += [f"{own[name]:.3f}" for name in names]
            rows.append([depth, f"MTL, {other.upper()}", *shown])
    settings = found["settings"]
    return (
        f"{markdown(columns, rows)}\nTrained on {settings['limit_tasks']} tasks to the "
        f"end, asked on {settings['limit_unseen']} unseen ones, with the same "
        "adaptation of both."
    )
