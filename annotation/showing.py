"""What the annotation screen shows: texts in the order shown, questions, and nothing that names the texts' makers."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from annotation.answering import SHOWN_SIDES
from annotation.assigning import Next, Progress, Waiting
from annotation.masking import mask_names
from annotation.models import (
    Assignment,
    Criterion,
    Pair,
    Project,
    Prompt,
    Response,
    ShownOrder,
    Slate,
    SlateEntry,
    Task,
)
from annotation.models.pairs import joined_text
from annotation.questionnaires import Questionnaire, needs_criteria
from annotation.questions import LETTERS, Asked, Question


class Turn(NamedTuple):
    """A message: who speaks (user, assistant, tool) and what they say."""

    role: str
    text: str


class ShownResponse(NamedTuple):
    """One side of the screen. `name` is the screen's A or B, not the stored side."""

    name: str
    turns: list[Turn]
    raw: str

    @property
    def is_empty(self) -> bool:
        """Say whether the response holds no visible text."""
        return not self.raw.strip()


class ShownPrompt(NamedTuple):
    """The prompt: what comes before the newest message of the user, and what comes from there on."""

    system: list[str]
    earlier: list[Turn]
    newest: list[Turn]
    context: str
    reference: str


class Screen(NamedTuple):
    """Everything the task region draws; `waiting` says why there is no pair, `reason` why its reader is paused."""

    progress: Progress
    # Of a preview, which has no assignment, what its answers are checked against.
    assignment_id: UUID | str | None = None
    waiting: Waiting | None = None
    reason: str = ""
    prompt: ShownPrompt | None = None
    responses: list[ShownResponse] = []
    asked: Asked | None = None
    questions: list[Question] = []
    draft: dict[str, Any] = {}
    seconds_left: int = 0
    revises: bool = False

    @property
    def total(self) -> int:
        """Return how many pairs this person did or could do now; at least so many, where `progress.more` says so."""
        return self.progress.done + self.progress.available


def screens_of(
    project: Project,
    questionnaire: Questionnaire,
    found: Next,
    progress: Progress,
    *,
    now: datetime,
    known: Collection[UUID] = (),
) -> list[Screen]:
    """Return a screen for each lease but those the browser has already; where nothing is held, one that says why.

    One query for texts that came without, one for criteria and two for slates where the project asks for them.
    """
    if found.assignment is None:
        return [Screen(progress, waiting=found.waiting, reason=found.reason)]
    fresh = [assignment for assignment in found.held if assignment.pk not in known]
    criteria = criteria_of(project, questionnaire) if fresh else ()
    return [_screen(assignment, questionnaire, criteria, progress, now=now) for assignment in _with_texts(fresh)]


def screen_of(
    assignment: Assignment,
    questionnaire: Questionnaire,
    progress: Progress,
    *,
    now: datetime,
    revises: bool = False,
) -> Screen:
    """Return the screen of one assignment; with `revises`, to change the answer that it has."""
    criteria = criteria_of(assignment.task.project, questionnaire)
    (loaded,) = _with_texts([assignment])
    return _screen(loaded, questionnaire, criteria, progress, now=now)._replace(revises=revises)


def criteria_of(project: Project, questionnaire: Questionnaire) -> tuple[Criterion, ...]:
    """Return the criteria that get rows on the screen; no query where none do."""
    return tuple(project.criteria.all()) if needs_criteria(questionnaire) else ()


def asked_of(assignment: Assignment, questionnaire: Questionnaire) -> Asked:
    """Return what the screen of an assignment asks."""
    shown = len(assignment.shown_order)
    return Asked(questionnaire, criteria_of(assignment.task.project, questionnaire), shown)


def _with_texts(assignments: Sequence[Assignment]) -> list[Assignment]:
    """Return the assignments with their tasks' prompts and responses loaded; one query for all that lack them."""
    missing = [one for one in assignments if not _has_texts(one)]
    if missing:
        loaded = Task.objects.with_texts().in_bulk([one.task_id for one in missing])
        for one in missing:
            one.task = loaded[one.task_id]
    return list(assignments)


