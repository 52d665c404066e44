"""What a judge's replies to one question come to. Pure: no database, no network.

The order of trust: the probabilities a decision server states; else the log-probabilities of the verdict's tokens; else
how often each answer came in several samples; else the one choice, with the confidence the judge states for it. `meta`
says which (`prob_from`). An answer that cannot be read is an error text, never a guess.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from annotation.criteria import OVERALL
from judges.averaging import CHOICE_PROB_A, OUTCOMES, prob_a_of, score_of
from judges.clients import Reply
from judges.models import JudgeVersion, Order
from judges.options import Options, read_options
from judges.parsing import ParsedAnswer, Path, brief, parse_answer, read_label, read_score, storable
from judges.paying import cost_of, cost_of_time
from judges.prompting import DECISION_LABELS, Labels, layout_of, max_tokens_for, shown_choice, wants_logprobs
from judges.questions import Answer, Protocol, Question
from judges.tagging import FIRST_FIELD, read_tags
from judges.weighing import Weighed, weigh_label, weigh_score

# What each label counts before any sample came (Krichevsky and Trofimov's prior): five equal samples are not certainty.
PRIOR = 0.5


class Voice(NamedTuple):
    """What one reply says on one field, in the stored order.

    `said` is a, b, tie or a score. `weights` is its measured distribution with the mass it held, where there is one;
    `prob_a` what follows from a stated confidence.
    """

    said: str
    weights: Mapping[str, float] = {}
    mass: float | None = None
    source: str = "choice"
    prob_a: float | None = None


class Reading(NamedTuple):
    """One reply, read: its voice on the whole and by criterion, or why there is none."""

    voices: Mapping[str, Voice]
    rationale: str = ""
    error: str = ""
    unanswered: str = ""
    asks_again: bool = False
    meta: Mapping[str, Any] = {}


class Summary(NamedTuple):
    """What the voices of all samples on one field come to."""

    said: str
    distribution: Mapping[str, float]
    mass: float | None
    source: str
    prob_a: float | None


def answer_of(version: JudgeVersion, question: Question, replies: Sequence[Reply]) -> Answer:
    """Return the answer that the samples of one question give together.

    Replies that cannot be read are left out where others can (`meta["unreadable"]` counts them). An answer without any
    says why in `error` and `meta["unanswered"]` (refusal or unreadable), and is worth asking again once (`retry`)
    unless the judge would say the same: it refused, or its temperature is 0. Raises `ValueError` without a reply.
    """
    if not replies:
        raise ValueError("An answer needs at least one reply.")
    answer = _spent(version, question, replies)
    if version.protocol == Protocol.REWARD:
        return _rewarded(answer, replies[0])
    read = _SECOND_PASSES.get(question.order) or (_read_decisions if _decides(version) else _read_text)
    readings = [read(version, question, reply) for reply in replies]
    good = [one for one in readings if not one.error]
    if not good:
        first = readings[0]
        again = first.asks_again and question.attempt == 1 and not _greedy(version)
        return answer._replace(error=first.error, retry=again, meta={"unanswered": first.unanswered})
    meta = {**good[0].meta}
    if len(good) < len(readings):
        meta["unreadable"] = len(readings) - len(good)
    if question.order == Order.WHY:
        return answer._replace(choice=question.choice, rationale=good[0].rationale, meta=meta)
    if question.order == Order.TAGS:
        return answer._replace(meta=meta)
    options = read_options(version.options)
    whole = _summary(version, options, [one.voices[OVERALL] for one in good])
    speaker = next((one for one in good if one.voices[OVERALL].said == whole.said), good[0])
    answer = answer._replace(
        distribution=_rounded(whole.distribution),
        label_mass=None if whole.mass is None else round(whole.mass, 6),
        criteria=_criteria(version, options, good),
        samples=len(good),
        rationale=speaker.rationale,
        meta={"prob_from": whole.source, **meta},
    )
    if version.protocol == Protocol.RATING:
        return answer._replace(score=_score(options, whole))
    return answer._replace(choice=whole.said, prob_a=whole.prob_a)


def _rewarded(answer: Answer, reply: Reply) -> Answer:
    """Return the answer that a reward model's score is: a number of its own scale, which no distribution goes with."""
    try:
        score = float(reply.text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        reason = f"The model's score is no number: {brief(reply.text)}"
        return answer._replace(error=reason, meta={"unanswered": "unreadable"})
    return answer._replace(score=score, meta={"prob_from": "scores"})


# --- One reply --------------------------------------------------------------------------------------------------------


def _read_text(version: JudgeVersion, question: Question, reply: Reply) -> Reading:
    """Read a reply that holds one JSON object."""
    options, layout = read_options(version.options), layout_of(version, question)
    labels = layout.labels
    main = "choice" if labels else "score"
    offered = labels.offered(options) if labels else tuple(str(one) for one in range(1, options.scale + 1))
    bare = () if layout.fields[0] == "rationale" else offered
    parsed = parse_answer(reply.text, main=main, bare=bare, places=bool(reply.logprobs))
    failure = _unread(version, question, reply, parsed)
    if failure:
        return failure
    whole = _voice(version, options, question, reply, parsed, (main,))
    if whole is None:
        known = ", ".join(offered) if labels else f"1 to {options.scale}"
        what = f"The judge's {main} is none of those asked for ({known}): {brief(parsed.fields[main])}"
        return _unreadable(what)
    voices, missing = {OVERALL: whole}, []
    answered = parsed.fields.get("criteria")
    for name in options.criteria:
        path = ("criteria", name)
        voice = None
        if isinstance(answered, dict) and name in answered:
            voice = _voice(version, options, question, reply, parsed, path)
        if voice is None:
            missing.append(name)
        else:
            voices[name] = voice
    rationale = parsed.fields.get("rationale")
    meta: dict[str, Any] = {"criteria_unread": missing} if missing else {}
    if whole.source == "confidence":
        meta["confidence"] = parsed.fields["confidence"]
    return Reading(voices, storable(rationale) if isinstance(rationale, str) else "", meta=meta)


def _read_decisions(version: JudgeVersion, question: Question, reply: Reply) -> Reading:
    """Read a reply that holds a probability per option for each question, in the order asked."""
    options = read_options(version.options)
    labels = DECISION_LABELS
    names = (OVERALL, *options.criteria)
    voices: dict[str, Voice] = {}
    for name, one in zip(names, _in_our_order(names, reply.decisions), strict=False):
        stated = one.get("probabilities")
        held = dict.fromkeys(labels.offered(options), 0.0)
        for option in stated if isinstance(stated, list) else []:
            probability = option.get("probability") if isinstance(option, Mapping) else None
            label = read_label(option.get("value"), list(held)) if isinstance(option, Mapping) else ""
            if label and isinstance(probability, int | float) and 0.0 <= probability <= 1.0:
                held[label] = float(probability)
        mass = sum(held.values())
        if mass <= 0.0:
            continue
        weights = {_stored(label, labels, question): share / mass for label, share in held.items()}
        said = _likeliest(weights, read_label(one.get("choice"), list(held)), labels, question)
        voices[name] = Voice(said, weights, min(1.0, mass), "decisions")
    if OVERALL not in voices:
        if reply.decisions and reply.decisions[0].get("type") == "refusal":
            return Reading({}, error="The judge refused to decide.", unanswered="refusal")
        return _unreadable("The judge's answer gives no probability for any option.")
    missing = [name for name in options.criteria if name not in voices]
    return Reading(voices, meta={"criteria_unread": missing} if missing else {})


def _in_our_order(names: Sequence[str], decisions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the answers in the order of the questions: by the names they carry, else as they came."""
    named = {name: one for one in decisions if isinstance(name := one.get("name"), str)}
    if not named.keys() & set(names):
        return list(decisions)
    # What carries the name of another question is no answer to this one.
    unnamed = [{} if isinstance(one.get("name"), str) else one for one in decisions]
    unnamed += [{}] * (len(names) - len(unnamed))
    return [named.get(name, one) for name, one in zip(names, unnamed, strict=False)]


def _read_reason(version: JudgeVersion, question: Question, reply: Reply) -> Reading:
    """Read the reasons for a choice that stands. One that argues for another choice is kept, and marked."""
    parsed = parse_answer(reply.text, main="rationale", places=False)
    failure = _unread(version, question, reply, parsed)
    if failure:
        return failure
    rationale = parsed.fields["rationale"]
    if not isinstance(rationale, str) or not rationale.strip():
        return _unreadable("The judge's answer holds no rationale.")
    argued = read_label(parsed.fields.get("choice"), ("first", "second", "tie"))
    disagrees = bool(argued) and argued != shown_choice(question)
    meta = {"disagrees": True, "argued_for": {"first": "a", "second": "b"}.get(argued, argued)} if disagrees else {}
    return Reading({}, storable(rationale), meta=meta)


def _read_tags(version: JudgeVersion, question: Question, reply: Reply) -> Reading:
    """Read a reply that holds the tags of a prompt: they go into the verdict's `meta["tags"]`."""
    parsed = parse_answer(reply.text, main=FIRST_FIELD, places=False)
    failure = _unread(version, question, reply, parsed)
    if failure:
        return failure
    tags, error = read_tags(parsed.fields)
    return _unreadable(error) if error else Reading({}, meta={"tags": tags})


# Questions that ask for no choice, whatever the version's protocol.
_SECOND_PASSES = {Order.WHY.value: _read_reason, Order.TAGS.value: _read_tags}


def _unread(version: JudgeVersion, question: Question, reply: Reply, parsed: ParsedAnswer) -> Reading | None:
    if reply.refusal:
        return Reading({}, error=storable(f"The judge refused: {reply.refusal[:300]}"), unanswered="refusal")
    if parsed.error and reply.finish_reason == "content_filter":
        return Reading({}, error="The judge refused: its server's filter stopped the answer.", unanswered="refusal")
    if parsed.error and reply.finish_reason == "length":
        limit = max_tokens_for(version, question)
        words = f"The judge's answer was cut off at max_tokens={limit}. Allow it more."
        return Reading({}, error=words, unanswered="unreadable")
    return _unreadable(parsed.error) if parsed.error else None


def _unreadable(reason: str) -> Reading:
    """Return the reading of a reply that came whole and makes no sense: another may."""
    return Reading({}, error=reason, unanswered="unreadable", asks_again=True)


def _voice(
    version: JudgeVersion, options: Options, question: Question, reply: Reply, parsed: ParsedAnswer, path: Path
) -> Voice | None:
    """Return what a reply says in one field, or None where that is no label or score."""
    value: Any = parsed.fields
    for name in path:
        value = value[name]
    tokens = reply.logprobs if wants_logprobs(version, question) else []
    greedy = _greedy(version)
    labels = layout_of(version, question).labels
    if labels is None:
        score = read_score(value, options.scale)
        if score is None:
            return None
        weighed = weigh_score(tokens, reply.text, parsed, path, scale=options.scale, said=score, greedy=greedy)
        return Voice(str(score), weighed.distribution, weighed.mass, "logprobs") if weighed else Voice(str(score))
    offered = labels.offered(options)
    label = read_label(value, offered)
    if not label:
        return None
    weighed = weigh_label(tokens, reply.text, parsed, path, labels=offered, said=label, greedy=greedy)
    if weighed:
        return _weighed_voice(weighed, label, labels, question)
    said = _stored(label, labels, question)
    confidence = parsed.fields.get("confidence") if path == ("choice",) else None
    stated = isinstance(confidence, int | float) and not isinstance(confidence, bool) and 0 <= confidence <= 100
    if said != "tie" and stated and confidence is not None:
        # 0 says "could as well have chosen otherwise", which is a probability of one half; 100 says certain.
        return Voice(said, source="confidence", prob_a=0.5 + (CHOICE_PROB_A[said] - 0.5) * confidence / 100.0)
    return Voice(said)


def _weighed_voice(weighed: Weighed, label: str, labels: Labels, question: Question) -> Voice:
    weights = {_stored(one, labels, question): share for one, share in weighed.distribution.items()}
    return Voice(_likeliest(weights, label, labels, question), weights, weighed.mass, "logprobs")


def _likeliest(weights: Mapping[str, float], label: str, labels: Labels, question: Question) -> str:
    """Return the likeliest choice; of several, the one that was written: what a sample says is a draw."""
    said = _stored(label, labels, question) if label else ""
    highest = max(weights.values())
    return said if weights.get(said, -1.0) >= highest else max(weights, key=lambda one: weights[one])


def _stored(label: str, labels: Labels, question: Question) -> str:
    """Return a label as a choice in the stored order."""
    if label == labels.tie:
        return "tie"
    return "a" if (label == labels.first) == (question.order != Order.BA) else "b"


# --- All replies ------------------------------------------------------------------------------------------------------


def _summary(version: JudgeVersion, options: Options, voices: Sequence[Voice]) -> Summary:
    """Return what the samples say together: the mean of what was measured, else how often each answer came."""
    rates = version.protocol == Protocol.RATING
    measured = [one for one in voices if one.weights]
    if measured:
        names = {name for one in measured for name in one.weights}
        distribution = {name: sum(one.weights.get(name, 0.0) for one in measured) / len(measured) for name in names}
        masses = [one.mass for one in measured if one.mass is not None]
        mass = sum(masses) / len(masses) if masses else None
        return _decided(distribution, mass, measured[0].source, voices[0].said, rates=rates)
    if len(voices) == 1:
        voice = voices[0]
        prob_a = None if rates else prob_a_of(voice.said, voice.prob_a)
        return Summary(voice.said, {}, None, voice.source, prob_a)
    counts = dict.fromkeys(() if rates else OUTCOMES if options.tie else ("a", "b"), PRIOR)
    for voice in voices:
        counts[voice.said] = counts.get(voice.said, 0.0) + 1.0
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items()}
    return _decided(shares, None, "samples", voices[0].said, rates=rates)


def _decided(distribution: Mapping[str, float], mass: float | None, source: str, said: str, *, rates: bool) -> Summary:
    if rates:
        ordered = {score: distribution[score] for score in sorted(distribution, key=int)}
        return Summary(said, ordered, mass, source, None)
    full = {choice: distribution.get(choice, 0.0) for choice in OUTCOMES}
    highest = max(full.values())
    choice = said if full[said] >= highest else max(full, key=lambda one: full[one])
    return Summary(choice, full, mass, source, min(1.0, full["a"] + full["tie"] / 2.0))


def _criteria(version: JudgeVersion, options: Options, readings: Sequence[Reading]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in options.criteria:
        voices = [one.voices[name] for one in readings if name in one.voices]
        if not voices:
            continue
        one = _summary(version, options, voices)
        distribution = _rounded(one.distribution)
        if version.protocol == Protocol.RATING:
            found[name] = {"score": _score(options, one), "distribution": distribution}
        else:
            found[name] = {"choice": one.said, "prob_a": one.prob_a, "distribution": distribution}
    return found


def _score(options: Options, one: Summary) -> float:
    return score_of(one.distribution or {one.said: 1.0}, options.scoring)


def _spent(version: JudgeVersion, question: Question, replies: Sequence[Reply]) -> Answer:
    """Return an answer that holds what the replies used: sums, None where any of them gave none."""
    by_time = version.price_gpu_usd_per_hour is not None
    costs = [cost_of_time(version, one.seconds) if by_time else cost_of(version, one) for one in replies]
    return Answer(
        question.verdict_id,
        raw=storable("\n\n".join(_raw(reply) for reply in replies)),
        answered_by=storable(replies[0].model),
        prompt_tokens=_sum([reply.prompt_tokens for reply in replies]),
        completion_tokens=_sum([reply.completion_tokens for reply in replies]),
        cached_tokens=_sum([reply.cached_tokens for reply in replies]),
        cost_usd=sum((one for one in costs if one is not None), Decimal(0)) if None not in costs else None,
        # They are under way together.
        seconds=max(reply.seconds for reply in replies),
        maybe_billed=True,
    )


def _raw(reply: Reply) -> str:
    if reply.decisions and not reply.text:
        return "\n".join(brief_decision(one) for one in reply.decisions)
    return reply.text


def brief_decision(one: Mapping[str, Any]) -> str:
    """Return one decision as a line of text: its name and each option's probability."""
    stated = one.get("probabilities")
    options = [option for option in stated if isinstance(option, Mapping)] if isinstance(stated, list) else []
    shares = ", ".join(f"{option.get('value')}: {option.get('probability')}" for option in options)
    return f"{one.get('name') or 'question'} — {shares or one.get('type')}"


def _rounded(distribution: Mapping[str, float]) -> dict[str, float]:
    """Return a distribution as it is stored: what a float's last digits say is noise."""
    return {name: round(share, 9) for name, share in distribution.items()}


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _greedy(version: JudgeVersion) -> bool:
    return bool(version.sampling.get("temperature") == 0)


def _decides(version: JudgeVersion) -> bool:
    return version.protocol == Protocol.DECISIONS
