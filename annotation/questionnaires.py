"""What the annotation screen asks: a project's template and its settings, read into one checked value.

A project stores only what differs from its template's defaults (`Project.questionnaire`), so that a default that is
mended reaches every project. Whatever is stored is checked on the way in (`annotation.configuring`).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args, get_origin

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotation.errors import QuestionnaireInvalid
from annotation.models.projects import Template

POINTS = (2, 3, 5, 7)
LARGEST = 1e9
RATING_POINTS = range(2, 11)
MOST_CHIPS, LONGEST_CHIP, LONGEST_WORDS = 16, 60, 300

# Every act of the screen that has a key, with the key it has unless the project or the person chose another.
KEYS: dict[str, str] = {
    **{f"step{number}": str(number) for number in range(1, 10)},
    "step10": "0",
    "both_bad": "x",
    "unsure": "c",
    "rationale": "r",
    "cite": "q",
    "undo": "u",
    "recent": "h",
    "skip": "n",
    "break": "b",
    "link": "s",
    "prompt": "p",
    "raw": "w",
    "diff": "d",
    "lengths": "l",
    "guidelines": "g",
    "settings": ",",
    "help": "?",
}
# What else a manager may word differently, with what it is called in messages.
WORDS: dict[str, Promise] = {
    "question": _("the question above the choices"),
    "first3": _("A is much better"),
    "first2": _("A is better"),
    "first1": _("A is a bit better"),
    "tie": _("Equally good"),
    "second1": _("B is a bit better"),
    "second2": _("B is better"),
    "second3": _("B is much better"),
    "both_bad": _("Both bad"),
    "unsure": _("Can't judge"),
    "rationale": _("the prompt inside the box for the reason"),
}


@dataclass(frozen=True, slots=True)
class Questionnaire:
    """A template with its settings. Every field but `template` may be set by a manager."""

    template: str = Template.PAIRWISE.value
    # The scale of a choice: 2 (A or B), 3 (with a tie), 5 or 7 (with degrees).
    points: int = 7
    both_bad: bool = True
    unsure: bool = True
    # Further criteria get a row each: a choice of their own, or a rating of each response.
    by_criterion: bool = False
    # A rating runs from 1 to this.
    rating_points: int = 5
    rank_ties: bool = True
    rationale: bool = True
    reasons: tuple[str, ...] = ()
    reasons_required: bool = False
    spans: bool = False
    confidence: bool = False
    content_flags: tuple[str, ...] = ()
    show_context: bool = True
    show_reference: bool = False
    # markdown, plain or code: how responses are set.
    response_format: str = "markdown"
    # Pictures are loaded only where the project allows it, and then only when a person asks for each.
    images: bool = False
    mask_models: bool = True
    # Hidden repeats with the sides swapped, in percent of a person's answers.
    repeat_percent: float = 3.0
    # Pairs held for a person beyond the one they read, so that the next is there at once, and in a tunnel.
    leases_ahead: int = 2
    # The rater whose answer a person sees after giving their own; nothing: never.
    suggestion: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_slate(self) -> bool:
        """Say whether several responses are ordered at once."""
        return self.template in (Template.RANKING, Template.BEST_WORST)

    @property
    def asks_choice(self) -> bool:
        """Say whether a person chooses between two responses."""
        return self.template in (Template.PAIRWISE, Template.PAIRWISE_RATINGS)

    @property
    def asks_ratings(self) -> bool:
        """Say whether a person rates each response."""
        return self.template in (Template.RATINGS, Template.PAIRWISE_RATINGS)

    @property
    def key_of(self) -> dict[str, str]:
        """Return the key of every act, the project's own before the default."""
        return {**KEYS, **self.keys}

    def values(self) -> dict[str, Any]:
        """Return every setting as JSON, the defaults with the others."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "template"}
        return {name: _as_json(value) for name, value in values.items()}

    def settings(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON: what a project stores."""
        usual = Questionnaire(template=self.template).values()
        return {name: value for name, value in self.values().items() if value != usual[name]}


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def needs_criteria(asked: Questionnaire) -> bool:
    """Say whether a screen of this questionnaire has rows by criterion."""
    return asked.asks_ratings or asked.by_criterion


SETTINGS = tuple(one.name for one in fields(Questionnaire) if one.name != "template")
FORMATS = ("markdown", "plain", "code")
# How people write true and false.
SAID = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_KINDS: dict[str, Any] = {one.name: one.type for one in fields(Questionnaire)}


def read_questionnaire(template: str, settings: Mapping[str, Any]) -> Questionnaire:
    """Return a template with its settings, checked.

    Raises `QuestionnaireInvalid` naming the setting: an unknown one, one of the wrong kind or out of range, a key
    given twice, or one that the template does not ask.
    """
    if template not in Template.values:
        raise QuestionnaireInvalid("template", f"is {template!r}; it is one of: {', '.join(Template.values)}.")
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise QuestionnaireInvalid(unknown[0], f"is not a setting. The settings are: {', '.join(SETTINGS)}.")
    for name, value in settings.items():
        check_storable(name, value)
    values = {name: _of_kind(name, value) for name, value in settings.items()}
    questionnaire = replace(Questionnaire(template=template), **values)
    _check(questionnaire)
    return questionnaire


