"""The gate that free text passes before any file is written: personal data and secrets block, are redacted, or stand.

What people and judges wrote as reasons is redacted unless the export says otherwise: whoever wrote a telephone number
there did not think of a dataset, the label does not need it, and an export refused for one number would be taken as a
reason to let all of them pass. Prompts and responses stand unless asked: they are what was judged, and were somebody's
data before. Both are searched and counted whatever the mode.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from annotation.models.pairs import joined_text
from exports.errors import ExportError
from exports.recognising import find_personal, redacted
from exports.records import Message, Record, Side, with_content_ids
from exports.settings import SnapshotSettings

Kept = Literal["rationales", "prompts", "responses"]
EXAMPLES = 20
# No text has it, and no pattern reaches over it.
BETWEEN = "\n\0\n"


class Hit(NamedTuple):
    """Where something was found: the pair's external id, the field, the kind."""

    pair: str
    field: str
    kind: str


class Gate:
    """Screens the records of one export. Every text is looked at once; what was found is counted."""

    def __init__(self, settings: SnapshotSettings) -> None:
        self._modes: dict[Kept, str] = {
            "rationales": settings.pii_rationales,
            "prompts": settings.pii_prompts,
            "responses": settings.pii_responses,
        }
        self._found: dict[Kept, Counter[str]] = {part: Counter() for part in self._modes}
        self._texts: Counter[Kept] = Counter()
        self._blocked: list[Hit] = []
        self._blocked_more = 0

    def screened(self, record: Record) -> Record:
        """Return a record as it may be written: the same one where nothing changed.

        Where the prompt or a response changed, its hashes are of the new text: the old ones could be guessed back.
        """
        if not find_personal(BETWEEN.join(_texts(record))):
            return record

        def clean(part: Kept, field: str) -> Callable[[str], str]:
            return lambda text: self._screened(text, part, field, record.external_id)

        prompt, meta = clean("prompts", "prompt"), clean("prompts", "meta")
        changed = record.with_texts(
            prompt=[_message(message, prompt) for message in record.prompt],
            context=clean("prompts", "context")(record.context),
            a=_side(record.a, clean("responses", "response_a")),
            b=_side(record.b, clean("responses", "response_b")),
            meta=each_text(record.meta, meta),
            votes=tuple(
                vote._replace(
                    rationale=clean("rationales", "rationale")(vote.rationale),
                    reasons=tuple((side, clean("rationales", "reasons")(reason)) for side, reason in vote.reasons),
                    content_flags=tuple(map(clean("rationales", "content_flags"), vote.content_flags)),
                )
                for vote in record.votes
            ),
            judgements=tuple(
                one._replace(rationale=clean("rationales", "rationale of a judge")(one.rationale))
                for one in record.judgements
            ),
            calls=tuple(
                one._replace(rationale=clean("rationales", "rationale of a call")(one.rationale))
                for one in record.calls
            ),
        )
        if changed == record:
            return record
        same_content = (changed.prompt, changed.a, changed.b) == (record.prompt, record.a, record.b)
        return changed if same_content else with_content_ids(changed)

    def refuse_blocked(self) -> None:
        """Raise `ExportError` where something was found that blocks: how many, and where, never what."""
        if not self._blocked:
            return
        n = len(self._blocked) + self._blocked_more
        kinds = Counter(hit.kind for hit in self._blocked)
        where = "; ".join(f"{hit.pair}: {hit.kind} in {hit.field}" for hit in self._blocked[:EXAMPLES])
        more = f"; and {n - EXAMPLES:,} more" if n > EXAMPLES else ""
        raise ExportError(
            f"{n:,} places look like personal data or secrets ({_tally(kinds)}), and this export blocks them: "
            f"{where}{more}. Take them out of the file, or export with redact (or allow) for "
            f"{', '.join(part for part, mode in self._modes.items() if mode == 'block')}."
        )

    def replaced(self, value: Any, part: Kept) -> Any:
        """Return a JSON value with its texts as the mode of `part` has them; nothing is counted."""
        if self._modes[part] != "redact":
            return value
        return each_text(value, lambda text: redacted(text, find_personal(text)))

    def as_dict(self) -> dict[str, Any]:
        """Return what was found, by part: the mode, the number of each kind, and of texts that had any."""
        return {
            part: {"mode": mode, "found": dict(sorted(self._found[part].items())), "texts": self._texts[part]}
            for part, mode in self._modes.items()
        }

    def _screened(self, text: str, part: Kept, field: str, pair: str) -> str:
        found = find_personal(text) if text else []
        if not found:
            return text
        self._found[part].update(str(one.kind) for one in found)
        self._texts[part] += 1
        mode = self._modes[part]
        if mode == "block":
            hits = [Hit(pair, field, str(one.kind)) for one in found]
            room = max(0, MOST_HITS - len(self._blocked))
            self._blocked += hits[:room]
            self._blocked_more += len(hits) - len(hits[:room])
        return redacted(text, found) if mode == "redact" else text


# Enough to name where the first are; beyond that a count will do.
MOST_HITS = 10_000


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it changed; names of an object's parts stand."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [each_text(part, change) for part in value]
    if isinstance(value, dict):
        return {name: each_text(part, change) for name, part in value.items()}
    return value


def _texts(record: Record) -> Iterator[str]:
    """Yield every text of a record that is screened."""
    yield from (
        message["content"] for messages in (record.prompt, record.a.messages, record.b.messages) for message in messages
    )
    yield record.context
    for vote in record.votes:
        yield vote.rationale
        yield from (reason for _, reason in vote.reasons)
        yield from vote.content_flags
    yield from (one.rationale for one in record.judgements)
    yield from (one.rationale for one in record.calls)
    yield from _texts_in(record.meta)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(part)


def _message(message: Message, change: Callable[[str], str]) -> Message:
    return {**message, "content": change(message["content"])}


def _side(side: Side, change: Callable[[str], str]) -> Side:
    messages = [_message(message, change) for message in side.messages]
    if messages == side.messages:
        return side
    return side._replace(messages=messages, text=joined_text(messages))


def _tally(counts: Counter[str]) -> str:
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items()))
