"""How a judge version is asked and its answers read: the part of its content that is neither model nor prompt."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from judges.errors import JudgeError
from judges.models import JudgeKind, JudgeVersion
from judges.questions import SCORED_ALONE, Protocol

LARGEST_SAMPLES = 25
LARGEST_EXAMPLES = 12
LARGEST_CRITERIA = 20
SCALES = (5, 10, 100)
SCORINGS = ("expectation", "mode", "sharpened")
AGGREGATIONS = ("mean", "likelihood")
RATIONALES = ("with", "later", "none")
RULES_OF_A_JURY = ("mean", "majority", "learned")
# What each protocol can do about a rationale; the first is what it does unless told otherwise.
RATIONALES_OF: Mapping[str, tuple[str, ...]] = {
    # Its reasons come before the choice: without them it would be another protocol (letter).
    Protocol.PAIRWISE: ("with",),
    # In the same JSON object, after the verdict, so that the verdict's probability is not that of a reasoned one.
    Protocol.LETTER: ("none", "with", "later"),
    Protocol.RATING: ("none", "with", "later"),
    # Such models write no text.
    Protocol.DECISIONS: ("none",),
    Protocol.REWARD: ("none",),
}


class Options(NamedTuple):
    """Everything below is part of a version's content, stored as JSON in `JudgeVersion.options`.

    `tie`: the labels offer a tie. `criteria`: names of the project's criteria answered one by one beside the overall
    answer (a rating judge scores each; none means overall alone). `samples`: calls an order, averaged; the way to
    probabilities where a server gives none (TrustJudge asks for five or more). `scale`: the best score of a rating,
    from 1. `scoring`: how a distribution over scores becomes one: its expectation, its mode, or TrustJudge's sharpened
    expectation.
    `aggregation`: how two orders become one answer: mean of the probabilities, or TrustJudge's likelihood-aware
    argmax of summed distributions with `tie_band` as its delta. `tie_band`: a mean within this distance of one half is
    a tie. `rationale`: asked with the verdict, later (only for pairs that are exported or disputed), or not at all;
    empty stands for what the protocol does by itself (`RATIONALES_OF`). `examples`: worked examples, frozen: {prompt,
    context, reference, first, second, choice, pair_id}. `rule`, `members`, `weights`: how a jury decides and from
    which versions (ids as strings, in order). `unsure_below`: a cascade asks its second member where the first is less
    sure than this probability, or contradicts itself.
    """

    tie: bool = True
    criteria: tuple[str, ...] = ()
    samples: int = 1
    scale: int = 10
    scoring: str = "expectation"
    aggregation: str = "mean"
    tie_band: float = 0.05
    rationale: str = ""
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
        raise JudgeError(f"Unknown options: {', '.join(sorted(unknown))}. Known: {_listed_names()}.")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return Options(**values)


def example_pairs(version: JudgeVersion) -> frozenset[UUID]:
    """Return the pairs a version is shown as worked examples: it is never asked about them, nor judged by them."""
    return frozenset(UUID(str(one["pair_id"])) for one in version.options.get("examples", ()))


def option_from_text(text: str) -> tuple[str, Any]:
    """Return the name and the typed value of `name=value`, as typed on a command line. Raises `JudgeError`."""
    name, equals, value = (part.strip() for part in text.partition("="))
    defaults = Options()._asdict()
    simple = {key: default for key, default in defaults.items() if isinstance(default, bool | int | float | str)}
    if not equals or name not in simple:
        raise JudgeError(f"{text!r} is no option. Write name=value, with one of {_listed(tuple(sorted(simple)))}.")
    kind = type(simple[name])
    if kind is bool:
        known = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
        if value.casefold() not in known:
            raise JudgeError(f"{name} is {value!r}; it takes yes or no.")
        return name, known[value.casefold()]
    try:
        return name, kind(value)
    except ValueError:
        raise JudgeError(f"{name} is {value!r}; it takes {_KINDS[kind]}.") from None


def check_options(options: Options, *, kind: str, protocol: str) -> Options:
    """Return the options, brought to their types, for a judge of this kind and protocol. Raises `JudgeError`."""
    if not options.rationale and protocol in RATIONALES_OF:
        options = options._replace(rationale=RATIONALES_OF[protocol][0])
    _one_of("scoring", options.scoring, SCORINGS)
    _one_of("aggregation", options.aggregation, AGGREGATIONS)
    _one_of("rationale", options.rationale, RATIONALES_OF.get(protocol, ("", *RATIONALES)), taker=protocol)
    _one_of("rule", options.rule, RULES_OF_A_JURY)
    _one_of("scale", options.scale, SCALES)
    if not isinstance(options.tie, bool):
        raise JudgeError(f"tie is {options.tie!r}; it takes true or false.")
    if not _is_int(options.samples) or not 1 <= options.samples <= LARGEST_SAMPLES:
        raise JudgeError(f"samples is {options.samples!r}; it takes a whole number from 1 to {LARGEST_SAMPLES}.")
    for name, low, high in (("tie_band", 0.0, 0.5), ("unsure_below", 0.5, 1.0)):
        value = getattr(options, name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise JudgeError(f"{name} is {value!r}; it takes a number from {low:g} to {high:g}.")
    _check_criteria(options.criteria)
    _check_examples(options)
    _check_protocol(options, protocol)
    if options.members and kind not in {JudgeKind.JURY, JudgeKind.CASCADE}:
        raise JudgeError(f"Only a jury or a cascade has members, not a judge of kind {kind}.")
    # 10.0 and 10 are one content, not two.
    return options._replace(
        scale=int(options.scale), tie_band=float(options.tie_band), unsure_below=float(options.unsure_below)
    )


def _check_protocol(options: Options, protocol: str) -> None:
    """Refuse what a protocol would ignore: two versions that differ in name only would be asked alike."""
    rates = protocol == Protocol.RATING
    if protocol in SCORED_ALONE and options.aggregation == "likelihood":
        raise JudgeError("The aggregation 'likelihood' sums two orders; a rating judge sees each response alone.")
    if protocol in SCORED_ALONE and options.examples:
        raise JudgeError("Worked examples are pairs; a rating judge sees each response alone.")
    defaults = Options()
    for name in ("scale", "scoring"):
        if protocol in Protocol.values and not rates and getattr(options, name) != getattr(defaults, name):
            raise JudgeError(f"{name} belongs to the protocol rating; {protocol} gives no scores.")
    if protocol == Protocol.REWARD and options.criteria:
        raise JudgeError("A reward model gives one score a response: it answers by no criteria.")
    if protocol == Protocol.DECISIONS and options.samples > 1:
        raise JudgeError("A decision model answers with its probabilities; samples add nothing. Leave samples at 1.")


def _check_criteria(names: tuple[str, ...]) -> None:
    if not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
        raise JudgeError("criteria takes names of the project's criteria, each once.")
    if len(names) > LARGEST_CRITERIA:
        raise JudgeError(f"A judge answers by at most {LARGEST_CRITERIA} criteria, not {len(names)}.")


def _check_examples(options: Options) -> None:
    if len(options.examples) > LARGEST_EXAMPLES:
        raise JudgeError(f"A judge is shown at most {LARGEST_EXAMPLES} examples, not {len(options.examples)}.")
    choices = {"first", "second", "tie"} if options.tie else {"first", "second"}
    for one in options.examples:
        if not {"prompt", "first", "second", "choice", "pair_id"} <= set(one) or one["choice"] not in choices:
            raise JudgeError(
                f"An example holds prompt, first, second, choice ({_listed(tuple(sorted(choices)))}) and pair_id."
            )


def _one_of(name: str, value: object, known: tuple[Any, ...], *, taker: str = "it") -> None:
    if value not in known or isinstance(value, bool):
        words = _listed(tuple(repr(one) if one == "" else one for one in known))
        raise JudgeError(f"{name} is {value!r}; {taker} takes {words}.")


def _listed(values: tuple[Any, ...]) -> str:
    if len(values) == 1:
        return str(values[0])
    return ", ".join(str(value) for value in values[:-1]) + f" or {values[-1]}"


def _listed_names() -> str:
    return ", ".join(sorted(Options._fields))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_KINDS = {int: "a whole number", float: "a number", str: "a word"}
