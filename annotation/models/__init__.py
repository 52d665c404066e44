"""The tables of people's work; judges, routing and exports build on them and are never imported here."""

from annotation.models.crowd import (
    ArrivalCheck,
    CompletionCode,
    CrowdStudy,
    Guest,
    Platform,
    PlatformEvent,
    Submission,
    UsedArrival,
)
from annotation.models.crowds import CrowdFit
from annotation.models.gold import Exclusion, Gold, GoldKind, GoldSource
from annotation.models.guidelines import GuidelinesVersion
from annotation.models.imports import Import
from annotation.models.joining import Invitation, SecondStep, SignInLink, Throttle
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
    "ArrivalCheck",
    "Assignment",
    "AssignmentState",
    "Basis",
    "Choice",
    "CompletionCode",
    "Criterion",
    "CrowdFit",
    "CrowdStudy",
    "Exclusion",
    "Gold",
    "GoldKind",
    "GoldSource",
    "Guest",
    "GuidelinesVersion",
    "Import",
    "Invitation",
    "Membership",
    "Method",
    "Origin",
    "OutboxEvent",
    "Pair",
    "Platform",
    "PlatformEvent",
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
    "SecondStep",
    "ShownOrder",
    "SignInLink",
    "SkipReason",
    "Slate",
    "SlateEntry",
    "Submission",
    "Suggestion",
    "Task",
    "TaskState",
    "Template",
    "Throttle",
    "Tier",
    "UsedArrival",
    "User",
]
