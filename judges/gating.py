"""The gate of a judge: thresholds that its card must meet for its labels to stand alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction

from annotation.publishing import publish
from judges.errors import JudgeError
from judges.models import Judge

if TYPE_CHECKING:
    from annotation.agreeing import Figure
    from judges.auditing.cards import JudgeCard

COIN = 0.5
# The fact that makes labels of judges stale without a new answer.
LABELS_OUTDATED = "labels_outdated"


class Gate(NamedTuple):
    """Thresholds; None switches one off. The defaults dismiss on strong evidence only (`docs/architecture.md`).

    A judge that picks the first response in a share s of its decisive calls decides |2s - 1| of them by position
    alone: a quarter away from one half is half its calls; capable models stay within 0.15. With fewer than 50 labelled
    pairs the interval of an accuracy is 28 points wide.
    """

    failed_max: float | None = 0.5
    position_max: float | None = 0.25
    flips_max: float | None = None
    cycles_max: float | None = None
    accuracy_min: float | None = COIN
    labels_min: int = 50
    labels_needed: bool = False
    calibration_error_max: float | None = None
    alt_test_needed: bool = False
    alt_test_epsilon: float = 0.15
    flags_dismiss: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return every threshold, so that what a manager set stands whatever the defaults become."""
        return self._asdict()


DEFAULT = Gate()
MEANINGS = {
    "failed_max": "Largest share of calls without an answer",
    "position_max": "Largest distance of the first-shown share from one half (its whole interval must lie beyond)",
    "flips_max": "Largest share of pairs decided otherwise in the other order (its whole interval must lie above)",
    "cycles_max": "Largest share of triples in a circle or a contradicting tie (its whole interval must lie above)",
    "accuracy_min": "Agreement with people that the interval must lie above, where both take a side",
    "labels_min": "Labelled pairs from which agreement with people is tested",
    "labels_needed": "A judge with fewer labelled pairs fails",
    "calibration_error_max": "Largest calibration error (its whole interval must lie above)",
    "alt_test_needed": "The alternative-annotator test must be passed",
    "alt_test_epsilon": "How much worse than a person the test allows, since a judge is cheaper (0.1, 0.15 or 0.2)",
    "flags_dismiss": "A bias that raises a flag fails the judge",
}
SWITCHES = ("labels_needed", "alt_test_needed", "flags_dismiss")
# The largest value of a share or distance.
LARGEST = {"position_max": 0.5}
# The margins of Calderon et al. 2025: for a crowd, skilled people, experts.
EPSILONS = (0.1, 0.15, 0.2)


class Ruling(NamedTuple):
    """What a gate says of a card: `reasons` why its labels may not stand alone, `notes` on what is not known."""

    trusted: bool
    reasons: list[str]
    notes: list[str]


def read_gate(stored: Mapping[str, Any]) -> Gate:
    """Return the gate of a mapping of thresholds; what is not in it has its default.

    Raises `JudgeError` for unknown names and values out of range.
    """
    if unknown := set(stored) - set(Gate._fields):
        known = ", ".join(Gate._fields)
        raise JudgeError(f"Unknown thresholds: {', '.join(sorted(map(str, unknown)))}. Known: {known}.")
    return Gate(**{name: _checked(name, value) for name, value in stored.items()})


def gate_of(judge: Judge) -> Gate:
    """Return the gate that a manager set for a judge, or the default one."""
    return read_gate(judge.gate)


def set_gate(judge: Judge, values: Mapping[str, Any]) -> Gate:
    """Store a judge's thresholds, replacing those it had; return them. No values at all take the gate away.

    The project's labels are made again for it, by whoever hears of `labels_outdated`.
    Raises `JudgeError` naming the threshold and what it takes.
    """
    gate = read_gate(values)
    with transaction.atomic():
        judge.gate = gate.as_json() if values else {}
        judge.save(update_fields=["gate"])
        publish(LABELS_OUTDATED, {"project_id": str(judge.project_id)})
    return gate


