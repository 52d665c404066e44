"""How a judge version is asked and its answers read: the part of its content that is neither model nor prompt."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from judges.errors import JudgeError
from judges.models import JudgeKind
from judges.questions import Protocol

LARGEST_SAMPLES = 25
SCALES = (5, 10, 100)
SCORINGS = ("expectation", "mode", "sharpened")
AGGREGATIONS = ("mean", "likelihood")
RATIONALES = ("with", "later", "none")
RULES_OF_A_JURY = ("mean", "majority", "learned")


class Options(NamedTuple):
    """Everything below is part of a version's content, stored as JSON in `JudgeVersion.options`.

    `tie`: the labels offer a tie. `criteria`: names of the project's criteria answered one by one beside the overall
    answer (a rating judge scores each; none means overall alone). `samples`: calls an order, averaged; the way to
    probabilities where a server gives none. `scale`: the best score of a rating, from 1. `scoring`: how a
    distribution over scores becomes one: its expectation, its mode, or TrustJudge's sharpened expectation.
    `aggregation`: how two orders become one answer: mean of the probabilities, or TrustJudge's likelihood-aware
    argmax of summed distributions with `tie_band` as its delta. `tie_band`: a mean within this distance of one half is
    a tie. `rationale`: asked with the verdict, later (only for pairs that are exported or disputed), or not at all.
    `examples`: worked examples, frozen: {prompt, first, second, choice, pair_id}. `rule`, `members`, `weights`: how a
    jury decides and from which versions (ids as strings, in order). `unsure_below`: a cascade asks its second member
    where the first is less sure than this probability, or contradicts itself.
    """

    tie: bool = True
    criteria: tuple[str, ...] = ()
    samples: int = 1
    scale: int = 10
    scoring: str = "expectation"
    aggregation: str = "mean"
    tie_band: float = 0.05
    rationale: str = "with"
    examples: tuple[Mapping[str, Any], ...] = ()
    rule: str = "mean"
    members: tuple[str, ...] = ()
    weights: Mapping[str, float] = {}
    unsure_below: float = 0.8

    def as_json(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON values."""
        defaults = Options()
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self._asdict().items()
            if value != getattr(defaults, name)
        }


def read_options(stored: Mapping[str, Any]) -> Options:
    """Return the options of a version. Raises `JudgeError` for names there are none of."""
    if unknown := set(stored) - set(Options._fields):
        known = ", ".join(sorted(Options._fields))
        raise JudgeError(f"Unknown options: {', '.join(sorted(unknown))}. Known: {known}.")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return Options(**values)


def check_options(options: Options, *, kind: str, protocol: str) -> Options:
    """Return the options, brought to their types, for a judge of this kind and protocol. Raises `JudgeError`."""
    _one_of("scoring", options.scoring, SCORINGS)
    _one_of("aggregation", options.aggregation, AGGREGATIONS)
    _one_of("rationale", options.rationale, RATIONALES)
    _one_of("rule", options.rule, RULES_OF_A_JURY)
    if not _is_int(options.samples) or not 1 <= options.samples <= LARGEST_SAMPLES:
        raise JudgeError(f"samples is {options.samples!r}; it takes a whole number from 1 to {LARGEST_SAMPLES}.")
    if options.scale not in SCALES:
        raise JudgeError(f"scale is {options.scale!r}; it takes {_listed(SCALES)}.")
    for name, low, high in (("tie_band", 0.0, 0.5), ("unsure_below", 0.5, 1.0)):
        value = getattr(options, name)
        if not isinstance(value, int | float) or not low <= value <= high:
            raise JudgeError(f"{name} is {value!r}; it takes a number from {low:g} to {high:g}.")
    if options.aggregation == "likelihood" and protocol == Protocol.RATING:
        raise JudgeError("The aggregation 'likelihood' sums two orders; a rating judge sees each response alone.")
    if options.members and kind not in {JudgeKind.JURY, JudgeKind.CASCADE}:
        raise JudgeError(f"Only a jury or a cascade has members, not a judge of kind {kind}.")
    return options


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise JudgeError(f"{name} is {value!r}; it takes {_listed(known)}.")


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(str(value) for value in values[:-1]) + f" or {values[-1]}"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
