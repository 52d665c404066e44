"""The tables of people's work; judges, routing and exports build on them and are never imported here."""

from annotation.models.crowds import CrowdFit
from annotation.models.guidelines import GuidelinesVersion
from annotation.models.imports import Import
from annotation.models.money import (
    EntryKind,
    LedgerEntry,
    LineOutcome,
    PayBasis,
    Payment,
    PaymentLine,
    PaymentMethod,
    PaymentState,
    PayRate,
)
from annotation.models.outbox import OutboxEvent
from annotation.models.pairs import Pair, Prompt, Response, Slate, SlateEntry
from annotation.models.people import Membership, Role, User
from annotation.models.projects import Criterion, Method, Project, Purse, Template
from annotation.models.raters import (
    AnswerBase,
    Basis,
    Choice,
    Origin,
    Preference,
    Ranking,
    Rater,
    RaterKind,
    Rating,
    RationaleTiming,
)
from annotation.models.tasks import (
    Assignment,
    AssignmentState,
    ShownOrder,
    SkipReason,
    Suggestion,
    Task,
    TaskState,
    Tier,
)

__all__ = [
    "AnswerBase",
    "Assignment",
    "AssignmentState",
    "Basis",
    "Choice",
    "Criterion",
    "CrowdFit",
    "EntryKind",
    "GuidelinesVersion",
    "Import",
    "LedgerEntry",
    "LineOutcome",
    "Membership",
    "Method",
    "Origin",
    "OutboxEvent",
    "Pair",
    "PayBasis",
    "PayRate",
    "Payment",
    "PaymentLine",
    "PaymentMethod",
    "PaymentState",
    "Preference",
    "Project",
    "Prompt",
    "Purse",
    "Ranking",
    "Rater",
    "RaterKind",
    "Rating",
    "RationaleTiming",
    "Response",
    "Role",
    "ShownOrder",
    "SkipReason",
    "Slate",
    "SlateEntry",
    "Suggestion",
    "Task",
    "TaskState",
    "Template",
    "Tier",
    "User",
]
