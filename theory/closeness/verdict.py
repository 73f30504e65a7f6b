"""What `diagnose` finds, and the sentences that follow from the numbers.

Each sentence has its rule, each rule its threshold with the reason, in this file.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from metabridge.theory.types import Closeness

SAME = 0.95
"""Agreement from which on the two are one classifier for most purposes: one query in
twenty then differs, in a task of 25 queries about one."""
CLOSE = 0.1
"""Relative gap up to which the two are close: what they disagree on is then a tenth of
what training contributed, and 1 % of its square."""
APART = 0.5
"""Relative gap from which on they have learned different things: the difference is half
as large as all that training contributed."""
NEGLIGIBLE = 0.05
"""Share of a prediction, by its norm, below which training contributes next to
nothing: an agreement then says little about training."""
LOW_RANK = 0.25
"""Effective dimension over the number of rows below which a kernel sees its training
points as nearly the same point."""
ILL_CONDITIONED = 1e10
"""Condition number from which on float64 leaves six digits or fewer of a solution."""
LITTLE = 0.02
"""Change of accuracy up to which training changes little."""
SMALL = 0.05
"""Relative change of the relative gap up to which it counts as none."""
_TOP = 5
"""Eigenvalues whose share of the trace is given."""


class Spectrum(NamedTuple):
    """Eigenvalues of a training kernel, and what they come to."""

    eigenvalues: Float[np.ndarray, "N"]
    """Largest first."""

    @property
    def top_share(self) -> float:
        """Share of the trace in the largest eigenvalue."""
        return float(self.top_shares[0])

    @property
    def top_shares(self) -> Float[np.ndarray, "_"]:
        """Shares of the trace in each of the five largest eigenvalues."""
        return self.eigenvalues[:_TOP] / (self.eigenvalues.sum() or math.nan)

    @property
    def condition(self) -> float:
        """Largest over smallest eigenvalue; infinite where that is not positive."""
        smallest = self.eigenvalues[-1]
        return float(self.eigenvalues[0] / smallest) if smallest > 0 else math.inf

    @property
    def effective_dimension(self) -> float:
        """``tr(K (K + c I)^-1)`` with c the mean eigenvalue, ``tr(K) / N``.

        N/2 if all eigenvalues are equal, near 1 if one holds the trace: how many
        directions the kernel tells apart at its own scale.
        """
        values = np.maximum(self.eigenvalues, 0.0)
        return float((values / ((values + values.mean()) if values.any() else 1)).sum())


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Whether MTL matches GBML on some tasks; `str` gives the numbers and the reading.

    Attributes:
      closeness: predictions on the unseen tasks and what sets them apart.
      transfer_share: norm of what training contributed to GBML's prediction, over that
        of the prediction; averaged over the unseen tasks.
      mtl_accuracy: share of the unseen queries that MTL classifies correctly; NaN where
        their labels are unknown or no classes. So are the next two.
      gbml_accuracy: of GBML.
      untrained_accuracy: of the adaptation by itself, ``A^ Y'``: without any training.
      interval: half the 95 % interval of the largest of these, over the tasks.
      mtl_spectrum: of MTL's training kernel.
      gbml_spectrum: of GBML's.
      inner_time: lambda tau, time of GBML's inner loop; of steps their number times
        their size, of a ridge one over its penalty: what each moves to first order. Of
        loops on other layers than the head, times the ratio of the traces of their
        kernel and the head's, which is about the depth.
      depth: hidden layers L, or None if only the user knows.
      half_time: closeness with half the inner loop; None where it was not measured.
      twice_depth: closeness with twice the depth, likewise.
      tasks: training tasks.
      unseen: unseen tasks.
      outputs: of the networks.
    """

    closeness: Closeness
    transfer_share: float
    mtl_accuracy: float
    gbml_accuracy: float
    untrained_accuracy: float
    interval: float
    mtl_spectrum: Spectrum
    gbml_spectrum: Spectrum
    inner_time: float
    depth: int | None
    tasks: int
    unseen: int
    outputs: int
    half_time: Closeness | None = None
    twice_depth: Closeness | None = None

    @property
    def gap(self) -> float:
        """``||F_MTL - F_GBML||``, see `Closeness`."""
        return self.closeness.gap

    @property
    def relative_gap(self) -> float:
        """The gap over the transfer."""
        return self.closeness.relative_gap

    @property
    def transfer(self) -> float:
        """``||[I, -A^] f_GBML||``."""
        return self.closeness.transfer

    @property
    def agreement(self) -> float:
        """Share of the queries on which both name one class; NaN with one output."""
        return self.closeness.agreement

    @property
    def spectra(self) -> dict[str, Spectrum]:
        """Those of both training kernels, "MTL" and "GBML"."""
        return {"MTL": self.mtl_spectrum, "GBML": self.gbml_spectrum}

    @property
    def close(self) -> bool:
        """Whether MTL can stand in for GBML: `SAME` agreement or a `CLOSE` gap."""
        return self.relative_gap <= CLOSE or self.agreement >= SAME

    @property
    def reading(self) -> tuple[str, ...]:
        """What the numbers say, in sentences."""
        sentences = [_verdict(self), *_transfer(self), *_accuracy(self)]
        return (*sentences, *_theorem(self), *_kernels(self))

    def as_dict(self) -> dict[str, float | int | list[float] | list[str] | None]:
        """The numbers and the reading, for JSON: NaN and infinity become None."""
        names = (
            "gap", "relative_gap", "agreement", "transfer", "transfer_share",
            "mtl_accuracy", "gbml_accuracy", "untrained_accuracy", "interval",
            "inner_time", "depth", "tasks", "unseen", "close",
        )  # fmt: skip
        values = {name: getattr(self, name) for name in names}
        for name in ("half_time", "twice_depth"):
            found = getattr(self, name)
            values[f"{name}_relative_gap"] = found and found.relative_gap
        for name, spectrum in self.spectra.items():
            own = f"{name.lower()}_"
            values[own + "effective_dimension"] = spectrum.effective_dimension
            values[own + "condition"] = spectrum.condition
            values[own + "top_shares"] = spectrum.top_shares.tolist()
            values[own + "rows"] = len(spectrum.eigenvalues)
        clean = {
            name: None if isinstance(v, float) and not math.isfinite(v) else v
            for name, v in values.items()
        }
        return clean | {"reading": list(self.reading)}

    def __repr__(self) -> str:
        return (
            f"Diagnosis(gap {self.gap:.3g}, relative gap {self.relative_gap:.3g}, "
            f"agreement {self.agreement:.3g}, {self.tasks} tasks, {self.unseen} unseen)"
        )

    def __str__(self) -> str:
        lines = [f"{name:34} {value}" for name, value in _rows(self)]
        return "\n".join([*lines, "", *self.reading])


