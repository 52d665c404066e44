"""What the annotation screen shows of a pair: the texts in the order shown, and nothing that names their makers."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from annotation.assigning import Progress, Waiting, next_assignment, progress_of
from annotation.models import Assignment, Pair, Project, Rater, Response, ShownOrder


class ShownResponse(NamedTuple):
    """One side of the screen. `name` is the screen's A or B, not the stored side."""

    name: str
    texts: list[str]
    raw: str

    @property
    def is_empty(self) -> bool:
        """Say whether the response holds no visible text."""
        return not self.raw.strip()


class ShownPrompt(NamedTuple):
    """The prompt: what comes before the newest message, and that message."""

    system: list[str]
    earlier: list[dict[str, str]]
    newest: str
    context: str


class Screen(NamedTuple):
    """Everything the task region draws; `waiting` says why there is no pair."""

    assignment_id: UUID | None
    waiting: Waiting | None
    prompt: ShownPrompt | None
    responses: list[ShownResponse]
    draft: dict[str, Any]
    seconds_left: int
    progress: Progress

    @property
    def total(self) -> int:
        """Return how many pairs this person did or could do now."""
        return self.progress.done + self.progress.available


def screen_for(project: Project, rater: Rater, *, now: datetime) -> Screen:
    """Return what this person sees next; takes a lease. Raises `NotAMember`."""
    found = next_assignment(project, rater, now=now)
    progress = progress_of(project, rater)
    if found.assignment is None:
        return Screen(None, found.waiting, None, [], {}, 0, progress)
    return screen_of(found.assignment, progress, now=now)


def screen_of(assignment: Assignment, progress: Progress, *, now: datetime) -> Screen:
    """Return the screen of one assignment; one query."""
    pair = Pair.objects.with_texts().get(pk=assignment.task.pair_id)
    first, second = pair.response_a, pair.response_b
    if assignment.shown_order == ShownOrder.BA:
        first, second = second, first
    return Screen(
        assignment_id=assignment.pk,
        waiting=None,
        prompt=_shown_prompt(pair.prompt.messages, pair.prompt.context),
        responses=[_shown_response("A", first), _shown_response("B", second)],
        draft=assignment.draft,
        seconds_left=max(0, int((assignment.lease_until - now).total_seconds())),
        progress=progress,
    )


def _shown_prompt(messages: list[dict[str, str]], context: str) -> ShownPrompt:
    system = [message["content"] for message in messages if message["role"] == "system"]
    turns = [message for message in messages if message["role"] != "system"]
    newest = turns[-1]["content"] if turns else ""
    return ShownPrompt(system=system, earlier=turns[:-1], newest=newest, context=context)


def _shown_response(name: str, response: Response) -> ShownResponse:
    return ShownResponse(name=name, texts=[message["content"] for message in response.messages], raw=response.text)
