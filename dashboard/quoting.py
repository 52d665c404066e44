"""What a judge was sent and what it said, word for word: verdicts as a person reads them."""

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import QuerySet

from annotation.models import Pair, Preference, Project
from judges.capabilities import Capabilities, capabilities_of
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import COMBINED, RULES, JudgeKind, JudgeVersion, Order, Verdict
from judges.preparing import conversation_of
from judges.questions import Question, shown

# What is shown in words or is the prompt itself, not a setting of the request.
SHOWN_APART = {"messages", "input", "questions"}


class Sent(NamedTuple):
    """One request in its parts: the messages, what else was sent as JSON, and why nothing is sent, if so."""

    messages: list[dict[str, str]]
    settings: str = ""
    nothing: str = ""


class Quote(NamedTuple):
    """A verdict with the request that asked it."""

    verdict: Verdict
    sent: Sent


class PairOfQuotes(NamedTuple):
    """All that one version was asked about one pair."""

    pair: Pair
    quotes: list[Quote]


class Preview(NamedTuple):
    """What a judge that is not there yet would be sent about one pair, or why it could not be made."""

    sent: Sent
    error: str = ""


def with_texts(verdicts: QuerySet[Verdict]) -> QuerySet[Verdict]:
    """Return verdicts with all that a question is made of; one query."""
    return verdicts.select_related(
        "version__judge__project", "run", "pair__prompt", "pair__response_a", "pair__response_b"
    )


def by_pair(verdicts: Iterable[Verdict]) -> list[PairOfQuotes]:
    """Return verdicts with their requests, those of one pair together, in the order the pairs come.

    One query a version that asks a server.
    """
    found: dict[uuid.UUID, PairOfQuotes] = {}
    known: dict[uuid.UUID, Capabilities] = {}
    for verdict in verdicts:
        place = found.setdefault(verdict.pair_id, PairOfQuotes(verdict.pair, []))
        place.quotes.append(Quote(verdict, sent_for(verdict, known)))
    return list(found.values())


def sent_for(verdict: Verdict, known: dict[uuid.UUID, Capabilities] | None = None) -> Sent:
    """Return the request that asks a verdict, as it would be sent now; nothing is sent by this.

    The texts are exact. The settings are those this process has learned the server takes, or was told by the probe;
    `known` keeps them by version for the next verdict.
    """
    version = verdict.version
    if nothing := says_nothing(version):
        return Sent([], nothing=nothing)
    if version.judge.kind == JudgeKind.GPU:
        return _computed(version, _question(verdict))
    try:
        learned = (known or {}).get(version.pk) or capabilities_of(version, version.base_url)
        body = learned.request(version, _question(verdict))
    except JudgeError as error:
        return Sent([], nothing=str(error))
    if known is not None:
        known[version.pk] = learned
    return _parts(body)


def preview(project: Project, definition: dict[str, Any]) -> Preview:
    """Return what a judge of this definition would be sent about the project's first pair.

    The judge is made as it would be and taken back at once, so that the prompt is the exact one. Nothing is asked.
    """
    pair = Pair.objects.in_project(project).with_texts().first()
    if pair is None:
        return Preview(Sent([]), "The project has no pair yet; import a file to see the prompt with its texts.")
    try:
        with transaction.atomic():
            version = add_judge(project, **definition)
            order = Order.AB if version.asks_both_orders else Order.ONLY_A
            sent = sent_for(Verdict(version=version, pair=pair, order=order))
            transaction.set_rollback(True)
    except JudgeError as error:
        return Preview(Sent([]), str(error))
    return Preview(sent)


def _question(verdict: Verdict) -> Question:
    """Return a verdict's question, whatever its state: what it was asked, or will be."""
    pair = verdict.pair
    first, second = shown(verdict.order, pair.response_a.text, pair.response_b.text)
    choice = verdict.choice
    if verdict.order == Order.WHY and not choice:
        # Not answered yet: it is asked about what the version prefers.
        answers = Preference.objects.counted().filter(pair=pair, rater=verdict.version.rater_id, criterion=None)
        choice = answers.values_list("choice", flat=True).first() or ""
    return Question(
        verdict_id=verdict.pk,
        prompt=pair.prompt.messages,
        first=first,
        second=second,
        order=verdict.order,
        pair_id=pair.pk,
        context=pair.prompt.context,
        reference="" if verdict.order == Order.TAGS else pair.prompt.reference,
        group=pair.prompt.group,
        choice=choice if verdict.order == Order.WHY else "",
    )


def says_nothing(version: JudgeVersion) -> str:
    """Return why a version sends no request of its own; '' for one that asks a model."""
    kind = JudgeKind(version.judge.kind)
    if kind in RULES:
        return "A rule: it reads the two responses and asks nobody."
    if kind in COMBINED:
        return "It asks nobody itself: it answers from what its members said."
    if kind == JudgeKind.RECORDED:
        return "Imported: what was asked is not known here."
    return ""


def _computed(version: JudgeVersion, question: Question) -> Sent:
    """Return what a model that our own workers run is given, and what of its answer is read."""
    conversation = conversation_of(version, question)
    messages = [dict(message) for message in conversation.messages]
    if conversation.response:
        return _parts(
            {"messages": [*messages, {"role": "assistant", "content": conversation.response}], "read": "score"}
        )
    read: dict[str, Any] = {"probabilities_of": list(conversation.labels)} if conversation.labels else {}
    if conversation.max_tokens:
        read["max_tokens"] = conversation.max_tokens
    return _parts({"messages": messages, **read})


def _parts(body: dict[str, Any]) -> Sent:
    settings = {name: value for name, value in body.items() if name not in SHOWN_APART}
    messages: Sequence[dict[str, Any]] = body.get("messages") or []
    shown = [{"role": str(one["role"]), "content": _as_text(one["content"])} for one in messages]
    if "input" in body:
        shown.append({"role": "input", "content": _as_text(body["input"])})
    if "questions" in body:
        shown.append({"role": "questions", "content": _as_text(body["questions"])})
    return Sent(shown, json.dumps(settings, indent=2, ensure_ascii=False))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
