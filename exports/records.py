"""The canonical record: everything an export may say about a pair, as plain values free of database ids.

Every profile is a function of these records, so two databases that hold the same data give the same files.
"""

import json
from typing import Any, NamedTuple

from annotation.models.pairs import canonical, content_hash, hash_canonical

Message = dict[str, str]
# Between a judge's name and its protocol.
PROTOCOL_MARK = " · "


class Vote(NamedTuple):
    """A person's counted answer, under a pseudonym; `reasons` are (side, reason), the side a or b."""

    person: str
    origin: str
    choice: str
    strength: int | None
    rationale: str
    timing: str
    shown_order: str
    basis: str
    seconds: float | None
    confidence: int | None
    reasons: tuple[tuple[str, str], ...]
    content_flags: tuple[str, ...]
    is_expert: bool


class Judgement(NamedTuple):
    """A judge's answer on the whole pair. `rationale` is empty for rules, whose reason says nothing of the pair."""

    judge: str
    protocol: str
    version: int
    kind: str
    prompt_hash: str
    choice: str
    strength: int | None
    prob_a: float | None
    rationale: str
    timing: str
    shown_order: str


class Aspect(NamedTuple):
    """An answer by one criterion; `by` is a person's pseudonym, or a judge's full name with its version."""

    by: str
    is_person: bool
    criterion: str
    choice: str
    strength: int | None


class Scores(NamedTuple):
    """What somebody gave both responses on one criterion; a side without a score is None."""

    by: str
    is_person: bool
    criterion: str
    a: float | None
    b: float | None


class Call(NamedTuple):
    """A verdict: what one call to a judge in one order returned, in the stored order of the sides."""

    judge: str
    protocol: str
    version: int
    kind: str
    prompt_hash: str
    order: str
    choice: str
    prob_a: float | None
    score_a: float | None
    score_b: float | None
    rationale: str
    answered_by: str
    samples: int
    prompt_tokens: int | None
    completion_tokens: int | None


class Side(NamedTuple):
    """One response: its messages (role and content only), its text and the model that wrote it."""

    messages: list[Message]
    text: str
    model: str


class Resolved(NamedTuple):
    """The label of a pair; `choice` is empty where it was left open."""

    source: str
    choice: str
    prob_a: float | None
    p_correct: float | None
    strength: float | None
    n_votes: int
    agreement: float | None
    provenance: dict[str, Any]


class Record(NamedTuple):
    """One pair with all that is known about it. `label` is None where nobody has labelled it.

    `tools` is the JSON the imported record had under `tools`, or empty. `calls` are read only where a profile wants
    them. `is_example` says that a judge's prompt or the practice pairs show this prompt with one of its responses.
    """

    id: str
    content_id: str
    prompt_id: str
    prompt_hash: str
    prompt_group: str
    external_id: str
    source: str
    language: str
    category: str
    context: str
    prompt: list[Message]
    a: Side
    b: Side
    similarity: float
    votes: tuple[Vote, ...]
    judgements: tuple[Judgement, ...]
    aspects: tuple[Aspect, ...]
    scores: tuple[Scores, ...]
    calls: tuple[Call, ...]
    label: Resolved | None
    plan: str
    is_gold: bool
    is_example: bool
    meta: dict[str, Any]

    def with_texts(self, **changes: Any) -> "Record":
        """Return the record with other texts."""
        return self._replace(**changes)

    @property
    def tools(self) -> str:
        """The tools the prompt offers, as a JSON string, where the imported record named some."""
        return tools_of(self.meta)

    @property
    def community(self) -> str:
        """The community its people belong to, where the imported record named one."""
        return _text(self.meta.get("community"))

    @property
    def license(self) -> str:
        """The licence of this pair, where the imported record named one; what is no text stands as JSON, not known."""
        return _named(self.meta.get("license") or self.meta.get("licence"))


class Identity(NamedTuple):
    """The hashes that files know a pair by, as `Record` names them."""

    id: str
    content_id: str
    prompt_id: str
    prompt_hash: str


def identify(
    prompt: list[Message], responses: tuple[list[Message], list[Message]], *, group: str, external_id: str
) -> Identity:
    """Return a pair's hashes, each a `content_hash`; texts are written as JSON once, whatever hash they are part of."""
    asked = canonical(prompt)
    first, second = sorted(content_hash(messages) for messages in responses)
    content = f'"prompt":{asked},"responses":["{first}","{second}"]}}'
    return Identity(
        id=hash_canonical(f'{{"external_id":{canonical(external_id)},{content}'),
        content_id=hash_canonical(f"{{{content}"),
        prompt_id=hash_canonical(f'{{"group":{canonical(group)},"prompt":{asked}}}'),
        prompt_hash=hash_canonical(asked),
    )


def with_content_ids(record: Record) -> Record:
    """Return a record whose hashes are those of its texts, after these were changed."""
    ids = identify(
        record.prompt,
        (record.a.messages, record.b.messages),
        group=record.prompt_group,
        external_id=record.external_id,
    )
    return record._replace(**ids._asdict())


def as_text(messages: list[Message]) -> str:
    """Return a conversation as text: a single turn as it is, several with who speaks."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{message['role']}] {message['content']}" for message in messages)


def tools_of(meta: dict[str, Any]) -> str:
    """Return what a record's `meta.tools` holds as a JSON string, or nothing."""
    tools = meta.get("tools")
    if isinstance(tools, str):
        return tools.strip()
    return json.dumps(tools, sort_keys=True, ensure_ascii=False) if tools else ""


def _named(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if value else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
