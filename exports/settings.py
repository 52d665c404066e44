"""What an export may be asked for; an unknown setting or value is refused with what there is."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from exports.errors import ExportError

FORMATS = ("jsonl", "parquet", "both")
TIE_RULES = ("drop", "both", "judges")
BOTH_BAD_RULES = ("drop", "tie")
GOLD_RULES = ("exclude", "mark")
# Of the model that wrote a response: whether others may train on it.
TERMS = ("free", "restricted", "unknown")
TERMS_RULES = ("any", "unrestricted", "free")
UNKNOWN_LICENCE = "unknown"
PII_MODES = ("block", "redact", "allow")
MARGINS = ("auto", "strength", "scores", "prob", "none")
# What Snapshot and numpy take as a seed without surprises.
LARGEST_SEED = 2**31 - 1
SHARES = ("test_share", "min_agreement", "min_p_correct")
TRUTHS = ("gzip", "include_simulated", "with_project")
CHOSEN = {
    "format": FORMATS,
    "tie_rule": TIE_RULES,
    "both_bad_rule": BOTH_BAD_RULES,
    "gold_rule": GOLD_RULES,
    "margin": MARGINS,
    "terms_allowed": TERMS_RULES,
    "pii_rationales": PII_MODES,
    "pii_prompts": PII_MODES,
    "pii_responses": PII_MODES,
}


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """The settings of a snapshot.

    `tie_rule` "both" writes a tie twice, once each way, with `prob` 0.5: under the DPO loss the two rows together are a
    soft label of one half; "judges" takes the side that most judges take. `both_bad_rule` "tie" treats "both bad" as a
    tie. `min_agreement` and `min_votes` apply to rows that people labelled, `min_p_correct` to those whose `p_correct`
    is known. `criterion_weights` make the label again from the answers and scores by criterion. `good_from` is the
    mean score from which a response of a tie is desirable in the unpaired profile. `gzip` is for JSON lines.
    `with_project` adds all pairs and answers, to make the project again from (`exports.carrying`).

    `licences_allowed` leaves out pairs of other licences, and those of none that is known unless "unknown" is one of
    them. `generator_terms` says of models whether others may train on what they wrote, "free" or "restricted";
    `terms_allowed` "unrestricted" leaves out what is known to be restricted, "free" all that is not known to be free.
    `pii_...` is what personal data and secrets do in texts: "block" the export, be "redact"ed, or stand ("allow").
    `least_in_group` is how many people must share what rows tell of them; 1 tells everything.
    """

    format: str = "both"
    gzip: bool = False
    seed: int = 0
    test_share: float = 0.1
    tie_rule: str = "drop"
    both_bad_rule: str = "drop"
    gold_rule: str = "exclude"
    min_agreement: float = 0.0
    min_votes: int = 0
    min_p_correct: float = 0.0
    margin: str = "auto"
    criterion_weights: dict[str, float] = field(default_factory=dict)
    good_from: float | None = None
    license: str = ""
    licences_allowed: list[str] = field(default_factory=list)
    generator_terms: dict[str, str] = field(default_factory=dict)
    terms_allowed: str = "any"
    pii_rationales: str = "redact"
    pii_prompts: str = "allow"
    pii_responses: str = "allow"
    least_in_group: int = 5
    include_simulated: bool = True
    with_project: bool = False

    def __post_init__(self) -> None:
        for name, known in CHOSEN.items():
            if getattr(self, name) not in known:
                raise ExportError(f"Unknown {name} {getattr(self, name)!r}. Known: {', '.join(known)}.")
        if not _is_whole(self.seed) or not 0 <= self.seed <= LARGEST_SEED:
            raise ExportError(f"The seed is {self.seed!r}; it takes a whole number from 0 to {LARGEST_SEED}.")
        if not _is_whole(self.min_votes) or self.min_votes < 0:
            raise ExportError(f"min_votes is {self.min_votes!r}; it takes a whole number from 0.")
        if not _is_whole(self.least_in_group) or self.least_in_group < 1:
            raise ExportError(f"least_in_group is {self.least_in_group!r}; it takes a whole number from 1.")
        for name in SHARES:
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise ExportError(f"{name} is {value!r}; it takes a number from 0 to 1.")
        for name in TRUTHS:
            if not isinstance(getattr(self, name), bool):
                raise ExportError(f"{name} is {getattr(self, name)!r}; it takes true or false.")
        if self.good_from is not None and not _is_number(self.good_from):
            raise ExportError(f"good_from is {self.good_from!r}; it takes a score, or nothing.")
        if not isinstance(self.license, str):
            raise ExportError(f"The license is {self.license!r}; it takes a name such as cc-by-4.0.")
        _check_licences(self.licences_allowed)
        _check_terms(self.generator_terms)
        if self.with_project and (self.licences_allowed or self.terms_allowed != "any"):
            raise ExportError(
                "An export with its project carries every pair: it cannot leave some out by their licence."
            )
        _check_weights(self.criterion_weights)
        if self.criterion_weights and self.margin == "strength":
            raise ExportError("A label made from criterion_weights has no strength: choose another margin.")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return settings from a mapping such as `Snapshot.settings`. Raises `ExportError` for an unknown name."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ExportError(f"Unknown export settings: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as they are stored and written into the files."""
        return asdict(self)

    def allows_licence(self, licence: str) -> bool:
        """Say whether pairs of a licence are exported; `licence` is empty where it is not known."""
        return not self.licences_allowed or plain_licence(licence or UNKNOWN_LICENCE) in map(
            plain_licence, self.licences_allowed
        )

    def terms_of(self, model: str) -> str:
        """Return what is known of a model's terms: "free", "restricted" or "unknown"."""
        return self.generator_terms.get(model, "unknown")


def plain_licence(name: str) -> str:
    """Return a licence's name as it is compared: without its case and the spaces around it."""
    return name.strip().casefold()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_licences(allowed: object) -> None:
    if not isinstance(allowed, list) or not all(isinstance(one, str) and one.strip() for one in allowed):
        raise ExportError(f"licences_allowed is {allowed!r}; it takes a list of names such as cc-by-4.0, or unknown.")


def _check_terms(terms: object) -> None:
    if not isinstance(terms, Mapping):
        raise ExportError(f"generator_terms is {terms!r}; it takes free or restricted for each model.")
    for model, said in terms.items():
        if not isinstance(model, str) or said not in TERMS[:2]:
            raise ExportError(f"The terms of the model {model!r} are {said!r}; they are free or restricted.")


def _check_weights(weights: object) -> None:
    if not isinstance(weights, Mapping):
        raise ExportError(f"criterion_weights is {weights!r}; it takes a weight for each criterion.")
    for name, weight in weights.items():
        if not isinstance(name, str) or not _is_number(weight):
            raise ExportError(f"The weight of the criterion {name!r} is {weight!r}; it takes a number.")
    if weights and not any(weights.values()):
        raise ExportError("All criterion_weights are 0: nothing would be preferred. Give one criterion a weight.")
