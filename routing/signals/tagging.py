"""Tags of prompts from a judge, and what they will cost: asked only when a manager switches them on."""

from decimal import Decimal
from typing import NamedTuple

from annotation.models import Prompt, User
from judges.models import JudgeRun, JudgeVersion, Order, Verdict
from judges.options import read_options
from judges.paying import largest_cost, prompt_bytes
from judges.questions import Question
from judges.running import start_tagging, untagged_pairs
from routing.signals.extending import save_settings, settings_of

# Prompts that are looked at to say what all will cost.
SAMPLE = 200
# English text has about four bytes a token, and an answer about this many tokens.
BYTES_A_TOKEN = 4
ANSWER_TOKENS = 90


class TagQuote(NamedTuple):
    """What tagging the prompts that have no tags yet would take.

    `usd` is what to expect and `most_usd` what it can come to; None where the judge's price is not known.
    """

    prompts: int
    tagged: int
    usd: Decimal | None
    most_usd: Decimal | None


def quote_tags(version: JudgeVersion) -> TagQuote:
    """Return how many prompts a judge would be asked about and what that costs, from the first 200 of them.

    Kept answers cost nothing, so it may be less. Four queries..
    """
    waiting = untagged_pairs(version)
    tagged = Verdict.objects.answered().filter(version=version, order=Order.TAGS).count()
    prompts = waiting.count()
    sample = list(Prompt.objects.filter(pk__in=waiting.values("prompt")).order_by("id")[:SAMPLE])
    price_in, price_out = version.price_input_usd_per_million, version.price_output_usd_per_million
    if price_in is None or price_out is None or not sample:
        return TagQuote(prompts, tagged, *((None, None) if sample else (Decimal(0), Decimal(0))))
    questions = [_question(prompt) for prompt in sample]
    samples = read_options(version.options).samples
    read = sum(prompt_bytes(version, question) for question in questions) / BYTES_A_TOKEN
    usd = samples * (price_in * Decimal(read) + price_out * ANSWER_TOKENS * len(sample)) / 1_000_000
    most = sum((largest_cost(version, question) or Decimal(0) for question in questions), Decimal(0))
    scale = Decimal(prompts) / len(sample)
    return TagQuote(prompts, tagged, usd * scale, most * scale)


def tag_prompts(
    version: JudgeVersion,
    *,
    limit: int | None = None,
    budget_usd: Decimal | None = None,
    started_by: User | None = None,
    send: bool = True,
) -> JudgeRun:
    """Make a judge version the tagger of its project and ask it about the prompts that it has not tagged.

    Raises `RoutingError` for a judge that cannot write, `judges.errors.JudgeError` for a limit or budget that cannot
    be kept.
    """
    project = version.judge.project
    settings = settings_of(project)
    run = start_tagging(version, limit=limit, budget_usd=budget_usd, started_by=started_by, send=send)
    if settings.tagger_id != version.pk:
        save_settings(project, columns=settings.columns, embedder=settings.embedder, tagger=version)
    return run


def _question(prompt: Prompt) -> Question:
    return Question(None, prompt.messages, "", "", Order.TAGS.value, context=prompt.context)
