"""Older shapes of paired data, for recipes that ask for them. New training takes `dpo`.

`dpo-legacy-ultrafeedback` has a text as prompt beside lists of messages, which TRL guesses wrongly about: drop its
column `prompt` there. `dpo-legacy-lists` leaves the prompt implicit in full conversations (Skywork, TRL's implicit
form). `dpo-legacy-hh` is plain text with `Human:` and `Assistant:` turns (Anthropic's HH-RLHF).
"""

from exports.leaving_out import LeftOut
from exports.profiles.columns import MESSAGES, NUMBER, TEXT, Column, Row
from exports.profiles.contract import Context, Profile
from exports.profiles.pairing import BRIEF, MARGIN, Won, about, core, each_winner
from exports.records import Message

FULL = (
    Column("chosen", MESSAGES, "prompt and better response"),
    Column("rejected", MESSAGES, "prompt and other response"),
)
SCORES = (
    Column("score_chosen", NUMBER, "mean score of the better response"),
    Column("score_rejected", NUMBER, "mean score of the other"),
)
ULTRAFEEDBACK_COLUMNS = (
    Column("prompt", TEXT, "the last message of the user; drop this column for TRL"),
    *FULL,
    Column("messages", MESSAGES, "the same as `chosen`"),
    *SCORES,
    *BRIEF,
)
LISTS_COLUMNS = (*FULL, MARGIN, *SCORES, *BRIEF)
HH_COLUMNS = (
    Column("chosen", TEXT, "the conversation as text, ending in the better response"),
    Column("rejected", TEXT, "the same with the other response"),
    *BRIEF,
)
HH_SPEAKERS = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}


def build_lists(won: Won, context: Context) -> Row:
    """Return a row of two full conversations."""
    told = about(won, context)
    row = {
        "chosen": won.record.prompt + won.chosen.messages,
        "rejected": won.record.prompt + won.rejected.messages,
        **{column.name: told[column.name] for column in (*SCORES, *BRIEF)},
    }
    if context.margin:
        row["margin"] = core(won, context)["margin"]
    return row


def build_ultrafeedback(won: Won, context: Context) -> Row:
    """Return a row in the shape of UltraFeedback-binarized."""
    row = build_lists(won, context)
    row.pop("margin", None)
    asked = [message["content"] for message in won.record.prompt if message["role"] == "user"]
    return {**row, "prompt": asked[-1] if asked else "", "messages": row["chosen"]}


def build_hh(won: Won, context: Context) -> Row | LeftOut:
    """Return a row of two texts; turns that HH-RLHF has no name for, or that fake one, make none."""
    chosen, rejected = (_as_text(won.record.prompt + side.messages) for side in (won.chosen, won.rejected))
    if chosen is None or rejected is None:
        return LeftOut.SHAPE
    told = about(won, context)
    return {"chosen": chosen, "rejected": rejected, **{column.name: told[column.name] for column in BRIEF}}


def _as_text(messages: list[Message]) -> str | None:
    if any(message["role"] not in HH_SPEAKERS for message in messages):
        return None
    if any(mark in message["content"] for mark in HH_SPEAKERS.values() for message in messages):
        return None
    return "".join(HH_SPEAKERS[message["role"]] + message["content"] for message in messages)


ULTRAFEEDBACK = Profile(
    "dpo-legacy-ultrafeedback",
    1,
    "recipes for UltraFeedback-binarized (H4)",
    ULTRAFEEDBACK_COLUMNS,
    each_winner(build_ultrafeedback),
)
LISTS = Profile(
    "dpo-legacy-lists",
    1,
    "reward models and trainers that take two full conversations",
    LISTS_COLUMNS,
    each_winner(build_lists),
)
HH = Profile("dpo-legacy-hh", 1, "code for Anthropic's HH-RLHF", HH_COLUMNS, each_winner(build_hh))
