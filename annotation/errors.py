"""The errors a person may see. Each package has one tree below `TiebreakError`."""

from collections.abc import Sequence
from typing import NamedTuple


class TiebreakError(Exception):
    """Something went wrong in a way that can be said in a sentence: what happened, where, and what to do.

    `retryable` says whether the same call may succeed later without a change.
    """

    retryable = False


class AnnotationError(TiebreakError):
    """An error in importing, assigning or answering."""


class NotAMember(AnnotationError):
    """Somebody asked for work in a project they are not in."""


class LeaseNotYours(AnnotationError):
    """The assignment does not exist or is somebody else's; the two are not told apart."""


class LeaseLost(AnnotationError):
    """The slot is not held any more, and what was asked needs it."""


class BudgetSpent(LeaseLost):
    """The budget for people has no money left to promise."""


class PersonPaused(LeaseLost):
    """A manager has paused this person, who gets no pairs and gives no answers meanwhile."""


class AlreadyAnswered(AnnotationError):
    """There is an answer already and this one says something else."""


class AnswerInvalid(AnnotationError):
    """An answer, a note or a draft that cannot be stored as it is."""


class TooLate(AnnotationError):
    """Something that a person could have done before, and not any more."""


class RationaleMissing(AnswerInvalid):
    """The project asks for a reason and none was given."""


class QuestionnaireInvalid(AnnotationError):
    """A setting of the annotation screen that cannot be; `setting` names it."""

    def __init__(self, setting: str, what: str) -> None:
        super().__init__(f"The setting {setting} {what}")
        self.setting = setting


class StandardsInvalid(AnnotationError):
    """A setting of how people are checked that cannot be; `setting` names it."""

    def __init__(self, setting: str, what: str) -> None:
        super().__init__(f"The setting {setting} {what}")
        self.setting = setting


class GoldInvalid(AnnotationError):
    """A known answer that cannot be, or a pair that cannot be gold."""


class GuidelinesChanged(AnnotationError):
    """Somebody else stored guidelines since this text was begun."""


class TrainingProblem(NamedTuple):
    """One thing that is wrong with a project's training: the item, the field of it (or nothing), and what is wrong."""

    item: str
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.item}{', ' + self.field if self.field else ''}: {self.what}"


class TrainingInvalid(AnnotationError):
    """A training that cannot be; `problems` name every item and field at fault."""

    def __init__(self, problems: Sequence[TrainingProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class TrainingChanged(AnnotationError):
    """The practice or the questions are no longer what was on the screen."""


class TryNotCounted(AnnotationError):
    """A try at the gate that does not count: it was counted already, or none is left."""