def _has_texts(assignment: Assignment) -> bool:
    if not Assignment.task.is_cached(assignment):
        return False
    return Task.pair.is_cached(assignment.task) and Pair.prompt.is_cached(assignment.task.pair)


def _screen(
    assignment: Assignment,
    questionnaire: Questionnaire,
    criteria: tuple[Criterion, ...],
    progress: Progress,
    *,
    now: datetime,
) -> Screen:
    responses = _responses_shown(assignment)
    asked = Asked(questionnaire, criteria, len(responses))
    shown = sample_screen(assignment.task.pair.prompt, responses, asked)
    return shown._replace(
        progress=progress,
        assignment_id=assignment.pk,
        draft=_draft_for(asked, assignment.draft),
        seconds_left=max(0, int((assignment.lease_until - now).total_seconds())),
    )


def sample_screen(prompt: Prompt, responses: Sequence[Response], asked: Asked) -> Screen:
    """Return a screen of texts that nobody holds, in the order given. No query."""
    questionnaire = asked.questionnaire
    masks = _Masks.of(prompt, responses) if questionnaire.mask_models else None
    return Screen(
        Progress(0, 0, Decimal(0)),
        prompt=_shown_prompt(prompt, questionnaire),
        responses=[_shown_response(name, one, masks) for name, one in zip(LETTERS, responses, strict=False)],
        asked=asked,
        questions=asked.questions(),
    )


# What of a draft means the same whatever is asked beside it.
_OF_ANY_FORM = ("rationale", "spans", "seconds", "reading_seconds", "deciding_seconds", "saved_at")


def _draft_for(asked: Asked, draft: dict[str, Any]) -> dict[str, Any]:
    """Return what of a draft these questions take: of one made for others what was written, but no choice."""
    if draft.get("asks", asked.key) == asked.key:
        return draft
    return {name: draft[name] for name in _OF_ANY_FORM if name in draft}


def _responses_shown(assignment: Assignment) -> list[Response]:
    """Return the responses in the order in which this person sees them."""
    if assignment.task.slate_id is not None:
        slate = Slate(pk=assignment.task.slate_id)
        entries = SlateEntry.objects.filter(slate=slate).select_related("response").order_by("position")
        stored = [entry.response for entry in entries]
        return [stored[int(position)] for position in assignment.shown_order]
    sides = {"a": assignment.task.pair.response_a, "b": assignment.task.pair.response_b}
    return [sides[side] for side in SHOWN_SIDES[ShownOrder(assignment.shown_order)].values()]


def _shown_prompt(prompt: Prompt, questionnaire: Questionnaire) -> ShownPrompt:
    turns = [Turn(message["role"], message["content"]) for message in prompt.messages if message["role"] != "system"]
    users = [number for number, turn in enumerate(turns) if turn.role == "user"]
    newest = users[-1] if users else max(len(turns) - 1, 0)
    return ShownPrompt(
        system=[message["content"] for message in prompt.messages if message["role"] == "system"],
        earlier=turns[:newest],
        newest=turns[newest:],
        context=prompt.context if questionnaire.show_context else "",
        reference=prompt.reference if questionnaire.show_reference else "",
    )


def _shown_response(name: str, response: Response, masks: "_Masks | None") -> ShownResponse:
    turns = [Turn(message["role"], message["content"]) for message in response.messages]
    if masks is not None:
        turns = [turn._replace(text=_masked(turn.text, masks.models, masks.prompt)) for turn in turns]
    return ShownResponse(name=name, turns=turns, raw="\n\n".join(turn.text for turn in turns))


class _Masks(NamedTuple):
    """What tells which names in a response give its maker away: the models of all of them, and what was asked."""

    models: tuple[str, ...]
    prompt: str

    @classmethod
    def of(cls, prompt: Prompt, responses: Sequence[Response]) -> "_Masks":
        models = tuple(sorted({response.model for response in responses if response.model}))
        return cls(models, f"{joined_text(prompt.messages)}\n\n{prompt.context}")


# One pair is shown to several people, and reading a text for names takes about 2 ms per 1,000 words.
@lru_cache(maxsize=1024)
def _masked(text: str, models: tuple[str, ...], prompt: str) -> str:
    return mask_names(text, models=models, prompt=prompt).text
