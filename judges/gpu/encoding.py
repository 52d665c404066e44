"""Conversations become tokens: whole, through the model's chat template, and never in halves.

What a response says stays text: a control token of the model (`<|im_end|>`) written in a message is tokenised as the
characters it is, so that no response can end its own turn.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from judges.gpu.asking import Conversation, ModelFacts

Tokens = tuple[int, ...]
# Models that think before they answer have a switch in their template; templates without one ignore it.
SWITCHES: Mapping[str, Any] = {"enable_thinking": False, "thinking": False}


class Encoded(NamedTuple):
    """A conversation as `tokens`, or the `error` for which it has none."""

    tokens: Tokens = ()
    error: str = ""


def encode(tokenizer: Any, facts: ModelFacts, conversations: Sequence[Conversation]) -> list[Encoded]:
    """Return the tokens of each; one that cannot be tokenised, or is too long, has an error and spoils no other."""
    control = _control_tokens(tokenizer)
    found: list[Encoded | None] = [None] * len(conversations)
    plain: dict[bool, list[tuple[int, list[dict[str, str]]]]] = {}
    for place, one in enumerate(conversations):
        try:
            messages = _messages(one, facts)
            if any(control.search(message["content"]) for message in messages):
                tokens = _tokens(tokenizer, facts, messages, sanitize_control_tokens=True)
                found[place] = Encoded(tuple(tokens))
            else:
                plain.setdefault(messages[-1]["role"] == "assistant", []).append((place, messages))
        except Exception as error:  # noqa: BLE001  (whatever a template or a tokenizer raises is this conversation's)
            found[place] = _failed(error)
    for places in plain.values():
        for place, encoded in zip((place for place, _ in places), _many(tokenizer, facts, places), strict=True):
            found[place] = encoded
    return [_within(facts, encoded or Encoded(), one) for encoded, one in zip(found, conversations, strict=True)]


def template_text(tokenizer: Any, facts: ModelFacts, messages: Sequence[Mapping[str, str]]) -> str:
    """Return what the template makes of messages. For texts of our own only: control tokens in them would count."""
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, **_ending(messages, facts), **SWITCHES)
    return text


def _many(tokenizer: Any, facts: ModelFacts, places: Sequence[tuple[int, list[dict[str, str]]]]) -> list[Encoded]:
    try:
        return [Encoded(tuple(tokens)) for tokens in _tokens(tokenizer, facts, [messages for _, messages in places])]
    except Exception as error:  # noqa: BLE001
        if len(places) == 1:
            return [_failed(error)]
    return [_many(tokenizer, facts, [one])[0] for one in places]


def _tokens(tokenizer: Any, facts: ModelFacts, messages: Any, **options: Any) -> Any:
    """Return the tokens of a conversation, or of several that end alike."""
    last = messages[0] if isinstance(messages[0], list) else messages
    return tokenizer.apply_chat_template(messages, return_dict=False, **_ending(last, facts), **options, **SWITCHES)


def _ending(messages: Sequence[Mapping[str, str]], facts: ModelFacts) -> dict[str, bool]:
    """Return how a conversation ends: open for the answer, inside the answer, or after it where a head scores it."""
    if facts.needs == "reward":
        return {}
    begun = messages[-1]["role"] == "assistant"
    return {"continue_final_message": True} if begun else {"add_generation_prompt": True}


def _messages(conversation: Conversation, facts: ModelFacts) -> list[dict[str, str]]:
    messages = [{"role": one["role"], "content": one["content"]} for one in conversation.messages]
    if facts.needs == "reward":
        messages.append({"role": "assistant", "content": conversation.response})
    if not facts.takes_system and messages[0]["role"] == "system":
        system = messages.pop(0)
        messages[0] = {**messages[0], "content": f"{system['content']}\n\n{messages[0]['content']}"}
    return messages


def _control_tokens(tokenizer: Any) -> re.Pattern[str]:
    texts = sorted({token.content for token in tokenizer.added_tokens_decoder.values() if token.content.strip()})
    # A pattern that matches nowhere, where there are none.
    return re.compile("|".join(map(re.escape, texts)) or r"(?!)")


def _within(facts: ModelFacts, encoded: Encoded, conversation: Conversation) -> Encoded:
    wanted = len(encoded.tokens) + conversation.max_tokens
    if encoded.error:
        return encoded
    if not encoded.tokens:
        return Encoded(error="the chat template makes nothing of it")
    if facts.context_tokens and wanted > facts.context_tokens:
        return Encoded(error=too_long(facts, len(encoded.tokens), conversation.max_tokens))
    if max(encoded.tokens) >= facts.vocabulary:
        # On CUDA an index beyond the embedding breaks the device for the whole process.
        return Encoded(error=f"the tokenizer knows more tokens than the model ({facts.vocabulary})")
    return encoded


def too_long(facts: ModelFacts, tokens: int, max_tokens: int = 0) -> str:
    """Return the sentence for a conversation that does not fit."""
    answer = f" and {max_tokens:,} for the answer" if max_tokens else ""
    return f"context too long: {tokens:,} tokens{answer}, and the model takes {facts.context_tokens:,}"


def _failed(error: Exception) -> Encoded:
    return Encoded(error=f"cannot be tokenised: {type(error).__name__}: {error}"[:500])
