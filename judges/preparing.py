"""Models that our own workers run: which there are, what their files are, and whether they can judge as wanted.

A judge of kind gpu names a model of the setting `GPU_MODELS`; the files' hash is a part of its content, so that other
weights under the same name are another version. What can be known without weights is said before a question is asked.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from django.conf import settings
from django.db.models import IntegerField, QuerySet, TextField
from django.db.models.functions import Cast, Length

from annotation.models import Pair
from judges.errors import JudgeError
from judges.gpu import Conversation, GpuError, GpuPackagesMissing, ModelFacts, check_conversations, check_model
from judges.gpu.asking import Needs
from judges.models import JudgeVersion, Order
from judges.options import Options, read_options
from judges.prompting import layout_of, max_tokens_for, messages_for, wants_logprobs
from judges.questions import Protocol, Question, orders_of, shown

# How a reader of a large file of weights is kept short: so many pieces of so many bytes, evenly spread.
PIECES, PIECE_BYTES = 64, 65_536
# What of a folder changes answers; the rest (a README, another format's weights) does not.
READ = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors", "*.bin")
# The pairs with the most text are put to the tokenizer; a shorter one with more tokens fails alone, with its reason.
LONGEST_PAIRS = 20
NO_MODELS = (
    "This installation names no model for its own workers. The operator sets TIEBREAK_GPU_MODELS, as in "
    '{"qwen3-8b": "/srv/models/Qwen3-8B"} (docs/gpu.md).'
)


def place_of(name: str) -> str:
    """Return the folder, or the Hub name, of a model by the name its operator gave it. Raises `JudgeError`."""
    if not settings.GPU_MODELS:
        raise JudgeError(NO_MODELS)
    if name not in settings.GPU_MODELS:
        known = ", ".join(sorted(settings.GPU_MODELS))
        raise JudgeError(
            f"There is no model {name!r} for our own workers. Models: {known}. The operator adds it to "
            "TIEBREAK_GPU_MODELS."
        )
    return settings.GPU_MODELS[name]


def labels_for(protocol: str, options: Options) -> tuple[str, ...]:
    """Return the texts whose probabilities a judge of this protocol is read by; none where it writes or scores."""
    if protocol == Protocol.LETTER:
        return ("A", "B", "C") if options.tie else ("A", "B")
    return tuple(str(score) for score in range(1, options.scale + 1)) if protocol == Protocol.RATING else ()


def needs_of(protocol: str) -> Needs:
    """Return what a protocol needs of a model: a head that scores, or one that answers a chat."""
    return "reward" if protocol == Protocol.REWARD else "chat"


def require_model(name: str, *, protocol: str, options: Options) -> ModelFacts:
    """Return what is known of a named model. Raises `JudgeError` where it cannot judge in this way, with what to do.

    Reads its config and tokenizer, no weights.
    """
    place = place_of(name)
    try:
        return check_model(place, labels=labels_for(protocol, options), needs=needs_of(protocol))
    except GpuPackagesMissing:
        raise
    except GpuError as error:
        if protocol == Protocol.RATING and options.scale > 5 and "token" in str(error):
            raise JudgeError(f"{error} A scale of 5 needs the single digits 1 to 5 alone (--scale 5).") from error
        raise


def require_same_files(version: JudgeVersion, facts: ModelFacts) -> None:
    """Raise `JudgeError` where the model's files are not those the version was made with."""
    if files_hash(facts.path) != version.files_hash:
        raise JudgeError(
            f"The files of the model {version.model} changed since {version} was added, so its answers would be "
            "another judge's. Add the judge again: that makes a new version."
        )


def files_hash(folder: str | Path) -> str:
    """Return a hash of a model's files: small ones whole, of large ones their size and evenly spread pieces (64 hex).

    Weights of a hundred gigabytes take a second; two trainings of one model differ in every piece.
    """
    digest = hashlib.sha256()
    root = Path(folder)
    for path in sorted({path for pattern in READ for path in root.glob(pattern) if path.is_file()}):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= PIECES * PIECE_BYTES:
                digest.update(file.read())
                continue
            for number in range(PIECES):
                file.seek(number * (size - PIECE_BYTES) // (PIECES - 1))
                digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()


def conversation_of(version: JudgeVersion, question: Question) -> Conversation:
    """Return a question as the engine takes it: labels to weigh, a response to score, or a text to write."""
    if version.protocol == Protocol.REWARD:
        *asked, answered = messages_for(question, version)
        return Conversation(asked, response=answered["content"])
    messages = messages_for(question, version)
    if not wants_logprobs(version, question):
        return Conversation(messages, max_tokens=max_tokens_for(version, question))
    options, layout = read_options(version.options), layout_of(version, question)
    labels = layout.labels.offered(options) if layout.labels else labels_for(version.protocol, options)
    return Conversation(messages, labels=labels)


def require_room(version: JudgeVersion, pairs: QuerySet[Pair]) -> None:
    """Raise `JudgeError` where a version's model cannot judge any more, or, with the pair, does not take the longest.

    The pairs with the most text are looked at; tokens never outnumber bytes, so short texts need no tokenizer. A
    machine without the model's packages leaves it to its workers, which say the same before their first question.
    """
    place = place_of(version.model)
    try:
        facts = require_model(version.model, protocol=version.protocol, options=read_options(version.options))
    except GpuPackagesMissing:
        return
    require_same_files(version, facts)
    longest = _longest(pairs)
    asked = [
        (pair, conversation_of(version, question)) for pair in longest for question in questions_about(version, pair)
    ]
    open_ones = [(pair, one) for pair, one in asked if _bytes(one) > facts.context_tokens > 0]
    for pair, conversation in open_ones:
        try:
            check_conversations(place, [conversation], needs=facts.needs)
        except GpuError as error:
            raise JudgeError(
                f"The pair {pair.external_id} is too long for {version.model}, which takes {facts.context_tokens:,} "
                f"tokens ({error}) Choose a model with a longer context, or start the run without this pair."
            ) from error


def questions_about(version: JudgeVersion, pair: Pair) -> list[Question]:
    """Return what a version would be asked about a pair, in each order, before there are verdicts."""
    found = []
    for order in orders_of(version):
        first, second = shown(order, pair.response_a.text, pair.response_b.text)
        found.append(
            Question(
                verdict_id=None,
                prompt=pair.prompt.messages,
                first=first,
                second=second,
                order=order,
                pair_id=pair.pk,
                context=pair.prompt.context,
                reference=pair.prompt.reference if order != Order.TAGS else "",
                group=pair.prompt.group,
            )
        )
    return found


def _longest(pairs: QuerySet[Pair]) -> Sequence[Pair]:
    def characters(field: str) -> Length:
        return Length(Cast(field, TextField()), output_field=IntegerField())

    size = (
        characters("prompt__messages")
        + characters("prompt__context")
        + characters("prompt__reference")
        + characters("response_a__messages")
        + characters("response_b__messages")
    )
    found = pairs.select_related("prompt", "response_a", "response_b").alias(size=size).order_by("-size", "pk")
    return cast("Sequence[Pair]", found[:LONGEST_PAIRS])


def _bytes(conversation: Conversation) -> int:
    texts = [conversation.response, *(message["content"] for message in conversation.messages)]
    # What the template adds around each message, generously.
    return sum(len(text.encode("utf-8", "replace")) + 32 for text in texts) + conversation.max_tokens
