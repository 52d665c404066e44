"""Shapes of trainers that are not TRL's: one answer a side, in plain JSON lines.

Pairs with a response of several messages, or with tools, have no place in them and are counted.
"""

from exports.leaving_out import LeftOut
from exports.profiles.columns import (
    ANSWER,
    MESSAGES,
    ONE_ANSWER,
    TEXT,
    TEXTS,
    TRUTH,
    Column,
    Kind,
    Row,
    one_object,
)
from exports.profiles.contract import Context, Profile
from exports.profiles.pairing import IDENTITY, Won, each_winner
from exports.records import Message

NO_TOOLS = Kind("strings", TEXTS.arrow, {"type": "array", "maxItems": 0})
OPENAI_COLUMNS = (
    Column(
        "input",
        one_object(messages=MESSAGES, tools=NO_TOOLS, parallel_tool_calls=TRUTH),
        "the prompt",
    ),
    Column("preferred_output", ONE_ANSWER, "the better response"),
    Column("non_preferred_output", ONE_ANSWER, "the other response"),
)
LLAMA_FACTORY_COLUMNS = (
    Column("messages", MESSAGES, "the prompt: user and assistant in turn, ending in the user; a system turn first"),
    Column("chosen", ANSWER, "the better response"),
    Column("rejected", ANSWER, "the other response"),
    IDENTITY[0],
)
SWIFT_COLUMNS = (
    Column("messages", MESSAGES, "the prompt and the better response"),
    Column("rejected_response", TEXT, "the other response"),
)


def _answers(won: Won) -> tuple[Message, Message] | None:
    """Return the one answer of each side, or None where a side has more, or tools are in play."""
    sides = (won.chosen.messages, won.rejected.messages)
    if won.record.tools or any(message["role"] == "tool" for message in won.record.prompt):
        return None
    if any(len(side) != 1 or side[0]["role"] != "assistant" for side in sides):
        return None
    return sides[0][0], sides[1][0]


def build_openai(won: Won, _: Context) -> Row | LeftOut:
    """Return a row as OpenAI's preference fine-tuning had it, and Together and Fireworks still take it."""
    answers = _answers(won)
    if answers is None or won.record.prompt[-1]["role"] != "user":
        return LeftOut.SHAPE
    return {
        "input": {"messages": won.record.prompt, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [answers[0]],
        "non_preferred_output": [answers[1]],
    }


def build_llama_factory(won: Won, _: Context) -> Row | LeftOut:
    """Return a row as LLaMA-Factory's `sharegpt` ranking reads it: an odd number of turns, ending in the user."""
    answers = _answers(won)
    turns = [message["role"] for message in won.record.prompt]
    turns = turns[1:] if turns[0] == "system" else turns
    alternating = [("user", "assistant")[place % 2] for place in range(len(turns))]
    if answers is None or len(turns) % 2 == 0 or turns != alternating:
        return LeftOut.SHAPE
    return {
        "messages": won.record.prompt,
        "chosen": answers[0],
        "rejected": answers[1],
        "id": won.row_id,
    }


def build_swift(won: Won, _: Context) -> Row | LeftOut:
    """Return a row as ms-swift's RLHF reads it."""
    answers = _answers(won)
    if answers is None:
        return LeftOut.SHAPE
    return {"messages": [*won.record.prompt, answers[0]], "rejected_response": answers[1]["content"]}


OPENAI = Profile(
    "openai-style",
    1,
    "hosted preference tuning that takes OpenAI's JSON lines",
    OPENAI_COLUMNS,
    each_winner(build_openai),
    True,
)
LLAMA_FACTORY = Profile(
    "llama-factory",
    1,
    "LLaMA-Factory (stage dpo or rm), with dataset_info.json",
    LLAMA_FACTORY_COLUMNS,
    each_winner(build_llama_factory),
    True,
)
SWIFT = Profile("ms-swift", 1, "ms-swift's swift rlhf", SWIFT_COLUMNS, each_winner(build_swift), True)
