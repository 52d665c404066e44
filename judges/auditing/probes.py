"""Probes for bias: whether an effect is larger than its margin. All probes of a card are corrected together."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import pandas as pd

from annotation.agreeing import POWER_Z, Figure, Interval, Z
from judges.auditing.cycles import violated_triples
from judges.auditing.favour import longer_gain, self_preference
from judges.auditing.position import position
from judges.auditing.reading import Ground

# The share of false flags among the flags of a card (Benjamini & Hochberg 1995).
FALSE_FLAGS = 0.05
# An effect within its margin moves no conclusion: a flag says that it is larger, not merely that it is not zero.
MARGINS = {"position": 0.05, "length": 0.05, "own_family": 0.03, "cycles": 0.1}
WORDS = {
    "position": "picks the response shown first {effect} more often than half the time",
    "length": "prefers the longer response {effect} more often than people do",
    "own_family": "prefers answers of its own family {effect} more often than people do",
    "cycles": "contradicts itself in {effect} of triples of responses",
}


class Probe(NamedTuple):
    """One test for a bias. `effect` is its size, 0 being none; `margin` what is let pass.

    `p` is the chance of an effect this far beyond the margin if there were none beyond it (by the standard error of the
    clustered bootstrap), `adjusted` the same after Benjamini-Hochberg over the probes of the card.
    """

    name: str
    effect: Figure
    margin: float
    p: float | None
    adjusted: float | None
    flagged: bool

    @property
    def detectable(self) -> float | None:
        """The smallest effect, margin included, that a sample like this flags in four of five cases."""
        error = _standard_error(self.effect)
        return None if error is None else self.margin + (Z + POWER_Z) * error

    @property
    def in_words(self) -> str:
        """What a flag says, for a person."""
        value = self.effect.value or 0.0
        effect = f"{abs(value):.0%}" if self.name == "cycles" else f"{100 * abs(value):.0f} points"
        sentence = WORDS[self.name].format(effect=effect)
        return sentence if value >= 0 else sentence.replace("more often", "less often")

    def as_dict(self) -> dict[str, Any]:
        """Return the probe as JSON values."""
        return {
            "name": self.name,
            "effect": self.effect.as_dict(),
            "margin": self.margin,
            "p": self.p,
            "adjusted": self.adjusted,
            "detectable": self.detectable,
            "flagged": self.flagged,
        }


def bias_probes(calls: pd.DataFrame, labels: pd.DataFrame, family: str, ground: Ground) -> list[Probe]:
    """Return the probes of a judge from its verdicts (`with_sides`) and preferences (`with_ground`)."""
    return probes_of(
        first_shown=position(calls, ground.seed).first_shown,
        longer=longer_gain(labels, ground),
        own_family=self_preference(labels, family, ground).gain,
        cycles=violated_triples(labels, ground.pairs, ground.seed),
    )


def probes_of(*, first_shown: Figure, longer: Figure, own_family: Figure, cycles: Figure) -> list[Probe]:
    """Return the probes of figures that are there already, flagged after Benjamini-Hochberg."""
    effects = {"position": _less_half(first_shown), "length": longer, "own_family": own_family, "cycles": cycles}
    raw = {name: _p_value(effect, MARGINS[name]) for name, effect in effects.items()}
    adjusted = dict(zip(effects, benjamini_hochberg(list(raw.values())), strict=True))
    return [
        Probe(
            name,
            effect,
            MARGINS[name],
            raw[name],
            adjusted[name],
            (chance := adjusted[name]) is not None and chance <= FALSE_FLAGS,
        )
        for name, effect in effects.items()
    ]


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the adjusted p-values in the same places; those that are None are left out of the count."""
    return _stepped_up(p_values, 1.0)


def benjamini_yekutieli(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values adjusted for tests that depend on each other in any way (Benjamini & Yekutieli 2001)."""
    n = sum(p is not None for p in p_values)
    return _stepped_up(p_values, sum(1.0 / rank for rank in range(1, n + 1)))


def _stepped_up(p_values: Sequence[float | None], factor: float) -> list[float | None]:
    known = sorted(((p, place) for place, p in enumerate(p_values) if p is not None), reverse=True)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 1.0
    for below, (p, place) in enumerate(known):
        least = min(least, factor * p * len(known) / (len(known) - below))
        adjusted[place] = least
    return adjusted


def _less_half(figure: Figure) -> Figure:
    if figure.value is None or figure.interval is None:
        return figure
    return Figure(
        figure.value - 0.5, figure.n, Interval(figure.interval.low - 0.5, figure.interval.high - 0.5), figure.too_few
    )


def _standard_error(figure: Figure) -> float | None:
    if figure.interval is None:
        return None
    return (figure.interval.high - figure.interval.low) / (2.0 * Z)


def _p_value(effect: Figure, margin: float) -> float | None:
    error = _standard_error(effect)
    if effect.value is None or error is None:
        return None
    beyond = abs(effect.value) - margin
    if beyond <= 0.0:
        return 1.0
    return 2.0 * (1.0 - NormalDist().cdf(beyond / error)) if error else 0.0
