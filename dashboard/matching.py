"""How people agree, as the page Agreement shows it: rows of coefficients and a table of who meets whom."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from annotation.models import Method

# The coefficients in the order in which they are read, with what each is for.
COEFFICIENTS = {
    "raw": ("Same answer", "share of couples of people who gave the same answer; chance is in it"),
    "alpha_nominal": ("Krippendorff's alpha", "beyond chance; an answer is the same or not"),
    "alpha_ordinal": ("Alpha, ordinal", "neighbouring answers count as nearer, by rank"),
    "alpha_interval": ("Alpha, interval", "neighbouring answers count as nearer, by distance"),
    "fleiss": ("Fleiss' kappa", "beyond chance, with one habit for all"),
    "kappa": (
        "Weighted kappa",
        "beyond each person's own habits; half credit between a side and neither",
    ),
    "ac1": ("Gwet's AC1", "beyond chance; holds where nearly everybody gives one answer"),
    "ac2": ("Gwet's AC2", "AC1 with half credit between a side and neither"),
}

METHODS = {
    Method.PLURALITY: "every vote counts alike. Checked by counting; a shared first place leaves the pair open.",
    Method.STRENGTH: "a vote counts its strength, 1 to 3; one without counts 2.",
    Method.WEIGHTED: "a vote counts as often as its giver is with most others.",
    Method.ONE_COIN: "for few answers each; misled by people who favour a side.",
    Method.DAWID_SKENE: "learns what each person says to each true answer; for twenty answers each or more.",
    Method.MACE: "learns who guesses and what they then say; for crowds with spammers.",
    Method.BRADLEY_TERRY: "learns from the other pairs of a prompt too, and who goes by the side of the screen.",
}
# More people make a table that nobody reads; those with most pairs in common are shown.
MOST_PEOPLE = 16
# Lower ends of the steps a cell is shaded by.
STEPS = (0.9, 0.75, 0.6, 0.45)


class Cell(NamedTuple):
    """Two people: their figures, or None on the diagonal and where they share too few pairs. `step`: 0 much to 4."""

    couple: Mapping[str, Any] | None
    step: int
    is_self: bool


class Matrix(NamedTuple):
    """Who agrees with whom: a row of cells a person, in the order of `names`. `left_out` people found no room."""

    names: list[str]
    rows: list[tuple[str, list[Cell]]]
    left_out: int


def matrix_of(couples: Sequence[Mapping[str, Any]]) -> Matrix:
    """Return the couples of a report on people as a square table; those with most pairs in common first."""
    shared: dict[str, int] = {}
    for couple in couples:
        for name in (couple["first"], couple["second"]):
            shared[name] = shared.get(name, 0) + couple["n"]
    everybody = sorted(shared, key=lambda name: (-shared[name], name))
    names = everybody[:MOST_PEOPLE]
    known = {frozenset((couple["first"], couple["second"])): couple for couple in couples}
    rows = [(name, [_cell(known.get(frozenset((name, other))), name == other) for other in names]) for name in names]
    return Matrix(names, rows, len(everybody) - len(names))


def coefficient_rows(found: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return the coefficients of a report as rows: name, what it is for, figure."""
    return [(name, note, found[key]) for key, (name, note) in COEFFICIENTS.items()]


def _cell(couple: Mapping[str, Any] | None, is_self: bool) -> Cell:
    value = couple["raw"]["value"] if couple else None
    step = 4 if value is None else next((step for step, least in enumerate(STEPS) if value >= least), 4)
    return Cell(couple, step, is_self)