def _verdict(found: Diagnosis) -> str:
    if not found.closeness.transfers.any() and not found.gap:
        return (
            "Nothing is transferred: MTL and GBML both predict by the adaptation to "
            "the support alone."
        )
    relative = f"{_percent(found.relative_gap)} of what training contributed"
    agreement = f"they name the same class on {_percent(found.agreement)} of queries"
    if math.isnan(found.agreement):
        agreement = f"their predictions are {found.gap:.2g} apart"
    if found.relative_gap <= CLOSE:
        return f"MTL can stand in for GBML: they differ by {relative}, {agreement}."
    if found.agreement >= SAME:
        return (
            f"As classifiers MTL and GBML are one: {agreement}; but what they learned "
            f"differs, by {relative}."
        )
    if found.relative_gap >= APART:
        return f"MTL cannot stand in for GBML: they differ by {relative}, {agreement}."
    return f"MTL comes near GBML: they differ by {relative}, {agreement}."


def _transfer(found: Diagnosis) -> list[str]:
    if found.transfer_share >= NEGLIGIBLE:
        return []
    return [
        f"Training contributes {_percent(found.transfer_share)} of a prediction, the "
        "adaptation on the support the rest: any two ways of training agree here."
    ]


def _accuracy(found: Diagnosis) -> list[str]:
    if math.isnan(found.mtl_accuracy):
        return []
    best = max(found.mtl_accuracy, found.gbml_accuracy)
    difference = best - found.untrained_accuracy
    margin = 0.0 if math.isnan(found.interval) else found.interval
    without = f"adapting without any training has {_percent(found.untrained_accuracy)}"
    if best <= 1.0 / found.outputs + margin:
        return [
            f"Neither is better than chance, {_percent(1.0 / found.outputs)}, while "
            f"{without}: that they agree is then no use. Adapt to an unseen task for "
            "longer, or take a shallower network."
        ]
    mtl, gbml = _percent(found.mtl_accuracy), _percent(found.gbml_accuracy)
    with_it = f"MTL {mtl}, GBML {gbml}"
    if difference > margin:
        return [f"Training helps: accuracy of {with_it}, while {without}."]
    if difference < -margin:
        return [
            f"Training harms: {without}, {with_it}. What these tasks share is of no "
            "use to a network that learns no features."
        ]
    if abs(difference) <= LITTLE:
        return [f"Training changes little: {without}, {with_it}."]
    return [
        f"Whether training helps is not decided by these tasks: {without}, {with_it}, "
        f"± {_percent(margin)}."
    ]


