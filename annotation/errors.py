"""The errors a person may see. Each package has one tree below `TiebreakError`."""


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
