"""Checks of values from outside, so that SQLite and PostgreSQL give the same verdict, before either is asked."""

import math
from typing import Any

from annotation.reading.json_files import kind_of
from annotation.records import Message, RowProblem

DEPTH_LIMIT = 32
INTEGER_LIMIT = 2**63
MESSAGE_LIMIT = 1000

# What public formats call the roles.
ROLES = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "human": "user",
    "gpt": "assistant",
    "observation": "tool",
}


def check_text(text: str, field: str) -> str:
    """Return a text that both databases can store. Raises `RowProblem` for NUL and lone surrogates."""
    if "\x00" in text:
        raise RowProblem(field, f"holds the character NUL (position {text.index(chr(0)) + 1}), which cannot be stored")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            unit = ord(text[error.start])
            raise RowProblem(
                field, f"holds half of a surrogate pair (U+{unit:04X}, position {error.start + 1}): it is no character"
            ) from None
    return text


def check_value(value: Any, field: str, depth: int = 0) -> None:
    """Raise `RowProblem`, naming the field by its path, for a JSON value that one database would refuse or change."""
    if isinstance(value, str):
        check_text(value, field)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if not -INTEGER_LIMIT <= value < INTEGER_LIMIT:
            raise RowProblem(field, "holds a number beyond 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise RowProblem(field, "holds a number that is not finite")
    elif isinstance(value, list | dict):
        _check_inside(value, field, depth)
    else:
        raise RowProblem(field, f"is {kind_of(value)}, which cannot be stored")


def _check_inside(value: list[Any] | dict[Any, Any], field: str, depth: int) -> None:
    if depth >= DEPTH_LIMIT:
        raise RowProblem(field, f"is nested more than {DEPTH_LIMIT} levels deep")
    if isinstance(value, list):
        for index, item in enumerate(value):
            check_value(item, f"{field}[{index}]", depth + 1)
        return
    for key, item in value.items():
        if not isinstance(key, str):
            raise RowProblem(field, f"has a key that is {kind_of(key)}, not a text")
        # The name of a field is printed in messages, so the key itself is not used where it is the trouble.
        check_text(key, f"{field} (a key)" if field else "(a key)")
        check_value(item, f"{field}.{key}" if field else key, depth + 1)


def short_text(value: Any, field: str, limit: int) -> str:
    """Return a name of at most `limit` characters; a whole number counts as one, null as ''."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RowProblem(field, f"is {kind_of(value)}, not a text")
    if len(value) > limit:
        raise RowProblem(field, f"is {len(value):,} characters long; the limit is {limit}")
    return value


def long_text(value: Any, field: str) -> str:
    """Return a text of any length; null counts as ''."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowProblem(field, f"is {kind_of(value)}, not a text")
    return value


def number_or_none(value: Any, field: str) -> float | None:
    """Return a number, or None for null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowProblem(field, f"is {kind_of(value)}, not a number")
    return float(value)


def _content(value: Any, field: str) -> str:
    # One text part is the same as the text; more parts, or images, are not ours to join.
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].get("type") == "text":
        value = value[0].get("text")
    if not isinstance(value, str):
        raise RowProblem(field, f"is {kind_of(value)}, not a text")
    return value


def message_of(value: Any, field: str, remarks: list[str]) -> Message:
    """Return `{role, content}` of a message as OpenAI (`role`, `content`) or ShareGPT (`from`, `value`) writes it."""
    if not isinstance(value, dict):
        raise RowProblem(field, f"is {kind_of(value)}, not a message with role and content")
    role_key, content_key = ("from", "value") if "from" in value and "role" not in value else ("role", "content")
    for key in (role_key, content_key):
        if key not in value:
            raise RowProblem(f"{field}.{key}", "is missing")
    given = value[role_key]
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise RowProblem(f"{field}.{role_key}", f"{str(given)[:60]!a} is no known role ({', '.join(ROLES)})")
    for key, item in value.items():
        if key not in (role_key, content_key) and item is not None:
            remarks.append(f"the field {key[:60]!a} of messages is not kept")
    return {"role": role, "content": _content(value[content_key], f"{field}.{content_key}")}


def messages_of(value: Any, field: str, remarks: list[str]) -> list[Message]:
    """Return a list of messages. Raises `RowProblem` naming the message."""
    if not isinstance(value, list):
        raise RowProblem(field, f"is {kind_of(value)}, not a list of messages")
    if not value:
        raise RowProblem(field, "is a list without a message")
    if len(value) > MESSAGE_LIMIT:
        raise RowProblem(field, f"has {len(value):,} messages; the limit is {MESSAGE_LIMIT:,}")
    return [message_of(item, f"{field}[{index}]", remarks) for index, item in enumerate(value)]


def prompt_of(value: Any, field: str, remarks: list[str]) -> list[Message]:
    """Return a prompt, given as a text or as messages. It must say something."""
    if value is None:
        raise RowProblem(field, "is missing")
    if isinstance(value, str):
        found = [{"role": "user", "content": value}]
    elif isinstance(value, list):
        found = messages_of(value, field, remarks)
    else:
        raise RowProblem(field, f"is {kind_of(value)}, not a text or a list of messages")
    if not any(item["role"] != "system" and item["content"].strip() for item in found):
        raise RowProblem(field, "is empty")
    return found


def response_of(value: Any, field: str, remarks: list[str]) -> list[Message]:
    """Return a response, given as a text, a message or messages. An empty text is one: the model said nothing."""
    if value is None:
        raise RowProblem(field, "is missing (an empty text would be a response that says nothing)")
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    if not isinstance(value, list | dict):
        raise RowProblem(field, f"is {kind_of(value)}, not a text or a list of messages")
    found = messages_of(value, field, remarks) if isinstance(value, list) else [message_of(value, field, remarks)]
    if found[0]["role"] != "assistant":
        raise RowProblem(field, f"begins with a message of the role {found[0]['role']!r}, not 'assistant'")
    if any(item["role"] in ("user", "system") for item in found):
        raise RowProblem(field, "holds a message that is not the model's")
    return found
