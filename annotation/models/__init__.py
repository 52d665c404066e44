"""The tables of people's work; judges, routing and exports build on them and are never imported here."""

from annotation.models.imports import Import
from annotation.models.outbox import OutboxEvent
from annotation.models.pairs import Pair, Prompt, Response
from annotation.models.people import Membership, Role, User
from annotation.models.projects import Criterion, Project
from annotation.models.raters import Choice, Origin, Preference, Rater, RaterKind, Rating, RationaleTiming
from annotation.models.tasks import Assignment, AssignmentState, ShownOrder, SkipReason, Task, TaskState, Tier

__all__ = [
    "Assignment",
    "AssignmentState",
    "Choice",
    "Criterion",
    "Import",
    "Membership",
    "Origin",
    "OutboxEvent",
    "Pair",
    "Preference",
    "Project",
    "Prompt",
    "Rater",
    "RaterKind",
    "Rating",
    "RationaleTiming",
    "Response",
    "Role",
    "ShownOrder",
    "SkipReason",
    "Task",
    "TaskState",
    "Tier",
    "User",
]