def _theorem(found: Diagnosis) -> list[str]:
    """What was measured beside the tasks as they are, or what the bound suggests."""
    if math.isnan(found.relative_gap):
        return []
    measured = {
        "half the inner loop": found.half_time,
        "twice the depth": found.twice_depth,
    }
    gaps = {n: m.relative_gap for n, m in measured.items() if m is not None}
    gaps = {name: gap for name, gap in gaps.items() if not math.isnan(gap)}
    sentences = []
    if gaps:
        changes = [f"to {gap:.3g} with {name}" for name, gap in gaps.items()]
        effects = [
            f"{name} {_effect(gap, found.relative_gap)}" for name, gap in gaps.items()
        ]
        sentences.append(
            f"Measured: the relative gap goes from {found.relative_gap:.3g} "
            f"{' and '.join(changes)}: {', '.join(effects)}."
        )
    if found.twice_depth is None and found.depth is not None:
        sentences.append(
            f"The bound grows with λτ = {found.inner_time:.3g} and 1/L = "
            f"{_rate(found.depth):.3g}; it suggests, and does not say, that a deeper "
            "network is closer: off the critical line it is not."
        )
    return sentences


def _effect(gap: float, before: float) -> str:
    if abs(gap - before) <= SMALL * before:
        return "changes little"
    return "brings the two closer" if gap < before else "sets the two apart"


def _rate(depth: int) -> float:
    return 1.0 / max(depth, 1)


def _kernels(found: Diagnosis) -> list[str]:
    said = []
    for name, spectrum in found.spectra.items():
        if not spectrum.eigenvalues.any():
            continue
        rows, dimension = len(spectrum.eigenvalues), spectrum.effective_dimension
        if dimension < LOW_RANK * rows:
            said.append(
                f"The kernel of {name} tells {dimension:.3g} directions apart among "
                f"its {rows} rows: it sees the training points as nearly the same."
            )
        if spectrum.condition > ILL_CONDITIONED:
            said.append(
                f"The kernel of {name} has condition number {spectrum.condition:.1g}: "
                "round-off shows in its predictions; a jitter would help."
            )
    return said


def _rows(found: Diagnosis) -> list[tuple[str, str]]:
    rows = [
        ("training tasks, unseen tasks", f"{found.tasks}, {found.unseen}"),
        ("gap ||F_MTL - F_GBML||", f"{found.gap:.3g}"),
        ("relative gap", f"{found.relative_gap:.3g}"),
    ]
    if not math.isnan(found.agreement):
        rows.append(("same predicted class", _percent(found.agreement)))
    rows.append(
        ("transfer, share of a prediction",
         f"{found.transfer:.3g}, {_percent(found.transfer_share)}")
    )  # fmt: skip
    if not math.isnan(found.mtl_accuracy):
        rows += [
            ("accuracy of MTL", _percent(found.mtl_accuracy)),
            ("accuracy of GBML", _percent(found.gbml_accuracy)),
            ("accuracy without training", _percent(found.untrained_accuracy)),
        ]
        if not math.isnan(found.interval):
            within = f"± {_percent(found.interval)}"
            rows.append(("95 % interval over tasks, at most", within))
    for name, spectrum in found.spectra.items():
        if not spectrum.eigenvalues.any():
            continue
        count, dimension = len(spectrum.eigenvalues), spectrum.effective_dimension
        rows += [
            (f"{name} kernel: effective dimension", f"{dimension:.3g} of {count}"),
            (
                f"{name} kernel: largest eigenvalues",
                ", ".join(map(_percent, spectrum.top_shares)),
            ),
            (f"{name} kernel: condition number", f"{spectrum.condition:.2g}"),
        ]
    depth = "unknown" if found.depth is None else f"{1 / max(found.depth, 1):.3g}"
    return [*rows, ("λτ, 1/L", f"{found.inner_time:.3g}, {depth}")]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