def parse_setting(name: str, text: str) -> Any:
    """Return a setting's value from how a command writes it; `read_questionnaire` checks the value.

    true or false, a number, a text as it is; a list as JSON, or its texts with a ';' between; an object as JSON.
    Raises `QuestionnaireInvalid` naming the setting.
    """
    kind = _KINDS.get(name)
    if kind is None or name == "template":
        raise QuestionnaireInvalid(name, f"is not a setting. The settings are: {', '.join(SETTINGS)}.")
    if kind is str:
        return text
    if get_origin(kind) is tuple and not text.lstrip().startswith("["):
        return [part for one in text.split(";") if (part := one.strip())]
    try:
        return json.loads(SAID.get(text.lower(), text))
    except (ValueError, RecursionError):
        raise QuestionnaireInvalid(name, f"is {text[:40]!r}; it takes {_kind_in_words(kind)}.") from None


def _of_kind(name: str, value: Any) -> Any:
    kind = _KINDS[name]
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    if kind is str and isinstance(value, str):
        return value.strip()
    if get_origin(kind) is tuple and isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return tuple(stripped for one in value if (stripped := one.strip()))
    if get_origin(kind) is Mapping and _holds_texts(value):
        return {key: text.strip() for key, text in value.items() if text.strip()}
    raise QuestionnaireInvalid(name, f"is {value!r}; it takes {_kind_in_words(kind)}.")


def check_storable(name: str, value: Any) -> None:
    """Raise `QuestionnaireInvalid` for a text that a database cannot store, in lists and objects too."""
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise QuestionnaireInvalid(name, "hold a character that cannot be stored (NUL, or half of one). Remove it.")
    elif isinstance(value, Mapping):
        check_storable(name, [*value, *value.values()])
    elif isinstance(value, list | tuple):
        for one in value:
            check_storable(name, one)


def _holds_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(part, str) for item in value.items() for part in item)


def _kind_in_words(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "a list of texts"
    if get_origin(kind) is Mapping:
        named, text = get_args(kind)
        return f"an object of {named.__name__} to {text.__name__}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]


def _check(asked: Questionnaire) -> None:
    _check_among("points", asked.points, POINTS)
    _check_among("rating_points", asked.rating_points, RATING_POINTS)
    _check_among("response_format", asked.response_format, FORMATS)
    if not 0 <= asked.repeat_percent <= 50:
        raise QuestionnaireInvalid("repeat_percent", f"is {asked.repeat_percent:g}; it is 0 to 50.")
    _check_among("leases_ahead", asked.leases_ahead, range(6))
    for name in ("reasons", "content_flags"):
        _check_chips(name, getattr(asked, name))
    if asked.reasons_required and not asked.reasons:
        raise QuestionnaireInvalid("reasons_required", "is on, but there are no reasons to choose from. List some.")
    if asked.spans and not asked.rationale:
        raise QuestionnaireInvalid("spans", "are cited in the reason, which is switched off. Switch one of them.")
    if asked.is_slate and asked.by_criterion:
        raise QuestionnaireInvalid("by_criterion", f"goes with choices and ratings, not with {asked.template}.")
    if asked.is_slate and asked.suggestion:
        raise QuestionnaireInvalid("suggestion", f"goes with a choice between two, not with {asked.template}.")
    _check_words(asked.words)
    check_keys(asked.keys)


def _check_among(name: str, value: Any, allowed: Collection[Any]) -> None:
    if value not in allowed:
        raise QuestionnaireInvalid(name, f"is {value!r}; it is one of: {', '.join(map(str, allowed))}.")


def _check_chips(name: str, chips: tuple[str, ...]) -> None:
    if len(chips) > MOST_CHIPS:
        raise QuestionnaireInvalid(name, f"are {len(chips)}; at most {MOST_CHIPS} fit on the screen.")
    if len({chip.casefold() for chip in chips}) < len(chips):
        raise QuestionnaireInvalid(name, "hold one text twice.")
    if long := [chip for chip in chips if len(chip) > LONGEST_CHIP]:
        raise QuestionnaireInvalid(name, f"hold {long[0][:40]!r}…, of {len(long[0])} characters; {LONGEST_CHIP} fit.")


def _check_words(words: Mapping[str, str]) -> None:
    if unknown := sorted(set(words) - set(WORDS)):
        raise QuestionnaireInvalid("words", f"name {unknown[0]!r}; what can be worded is: {', '.join(WORDS)}.")
    if long := [name for name, text in words.items() if len(text) > LONGEST_WORDS]:
        raise QuestionnaireInvalid("words", f"for {long[0]!r} have more than {LONGEST_WORDS} characters.")


def check_keys(keys: Mapping[str, str]) -> None:
    """Raise `QuestionnaireInvalid` for keys of unknown acts, keys that are none, and a key that two acts would have."""
    if unknown := sorted(set(keys) - set(KEYS)):
        raise QuestionnaireInvalid("keys", f"name the act {unknown[0]!r}; the acts are: {', '.join(KEYS)}.")
    if odd := [key for key in keys.values() if len(key) != 1 or not key.isprintable() or key.isspace()]:
        raise QuestionnaireInvalid("keys", f"hold {odd[0]!r}; a key is one character, and not a space.")
    taken: dict[str, str] = {}
    for act, key in {**KEYS, **keys}.items():
        if (other := taken.setdefault(key.casefold(), act)) != act:
            raise QuestionnaireInvalid("keys", f"give {key!r} to both {other!r} and {act!r}.")
