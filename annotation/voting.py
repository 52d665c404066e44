"""How many answers a task wants: counted as they come in, one more where people differ, or as a manager says."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet

from annotation.answering import is_settled
from annotation.errors import AnnotationError
from annotation.models import Assignment, AssignmentState, Project, Task, TaskState, Tier
from annotation.opening import Opening, open_tasks
from annotation.preparing import PreparedUpdate

# Tasks a transaction: nobody's answer waits for more than these.
BATCH = 200
MOST_VOTES = 99


def count_answer(task: Task) -> None:
    """Count an answer that was just stored; with the last one wanted the task is done, or grows where people differ.

    Caller holds the task's row, so that of two last answers the later one sees both.
    """
    if task.state != TaskState.OPEN or task.answered + 1 < task.votes_wanted:
        _COUNT.update("goes on", task=task.pk)
    elif not _may_grow(task) or is_settled(_choices_of(task)):
        _COUNT.update("ends", task=task.pk)
    elif task.expert_on_split:
        _COUNT.update("ends", task=task.pk)
        _ask_expert(task)
    else:
        _COUNT.update("grows", task=task.pk)


def _counted(then: str, *, task: UUID) -> "tuple[QuerySet[Task], dict[str, Any]]":
    changes: dict[str, Any] = {"answered": F("answered") + 1}
    if then == "ends":
        changes["state"] = TaskState.DONE
    elif then == "grows":
        changes["votes_wanted"] = F("votes_wanted") + 1
    return Task.objects.filter(pk=task), changes


_COUNT = PreparedUpdate(_counted)


def look_again(task: Task) -> None:
    """After a changed answer: a task that ended agreed and is not any more grows now. Caller holds its row."""
    if task.state != TaskState.DONE or not _may_grow(task) or is_settled(_choices_of(task)):
        return
    if task.expert_on_split:
        _ask_expert(task)
    else:
        Task.objects.filter(pk=task.pk).update(votes_wanted=F("votes_wanted") + 1, state=TaskState.OPEN)


def set_votes(
    project: Project,
    *,
    votes_wanted: int,
    most_votes: int | None = None,
    pair_ids: Iterable[UUID] | None = None,
    tier: Tier = Tier.CROWD,
) -> int:
    """Say how many answers the opened pairs want from now on (these, or all of the tier); return how many changed.

    Nothing is taken from anybody: a pair that more people answered or hold than are wanted now wants as many as those.
    One that has enough is done, or grows where its answers differ and `most_votes` allows; one that wants more is open
    again. For all of a project's pairs this is also its number for pairs opened later. In short transactions, `BATCH`
    tasks at a time. Raises `AnnotationError` for numbers that cannot be.
    """
    if not 1 <= votes_wanted <= MOST_VOTES:
        raise AnnotationError(f"{votes_wanted} answers a pair cannot be wanted: it is 1 to {MOST_VOTES}.")
    if most_votes is not None and not votes_wanted <= most_votes <= MOST_VOTES:
        raise AnnotationError(f"A pair may get {votes_wanted} to {MOST_VOTES} answers at most, not {most_votes}.")
    tasks = Task.objects.filter(project=project, tier=tier).exclude(state=TaskState.CLOSED)
    if pair_ids is None:
        project.votes_wanted = votes_wanted
        project.save(update_fields=["votes_wanted"])
    else:
        tasks = tasks.filter(pair_id__in=list(pair_ids))
    changed = 0
    ids = list(tasks.order_by("pair_id").values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        with transaction.atomic():
            # By pair, as others lock them.
            rows = Task.objects.filter(pk__in=ids[start : start + BATCH]).exclude(state=TaskState.CLOSED)
            for task in rows.order_by("pair_id").select_for_update(no_key=True):
                changed += _set_votes(task, votes_wanted, most_votes)
    return changed


def _set_votes(task: Task, votes_wanted: int, most_votes: int | None) -> bool:
    """Caller holds the task's row."""
    before = (task.votes_wanted, task.most_votes)
    task.votes_wanted = max(votes_wanted, task.taken)
    task.most_votes = None if most_votes is None else max(most_votes, task.votes_wanted)
    if before == (task.votes_wanted, task.most_votes):
        return False
    complete = task.answered >= task.votes_wanted
    if complete and _may_grow(task) and not task.expert_on_split and not is_settled(_choices_of(task)):
        task.votes_wanted += 1
        complete = False
    task.state = TaskState.DONE if complete else TaskState.OPEN
    task.save(update_fields=["votes_wanted", "most_votes", "state"])
    if complete and task.expert_on_split and _may_grow(task) and not is_settled(_choices_of(task)):
        _ask_expert(task)
    return True


def _ask_expert(task: Task) -> None:
    open_tasks(task.project, [Opening(task.pair_id, task.priority)], votes_wanted=1, tier=Tier.EXPERT)


def _may_grow(task: Task) -> bool:
    # Orders of a slate have no one answer to agree on: they get the votes that were asked for.
    return task.slate_id is None and task.most_votes is not None and task.votes_wanted < task.most_votes


def _choices_of(task: Task) -> list[str]:
    counted = Assignment.objects.filter(
        task=task, state=AssignmentState.SUBMITTED, repeats__isnull=True, gold__isnull=True
    )
    return list(counted.values_list("preference__choice", flat=True))
