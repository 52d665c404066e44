"""What a project holds its people to: how much gold they get, what they have to pass, and when a rule pauses them.

A project stores what differs from the defaults as JSON (`Project.standards`); whatever is stored went through
`read_standards`. Without a setting nothing is mixed in, nothing has to be passed and nobody is paused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil
from typing import Any

from annotation.errors import StandardsInvalid
from annotation.models import Gold, Project, Template

MOST_PERCENT, MOST_FIRST, MOST_TRIES, MOST_LEAST, MOST_FAILS = 25.0, 50, 5, 100, 20


@dataclass(frozen=True, slots=True)
class Standards:
    """How people of a project are checked."""

    # Of a person's pairs so many percent are gold, one in each stretch at a place drawn for them.
    gold_percent: float = 0.0
    # Before anything else a person answers so many gold pairs, of which this share has to be right; so many tries.
    first_gold: int = 0
    pass_mark: float = 0.8
    tries: int = 2
    # A rule pauses who is right on gold as rarely as `bad_accuracy` rather than as often as `good_accuracy`. Somebody
    # as good as that, or better, is ever paused by it with this probability at most, however often it looks.
    pause_on_gold: bool = False
    good_accuracy: float = 0.85
    bad_accuracy: float = 0.5
    wrong_pauses: float = 0.02
    least_gold: int = 5
    # So many failed attention checks pause as well; 0: none does.
    attention_fails: int = 0
    # Whether a rule that pauses also takes the answers so far out of the count.
    exclude_on_pause: bool = False

    @property
    def needed(self) -> int:
        """Return how many of the first gold pairs have to be right: the pass mark of them, rounded up."""
        return ceil(round(self.pass_mark * self.first_gold, 6))

    @property
    def asks_gold(self) -> bool:
        """Say whether any gold is mixed in."""
        return self.gold_percent > 0 or self.first_gold > 0

    def values(self) -> dict[str, Any]:
        """Return every setting as JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def settings(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON: what a project stores."""
        usual = Standards().values()
        return {name: value for name, value in self.values().items() if value != usual[name]}


USUAL = Standards()
SETTINGS: dict[str, Any] = {one.name: one.type for one in fields(Standards)}
# The least and the most of each number, both allowed.
RANGES: dict[str, tuple[float, float]] = {
    "gold_percent": (0.0, MOST_PERCENT),
    "first_gold": (0, MOST_FIRST),
    "pass_mark": (0.01, 1.0),
    "tries": (1, MOST_TRIES),
    "good_accuracy": (0.55, 0.99),
    "bad_accuracy": (0.05, 0.9),
    "wrong_pauses": (0.001, 0.2),
    "least_gold": (1, MOST_LEAST),
    "attention_fails": (0, MOST_FAILS),
}


def read_standards(values: Mapping[str, Any]) -> Standards:
    """Return standards, checked. Raises `StandardsInvalid` naming the setting."""
    if unknown := sorted(set(values) - set(SETTINGS)):
        raise StandardsInvalid(unknown[0], f"is not a setting. The settings are: {', '.join(SETTINGS)}.")
    standards = Standards(**{name: _of_kind(name, value) for name, value in values.items()})
    for name, (least, most) in RANGES.items():
        if not least <= getattr(standards, name) <= most:
            raise StandardsInvalid(name, f"is {getattr(standards, name):g}; it is {least:g} to {most:g}.")
    if standards.bad_accuracy >= standards.good_accuracy:
        raise StandardsInvalid("bad_accuracy", f"is not below good_accuracy, {standards.good_accuracy:g}.")
    return standards


def standards_of(project: Project) -> Standards:
    """Return what a project holds its people to; no query."""
    return read_standards(project.standards) if project.standards else USUAL


def set_standards(project: Project, values: Mapping[str, Any]) -> Standards:
    """Store a project's standards, whole. Raises `StandardsInvalid`, also where there is too little gold for them."""
    standards = read_standards(values)
    if standards.asks_gold and project.template in (Template.RANKING, Template.BEST_WORST):
        raise StandardsInvalid("gold_percent", "goes with pairs; this project asks for orders of several responses.")
    there, wanted = Gold.objects.live().filter(project=project).count(), standards.first_gold * standards.tries
    if there < wanted:
        raise StandardsInvalid(
            "first_gold",
            f"is {standards.first_gold} in {standards.tries} tries, which takes {wanted} gold pairs; there are {there}."
            " Set more pairs as gold, or ask fewer.",
        )
    project.standards = standards.settings()
    project.save(update_fields=["standards"])
    return standards


def _of_kind(name: str, value: Any) -> Any:
    kind = SETTINGS[name]
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6:
        return float(value)
    raise StandardsInvalid(name, f"is {value!r}; it takes {KINDS[kind]}.")


KINDS = {bool: "true or false", int: "a whole number", float: "a number"}
