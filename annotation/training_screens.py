"""What the pages of practice and of the gate show. Before an answer nothing on them depends on what is right."""

from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.text import get_text_list

from annotation.learning import LastTry, last_try, practice_pair, tries_left
from annotation.models import Project, Rater
from annotation.questionnaires import read_questionnaire
from annotation.training import Gate, PracticePair, Question, Training
from annotation.training_forms import CHOICE_NAMES, GateForm


class Offered(NamedTuple):
    """One choice of the practice screen, with its key."""

    value: str
    key: str
    name: Promise


class PracticeScreen(NamedTuple):
    """A practice pair; `choice` is empty before the answer, and `is_right` and `expected` with it."""

    number: int
    total: int
    again: bool
    pair: PracticePair
    offered: list[Offered]
    choice: str
    is_right: bool | None
    expected: list[Promise]
    error: str

    @property
    def chosen_name(self) -> Promise:
        """Return the choice in words."""
        return CHOICE_NAMES[self.choice]

    @property
    def expected_names(self) -> str:
        """Return what was expected in words, put together as the language does."""
        return get_text_list([str(name) for name in self.expected])

    @property
    def next_number(self) -> int | None:
        """Return the number of the pair after this one."""
        return self.number + 1 if self.number < self.total else None


class ShownOption(NamedTuple):
    """An option with whether it is marked and, once the gate is closed, whether it is right."""

    value: int
    text: str
    is_marked: bool
    is_right: bool | None


class ShownQuestion(NamedTuple):
    """A question; `why` is filled where the last answer was wrong."""

    number: int
    field: str
    text: str
    several: bool
    options: list[ShownOption]
    was_wrong: bool
    why: str
    missing: bool


class GateScreen(NamedTuple):
    """The gate as it stands for a person: open with the try they are at, or closed with what they had wrong."""

    key: str
    number: int
    left: int
    total: int
    needed: int
    last: LastTry | None
    questions: list[ShownQuestion]
    error: bool

    @property
    def wrong(self) -> list[ShownQuestion]:
        """Return the questions answered wrong last."""
        return [question for question in self.questions if question.was_wrong]


def offered_in(project: Project, training: Training) -> list[str]:
    """Return the choices of practice: those of the project's own screen, and what any practice pair expects.

    They are the same for every pair, so that what is offered tells nothing about one.
    """
    asked = read_questionnaire(project.template, project.questionnaire)
    expected = {choice for pair in training.practice for choice in pair.answer}
    has = {"tie": asked.points > 2 or "tie" in expected, "both_bad": asked.both_bad or "both_bad" in expected}
    return [choice for choice in CHOICE_NAMES if has.get(choice, True)]


def practice_screen(
    project: Project,
    training: Training,
    rater: Rater,
    number: int,
    *,
    again: bool = False,
    choice: str = "",
    error: str = "",
) -> PracticeScreen:
    """Return the screen of one practice pair. Raises `TrainingChanged` for one that is not there or not yet due."""
    pair = practice_pair(training, rater, number)
    offered = offered_in(project, training)
    return PracticeScreen(
        number=number,
        total=len(training.practice),
        again=again,
        pair=pair,
        offered=[Offered(value, str(key), CHOICE_NAMES[value]) for key, value in enumerate(offered, start=1)],
        choice=choice,
        is_right=choice in pair.answer if choice else None,
        expected=[CHOICE_NAMES[value] for value in pair.answer] if choice else [],
        error=error,
    )


def gate_screen(gate: Gate, rater: Rater, *, is_open: bool, form: GateForm | None = None) -> GateScreen:
    """Return the gate's screen; with a form that was sent and is not complete, with what it holds."""
    last = last_try(gate, rater)
    return GateScreen(
        key=gate.key,
        number=rater.gate_tries + 1,
        left=tries_left(gate, rater),
        total=len(gate.questions),
        needed=gate.needed,
        last=last,
        questions=[_shown(n, question, last, form, is_open=is_open) for n, question in enumerate(gate.questions)],
        error=form is not None,
    )


def _shown(
    number: int, question: Question, last: LastTry | None, form: GateForm | None, *, is_open: bool
) -> ShownQuestion:
    marked = last.marked[number] if last else None
    was_wrong = marked is not None and not marked.is_right
    if form is not None:
        marks = form.marks_sent(number)
    else:
        # What was right stays marked; what was wrong is to be thought about again, unless there is no more try.
        marks = marked.answers if marked is not None and (marked.is_right or not is_open) else frozenset()
    return ShownQuestion(
        number=number + 1,
        field=f"question{number}",
        text=question.question,
        several=question.several,
        options=[
            ShownOption(value, text, value in marks, None if is_open else value in question.correct)
            for value, text in enumerate(question.options)
        ],
        was_wrong=was_wrong,
        why=question.why if was_wrong else "",
        missing=form is not None and number in form.missing,
    )
