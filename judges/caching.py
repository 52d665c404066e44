"""Answers kept across runs, versions and projects: the same request is never paid twice.

A request's key is a hash of what changes its answer: server, model, messages, sampling, the shape of the answer and how
many samples. Not of the version, its price, the run, or which form of request the server happened to take. Only replies
that could be read are kept, so that a question that failed can be asked again.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from annotation.models.pairs import content_hash
from judges.clients import Reply
from judges.models import CachedReply, JudgeKind, JudgeVersion
from judges.options import read_options
from judges.prompting import answer_schema, decision_input, decision_questions, messages_for, wants_logprobs
from judges.questions import Answer, Protocol, Question
from judges.reading import answer_of


def request_key(version: JudgeVersion, question: Question, *, fresh_in: uuid.UUID | None = None) -> str:
    """Return the hash of everything that changes the answer to a question, and of nothing else: 64 hex digits.

    `fresh_in` is the run that wants answers of its own: nothing that was answered before, or elsewhere, has its keys.
    """
    # The models beside this process have no address that lasts, and of those run by it the files are what counts.
    kind = version.judge.kind
    asked: dict[str, object] = {
        "server": kind if kind in {JudgeKind.LOCAL, JudgeKind.GPU} else version.base_url,
        "model": version.files_hash if kind == JudgeKind.GPU else version.model,
        "sampling": version.sampling,
        "samples": read_options(version.options).samples,
    }
    if version.protocol == Protocol.DECISIONS:
        asked |= {"input": decision_input(version, question), "questions": decision_questions(version, question)}
    elif version.protocol == Protocol.REWARD:
        asked["messages"] = messages_for(question, version)
    else:
        asked |= {
            "messages": messages_for(question, version),
            "schema": answer_schema(version, question),
            "logprobs": wants_logprobs(version, question),
        }
    if fresh_in is not None:
        asked["fresh_in"] = str(fresh_in)
    return content_hash(asked)


def find_keys(keys: set[str]) -> dict[str, list[Reply]]:
    """Return the replies kept under these keys; those that expired are not there. One query."""
    if not keys:
        return {}
    rows = CachedReply.objects.filter(key__in=keys)
    oldest = expiry(timezone.now())
    if oldest is not None:
        rows = rows.filter(created_at__gte=oldest)
    return {key: [Reply.from_json(one) for one in reply] for key, reply in rows.values_list("key", "reply")}


def from_cache(version: JudgeVersion, question: Question, replies: Sequence[Reply]) -> Answer | None:
    """Return the answer that kept replies give; None where they cannot be read any more, so that it is asked again.

    It costs nothing and has no tokens and no seconds: those count what this run's calls used, and it made none.
    """
    answer = answer_of(version, question, replies)
    if answer.error:
        return None
    return answer._replace(
        from_cache=True,
        cost_usd=Decimal(0),
        prompt_tokens=None,
        completion_tokens=None,
        cached_tokens=None,
        seconds=None,
        maybe_billed=False,
        replies=(),
    )


def keep(answers: Sequence[Answer]) -> None:
    """Keep the replies of answers that may be used again; the newest of one request stays. One statement.

    Caller holds a transaction, and every other lock it will take: the rows are written in the order of their keys, so
    that two workers with the same questions cannot wait for each other.
    """
    usable = {
        answer.request_key: answer
        for answer in answers
        if answer.request_key and answer.replies and not answer.error and not answer.from_cache
    }
    CachedReply.objects.bulk_create(
        [CachedReply(key=key, reply=[dict(one) for one in usable[key].replies]) for key in sorted(usable)],
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=["reply", "created_at"],
    )


def expiry(now: datetime) -> datetime | None:
    """Return the time before which kept replies are not used (TIEBREAK_JUDGE_CACHE_DAYS); None where they last."""
    days = settings.JUDGE_CACHE_DAYS
    return None if days is None else now - timedelta(days=days)


def forget(*, before: datetime | None) -> int:
    """Delete the replies kept before a time, in one statement; return how many. Nothing for None."""
    if before is None:
        return 0
    return CachedReply.objects.filter(created_at__lt=before).delete()[0]