def verdict(card: "JudgeCard", gate: Gate = DEFAULT) -> Ruling:
    """Return whether a judge's labels may stand alone, and why not.

    A judge is dismissed on evidence: where the data cannot tell, that is a note and no reason, unless the gate says
    that labels or the alternative-annotator test are needed.
    """
    reasons: list[str] = []
    notes: list[str] = []
    if not card.n_pairs:
        reasons.append("no preferences: it has judged no pair to the end")
    if gate.failed_max is not None and card.failed.value is not None and card.failed.value > gate.failed_max:
        reasons.append(f"failures: {card.failed.value:.0%} of its {card.failed.n} calls brought no answer")
    reasons += _position_doubt(card.first_shown, gate)
    if card.first_shown.value is None:
        notes.append(f"position bias is not known: {card.first_shown.too_few}")
    reasons += _above(card.flips, gate.flips_max, "flips: changes its side with the order")
    reasons += _above(card.cycles, gate.cycles_max, "cycles: contradicts itself in triples of responses")
    reasons += _above(card.calibration_error, gate.calibration_error_max, "calibration: its confidence is off by")
    flagged = [probe for probe in card.probes if probe.flagged]
    (reasons if gate.flags_dismiss else notes).extend(f"bias: {probe.in_words}" for probe in flagged)
    for found, where in ((_accuracy(card, gate), gate.labels_needed), (_alt_test(card, gate), True)):
        reasons += found.reasons
        (reasons if where else notes).extend(found.missing)
        notes += found.notes
    return Ruling(not reasons, reasons, notes)


# --- Parts ----------------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    reasons: list[str]
    missing: list[str]
    notes: list[str]


def _position_doubt(first_shown: "Figure", gate: Gate) -> list[str]:
    if gate.position_max is None or first_shown.value is None or first_shown.interval is None:
        return []
    if first_shown.interval.low > COIN + gate.position_max:
        return [f"position bias: picks the response shown first in {first_shown.value:.0%} of calls"]
    if first_shown.interval.high < COIN - gate.position_max:
        return [f"position bias: picks the response shown second in {1 - first_shown.value:.0%} of calls"]
    return []


def _above(figure: "Figure", limit: float | None, words: str) -> list[str]:
    if limit is None or figure.value is None or figure.interval is None or figure.interval.low <= limit:
        return []
    return [
        f"{words} {figure.value:.0%} (n = {figure.n}, interval {figure.interval.low:.0%} to "
        f"{figure.interval.high:.0%}, at most {limit:.0%} allowed)"
    ]


def _accuracy(card: "JudgeCard", gate: Gate) -> _Found:
    accuracy, gain = card.preference_two_way, card.beats_length_rule
    if accuracy.n < gate.labels_min or accuracy.interval is None:
        missing = (
            f"agreement with people is not tested: too few labels ({accuracy.n} of {gate.labels_min} pairs where the "
            "judge and people both take a side)"
        )
        return _Found([], [missing], [])
    reasons, notes = [], []
    if gate.accuracy_min is not None and accuracy.interval.low <= gate.accuracy_min:
        least = "no better than a coin" if gate.accuracy_min == COIN else f"not above {gate.accuracy_min:.0%}"
        reasons.append(
            f"{least}: agrees with people on {accuracy.value:.0%} of {accuracy.n} pairs where both "
            f"take a side (interval {accuracy.interval.low:.0%} to {accuracy.interval.high:.0%})"
        )
    if gain.interval is not None and gain.interval.high < 0.0:
        # No reason to dismiss it: on public chat pairs the rule beats GPT-4, because people there reward length.
        notes.append(
            f"below the length rule: agrees with people on {accuracy.value:.0%} of {accuracy.n} pairs, the longer "
            f"response on {card.length_rule.value:.0%}"
        )
    return _Found(reasons, [], notes)


def _alt_test(card: "JudgeCard", gate: Gate) -> _Found:
    if not gate.alt_test_needed or card.alt_test is None:
        return _Found([], [], [])
    test = card.alt_test
    if test.passed is None:
        return _Found([], [f"the alternative-annotator test is not possible: {test.too_few}"], [])
    if test.passed:
        return _Found([], [], [])
    failed = (
        f"alternative-annotator test: stands in for {test.winning_rate:.0%} of {test.n_people} people, it takes half "
        f"(epsilon {test.epsilon:g})"
    )
    return _Found([failed], [], [])


def _checked(name: str, value: Any) -> Any:
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise JudgeError(f"{name} is {value!r}; it takes true or false.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise JudgeError(f"{name} is {value!r}; it takes a number.")
    if name == "labels_min":
        if not isinstance(value, int) or not 10 <= value <= 1_000_000:
            raise JudgeError(f"labels_min is {value!r}; it takes a whole number from 10 to 1,000,000.")
        return value
    if name == "alt_test_epsilon":
        if value not in EPSILONS:
            raise JudgeError(f"alt_test_epsilon is {value!r}; it takes 0.1, 0.15 or 0.2.")
        return float(value)
    largest = LARGEST.get(name, 1.0)
    if value is not None and not 0.0 <= value <= largest:
        raise JudgeError(f"{name} is {value!r}; it takes a number from 0 to {largest:g}, or nothing for no limit.")
    return None if value is None else float(value)
