"""Conversations written as one text or in full, and the prompt they share."""

import re
from collections.abc import Sequence

from annotation.records import Message, RowProblem

_TURN = re.compile(r"\n\n(Human|Assistant):")
MARK = "\n\nHuman:"


def is_transcript(text: str) -> bool:
    """Say whether a text is a transcript in the way of HH-RLHF."""
    return text.startswith(MARK)


def parse_transcript(text: str, field: str) -> list[Message]:
    """Return the turns of a transcript in HH-RLHF's way; one space after a mark is not content."""
    if not is_transcript(text):
        raise RowProblem(field, "does not begin with '\\n\\nHuman:'; without a prompt only such transcripts are read")
    parts = _TURN.split(text)
    turns = [
        {"role": "user" if who == "Human" else "assistant", "content": content.removeprefix(" ")}
        for who, content in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if turns[-1]["role"] != "assistant":
        raise RowProblem(field, "does not end with a turn of the Assistant")
    return turns


def part_transcripts(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the turns both share and what each ends with. They must part where the assistant speaks."""
    shared = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        shared += 1
    if shared == len(chosen) == len(rejected):
        raise RowProblem("rejected", "is the same as chosen")
    if shared in (len(chosen), len(rejected)):
        shorter = "chosen" if shared == len(chosen) else "rejected"
        raise RowProblem(shorter, "ends where the other conversation goes on, so it has no response of its own")
    if not shared:
        raise RowProblem("chosen", "and rejected share no prompt")
    for field, turns in (("chosen", chosen), ("rejected", rejected)):
        if any(turn["role"] not in ("assistant", "tool") for turn in turns[shared:]):
            raise RowProblem(field, f"parts from the other conversation before its last answer (turn {shared + 1})")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def without_prompt(response: list[Message], prompt: Sequence[Message], field: str) -> list[Message]:
    """Return a response given as the whole conversation without the prompt it repeats."""
    if response[0]["role"] in ("assistant", "tool"):
        return response
    length = len(prompt)
    if response[:length] != list(prompt):
        raise RowProblem(field, "begins with messages that are not the prompt")
    return response[length:]
