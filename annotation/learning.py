"""A person's way to the first pair: guidelines, practice, the gate's questions, and what each step stores of them.

Nothing here is a preference. Each step is one conditional update of the person's row, so that a second tab, a double
click or a retry counts nothing twice.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import TrainingChanged, TryNotCounted
from annotation.models import Origin, Project, Rater, RaterKind
from annotation.training import Gate, PracticePair, Training, training_of


class Stage(StrEnum):
    """Where a person is on the way to the pairs."""

    GUIDELINES = "guidelines"
    PRACTICE = "practice"
    GATE = "gate"
    REFUSED = "refused"
    WORK = "work"


class Step(NamedTuple):
    """One step of the way as a page lists it."""

    stage: Stage
    name: Promise
    state: str  # done, now or ahead


class Marked(NamedTuple):
    """What somebody marked at a question, and whether that was right."""

    answers: frozenset[int]
    is_right: bool


class LastTry(NamedTuple):
    """The last try at the questions that are asked now."""

    right: int
    marked: list[Marked]


STEP_NAMES: dict[Stage, Promise] = {
    Stage.GUIDELINES: gettext_lazy("Guidelines"),
    Stage.PRACTICE: gettext_lazy("Practice"),
    Stage.GATE: gettext_lazy("Questions"),
    Stage.WORK: gettext_lazy("Pairs"),
}


# --- Where somebody is ----------------------------------------------------------------------------------------------


def stage_of(project: Project, rater: Rater) -> Stage:
    """Return where a person is; no query. Only in `WORK` is a pair ever leased to them.

    Who passed the gate works, whatever the practice and the questions became. Simulated and recorded people have
    nothing to learn.
    """
    if rater.kind != RaterKind.PERSON or rater.origin != Origin.LIVE:
        return Stage.WORK
    training = training_of(project) if project.training and rater.gate_passed_at is None else Training()
    if training.gate is not None and tries_left(training.gate, rater) == 0:
        return Stage.REFUSED
    if project.guidelines and project.guidelines_number and not rater.guidelines_read:
        return Stage.GUIDELINES
    if rater.practice_done < len(training.practice):
        return Stage.PRACTICE
    return Stage.WORK if training.gate is None else Stage.GATE


def tries_left(gate: Gate, rater: Rater) -> int:
    """Return how many tries a person has left."""
    return max(0, gate.tries + rater.gate_extra - rater.gate_tries)


def steps_of(project: Project, current: Stage) -> list[Step]:
    """Return the steps that a project has, in order, each done, now or ahead; fewer than two are no way to show."""
    training = training_of(project)
    has = {
        Stage.GUIDELINES: bool(project.guidelines and project.guidelines_number),
        Stage.PRACTICE: bool(training.practice),
        Stage.GATE: training.gate is not None,
        Stage.WORK: True,
    }
    stages = [stage for stage in STEP_NAMES if has[stage]]
    here = Stage.GATE if current is Stage.REFUSED else current
    reached = stages.index(here) if here in stages else len(stages)
    states = ["done" if place < reached else "now" if place == reached else "ahead" for place in range(len(stages))]
    return [Step(stage, STEP_NAMES[stage], state) for stage, state in zip(stages, states, strict=True)]


# --- Practice -------------------------------------------------------------------------------------------------------


def practice_pair(training: Training, rater: Rater, number: int) -> PracticePair:
    """Return a practice pair by its number from 1: one that was done, or the next. Raises `TrainingChanged`."""
    if not 1 <= number <= min(len(training.practice), rater.practice_done + 1):
        raise TrainingChanged(_("This practice pair is not there any more. Here is the one you are at."))
    return training.practice[number - 1]


def answer_practice(training: Training, rater: Rater, number: int, choice: str) -> bool:
    """Say whether a choice is what was expected; the first answer to a pair counts it as done. Nothing else is kept.

    Raises `TrainingChanged`.
    """
    pair = practice_pair(training, rater, number)
    Rater.objects.filter(pk=rater.pk, practice_done=number - 1).update(practice_done=number)
    rater.practice_done = max(rater.practice_done, number)
    return choice in pair.answer


# --- The gate -------------------------------------------------------------------------------------------------------


def answer_gate(
    gate: Gate, rater: Rater, answers: Sequence[Sequence[int]], *, number: int, key: str, now: datetime
) -> bool:
    """Count one try at the gate and say whether it passed.

    `number` is the try that the page said this is and `key` that of its questions. One conditional update: of two tabs
    that send the same try one counts. Raises `TryNotCounted`, and `TrainingChanged` where the questions are others now.
    """
    if key != gate.key:
        raise TrainingChanged(
            _("The questions were changed while you answered, so this try did not count. Answer the new ones.")
        )
    passed = gate.passes(answers)
    last = {"key": gate.key, "answers": [sorted(one) for one in answers]}
    open_tries = Rater.objects.filter(pk=rater.pk, gate_passed_at=None, gate_tries=number - 1)
    counted = open_tries.filter(gate_tries__lt=F("gate_extra") + gate.tries).update(
        gate_tries=number, gate_answers=last, gate_passed_at=now if passed else None
    )
    if not counted:
        raise TryNotCounted(_("That try was sent before, so it did not count again. This is how it went."))
    rater.refresh_from_db(fields=["gate_tries", "gate_answers", "gate_passed_at"])
    return passed


def last_try(gate: Gate, rater: Rater) -> LastTry | None:
    """Return how the last try went; None where there was none or the questions are others now."""
    kept: dict[str, Any] = rater.gate_answers or {}
    if kept.get("key") != gate.key:
        return None
    answers = [frozenset(one) for one in kept["answers"]]
    marks = gate.marks([sorted(one) for one in answers])
    marked = [Marked(given, is_right) for given, is_right in zip(answers, marks, strict=True)]
    return LastTry(sum(marks), marked)


def allow_another_try(rater: Rater) -> bool:
    """Give somebody whom the gate refused one more try; say whether that changed anything. Locks the rater."""
    with transaction.atomic():
        locked = Rater.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=rater.pk)
        gate = training_of(locked.project).gate
        if gate is None or stage_of(locked.project, locked) is not Stage.REFUSED:
            return False
        # The project's tries may have become fewer since: one more is one more than they made.
        locked.gate_extra = locked.gate_tries + 1 - gate.tries
        locked.save(update_fields=["gate_extra"])
    return True
