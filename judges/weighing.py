"""What a judge's tokens weigh: a distribution over labels or scores, read from log-probabilities.

Servers differ in what their log-probabilities mean (before or after the sampler, with or without the grammar's mask),
so only the tokens of valid answers are kept and renormalised, and the mass they held is reported beside. A list of
tokens that does not hold the text, or that says otherwise than the text, belongs to something else and is not used.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from judges.parsing import ParsedAnswer, Path

Tokens = Sequence[Mapping[str, Any]]
# What tokenizers glue to a label, and the marks some servers leave for a space or a new line.
_GLUE = " \t\r\n\"'{}[]():,*`▁ĠĊ"
_MARKS = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})
_ENDS_A_NUMBER = re.compile(r"""\Z|[\s,}\]"'<|`]""")
# Where more than this share of the mass could belong to several scores, the tokens do not say which.
LARGEST_OPEN_SHARE = 0.1


class Weighed(NamedTuple):
    """A distribution over labels or scores that sums to 1, and the probability they held before."""

    distribution: Mapping[str, float]
    mass: float


def weigh_label(
    tokens: Tokens, text: str, parsed: ParsedAnswer, path: Path, *, labels: Sequence[str], said: str, greedy: bool
) -> Weighed | None:
    """Return the labels' distribution at the token that holds the field's letter, or None where it cannot be told.

    `said` is the label that was written. With `greedy` (temperature 0) the likeliest label must be it.
    """
    at = _token_at(tokens, text, parsed, path)
    if at is None:
        # Some servers' tokens do not spell their text; with one label in it and in the whole list there is no doubt.
        fields = [place for place in parsed.places.values() if bare(text[slice(*place)]) in labels]
        holding = [index for index, one in enumerate(tokens) if bare(one.get("token")) in labels]
        at = holding[0] if len(holding) == 1 and len(fields) == 1 else None
    if at is None or bare(tokens[at].get("token")) != said:
        return None
    alternatives = _alternatives(tokens[at])
    if len(alternatives) < 2:
        # The token's own probability alone says nothing about the others.
        return None
    held = dict.fromkeys(labels, 0.0)
    for token, probability in alternatives.items():
        if bare(token) in held:
            held[bare(token)] += probability
    total = sum(held.values())
    if total <= 0.0 or (greedy and held[said] < max(held.values())):
        return None
    return Weighed({label: one / total for label, one in held.items()}, min(1.0, total))


def weigh_score(
    tokens: Tokens, text: str, parsed: ParsedAnswer, path: Path, *, scale: int, said: int, greedy: bool
) -> Weighed | None:
    """Return the distribution over the scores 1 to `scale` at a number's tokens, or None where it cannot be told.

    Tokenizers write 10 and 100 as one token or digit by digit, so a digit may be a score or begin a longer one. Where a
    token of several digits is among the alternatives, tokens are whole numbers and a digit is a score. Otherwise the
    number that was written is followed through its tokens, and each of them shows how likely it was to end or go on
    there. What began otherwise and could still have become several scores (a 1 beside the 7 that was written) is left
    out; None where that is more than a tenth of the mass. With `greedy`, a number of one token must be the likeliest.
    """
    first = _token_at(tokens, text, parsed, path)
    if first is None or len(_alternatives(tokens[first])) < 2:
        return None
    whole = any(len(_digits(token, leading=True).found) > 1 for token in _alternatives(tokens[first]))
    known: dict[int, float] = {}
    open_mass, prefix, reached, at = 0.0, "", 1.0, first
    while at < len(tokens):
        own = _plain(tokens[at].get("token"))
        step: tuple[str, float] | None = None
        for token, probability in _alternatives(tokens[at]).items():
            digits, ends = _digits(token, leading=not prefix)
            number = prefix + digits
            if not (digits or (ends and prefix)) or not _is_score(number, scale):
                continue
            complete = ends or whole or int(number) * 10 > scale
            if token == own and not ends and (number != str(said) or not complete):
                # The number that was written: the next token shows whether it ends here.
                step = number, probability
            elif complete:
                known[int(number)] = known.get(int(number), 0.0) + reached * probability
            else:
                open_mass += reached * probability
        if step is None:
            break
        prefix, reached, at = step[0], reached * step[1], at + 1
    total = sum(known.values())
    if not known.get(said) or open_mass > LARGEST_OPEN_SHARE * (total + open_mass):
        return None
    if greedy and at == first and known[said] < max(known.values()):
        return None
    return Weighed({str(score): one / total for score, one in sorted(known.items())}, min(1.0, total))


def bare(token: object) -> str:
    """Return a token without the quotes, brackets and spaces a tokenizer glues to it."""
    return token.strip(_GLUE) if isinstance(token, str) else ""


def _token_at(tokens: Tokens, text: str, parsed: ParsedAnswer, path: Path) -> int | None:
    """Return the index of the token in which the field's value begins, its quote aside; None where tokens differ."""
    if path not in parsed.places:
        return None
    begin, end = parsed.places[path]
    begin += text[begin:end].startswith('"')
    spelled = "".join(_plain(one.get("token")) for one in tokens)
    # From the object's first brace to the value: what a model thought before it, or wrote after it, may be missing.
    object_at = spelled.rfind(text[parsed.start : end])
    if object_at < 0:
        return None
    wanted, position = object_at + begin - parsed.start, 0
    for index, one in enumerate(tokens):
        position += len(_plain(one.get("token")))
        if position > wanted:
            return index
    return None


def _alternatives(token: Mapping[str, Any]) -> dict[str, float]:
    """Return the probability of each token that could have stood here, the one that does included."""
    listed = token.get("top_logprobs")
    found: dict[str, float] = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping) and (probability := _probability(one.get("logprob"))) is not None:
            spelled = _plain(one.get("token"))
            found[spelled] = max(probability, found.get(spelled, 0.0))
    own, probability = _plain(token.get("token")), _probability(token.get("logprob"))
    if own not in found and probability is not None:
        # A sample may be none of the likeliest.
        found[own] = probability
    return found


def _probability(logprob: object) -> float | None:
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or not logprob <= 1e-6:
        return None
    return min(1.0, math.exp(logprob))


class _Digits(NamedTuple):
    found: str
    ends: bool


def _digits(token: str, *, leading: bool) -> _Digits:
    """Return the digits that a token adds to a number, and whether the number ends in it. A fraction adds nothing."""
    rest = token.lstrip(_GLUE) if leading else token
    digits = re.match("[0-9]*", rest)
    found = digits[0] if digits else ""
    after = rest[len(found) :]
    if after and not _ENDS_A_NUMBER.match(after):
        return _Digits("", False)
    return _Digits(found, bool(after) or (not found and not leading))


def _is_score(number: str, scale: int) -> bool:
    return number[0] != "0" and len(number) <= 3 and int(number) <= scale


def _plain(token: object) -> str:
    if not isinstance(token, str):
        return ""
    return token if token.isascii() else token.translate(_MARKS)
