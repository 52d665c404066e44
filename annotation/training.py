"""What people learn a task by: practice pairs with the expected answer, and questions to pass before the first pair.

A project stores it as JSON (`Project.training`); whatever is stored went through `read_training`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from django.db import transaction

from annotation.errors import TrainingChanged, TrainingInvalid, TrainingProblem
from annotation.models import Choice, Project
from annotation.models.pairs import content_hash

ANSWERS = (Choice.A.value, Choice.TIE.value, Choice.B.value, Choice.BOTH_BAD.value)
MOST_PRACTICE, MOST_QUESTIONS = 50, 30
OPTIONS, TRIES = range(2, 11), range(1, 6)
LONGEST_TEXT, LONGEST_QUESTION, LONGEST_OPTION = 20_000, 1_000, 300
PASS_MARK, TWO_TRIES = 0.8, 2


@dataclass(frozen=True, slots=True)
class PracticePair:
    """A pair with the choices that count as right, and why; a and b are the sides of the screen as well."""

    prompt: str
    response_a: str
    response_b: str
    answer: tuple[str, ...]
    why: str

    def value(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "prompt": self.prompt,
            "response_a": self.response_a,
            "response_b": self.response_b,
            "answer": list(self.answer),
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its options; with `several` people mark all that are right, otherwise one."""

    question: str
    options: tuple[str, ...]
    correct: frozenset[int]
    several: bool
    why: str

    def value(self) -> dict[str, Any]:
        """Return it as JSON: one number where one option is marked, a list where several may be."""
        right = sorted(self.correct)
        return {
            "question": self.question,
            "options": list(self.options),
            "correct": right if self.several else right[0],
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Gate:
    """The questions, the share of right answers that passes, and how many tries there are."""

    questions: tuple[Question, ...]
    pass_mark: float = PASS_MARK
    tries: int = TWO_TRIES

    @property
    def needed(self) -> int:
        """Return how many right answers pass: the pass mark of the questions, rounded up."""
        return ceil(round(self.pass_mark * len(self.questions), 6))

    @property
    def key(self) -> str:
        """Return what tells whether these are still the questions that were on a screen.

        Made of what is shown before answering and nothing else, so that nobody can work the answers out of it.
        """
        return content_hash([[one.question, one.options, one.several] for one in self.questions])[:16]

    def marks(self, answers: Sequence[Sequence[int]]) -> list[bool]:
        """Return for each question whether exactly the right options were marked."""
        return [set(given) == one.correct for one, given in zip(self.questions, answers, strict=True)]

    def passes(self, answers: Sequence[Sequence[int]]) -> bool:
        """Say whether enough answers are right."""
        return sum(self.marks(answers)) >= self.needed

    def value(self) -> dict[str, Any]:
        """Return it as JSON."""
        questions = [one.value() for one in self.questions]
        return {"questions": questions, "pass_mark": self.pass_mark, "tries": self.tries}


@dataclass(frozen=True, slots=True)
class Training:
    """Practice pairs, and a gate or none."""

    practice: tuple[PracticePair, ...] = ()
    gate: Gate | None = None

    def value(self) -> dict[str, Any]:
        """Return it as JSON: what a project stores, and what `read_training` gives back as this."""
        practice = {"practice": [one.value() for one in self.practice]} if self.practice else {}
        return practice | ({"gate": self.gate.value()} if self.gate else {})

    @property
    def key(self) -> str:
        """Return what tells whether a manager still edits what is stored."""
        return content_hash(self.value())[:16]


# --- Reading --------------------------------------------------------------------------------------------------------


def read_training(value: Any) -> Training:
    """Return a project's training, checked. Raises `TrainingInvalid` with every problem, each naming item and field."""
    problems: list[TrainingProblem] = []
    whole = _Fields("The training", value, ("practice", "gate"), problems)
    practice = [
        _practice_pair(_Fields(f"Practice pair {number}", one, PRACTICE_FIELDS, problems))
        for number, one in enumerate(whole.items("practice", MOST_PRACTICE), start=1)
    ]
    gate = _gate(whole.values["gate"], problems) if "gate" in whole.values else None
    if problems:
        raise TrainingInvalid(problems)
    return Training(tuple(practice), gate)


def training_of(project: Project) -> Training:
    """Return what a project stores; no query."""
    return read_training(project.training)


PRACTICE_FIELDS = ("prompt", "response_a", "response_b", "answer", "why")
QUESTION_FIELDS = ("question", "options", "correct", "why")
GATE_FIELDS = ("questions", "pass_mark", "tries")


class _Fields:
    """The fields of one item; what is wrong with them is added to the problems."""

    def __init__(self, item: str, value: Any, known: Sequence[str], problems: list[TrainingProblem]) -> None:
        self.item, self.problems = item, problems
        self.values: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping):
            self.complain("", f"is {_shown(value)}; it is an object with {', '.join(known)}.")
        for name in sorted(set(self.values) - set(known)):
            self.complain(_shown(name).strip("'"), f"is not known. There are: {', '.join(known)}.")

    def complain(self, field: str, what: str) -> None:
        self.problems.append(TrainingProblem(self.item, field, what))

    def text(self, name: str, limit: int, *, may_be_empty: bool = False) -> str:
        value = self.values.get(name, "")
        if not isinstance(value, str):
            self.complain(name, f"is {_shown(value)}; it is a text.")
            return ""
        text = value.replace("\r\n", "\n").strip()
        if not text and not may_be_empty:
            self.complain(name, "is empty.")
        self.check_storable(name, text, limit)
        return text

    def check_storable(self, name: str, text: str, limit: int) -> None:
        if len(text) > limit:
            self.complain(name, f"has {len(text):,} characters; {limit:,} fit.")
        if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self.complain(name, "holds a character that cannot be stored (NUL, or half of a broken one). Remove it.")

    def items(self, name: str, most: int) -> list[Any]:
        value = self.values.get(name, [])
        if not isinstance(value, list | tuple):
            self.complain(name, f"is {_shown(value)}; it is a list.")
            return []
        if len(value) > most:
            self.complain(name, f"has {len(value)} items; {most} fit.")
        return list(value)


def _shown(value: Any) -> str:
    """Return a value for a message, and not all of it where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _practice_pair(fields: _Fields) -> PracticePair:
    given = fields.values.get("answer", [])
    answers = [given] if isinstance(given, str) else given
    if not isinstance(answers, list | tuple) or not answers or any(one not in ANSWERS for one in answers):
        fields.complain("answer", f"is {_shown(given)}; it is one or more of: {', '.join(ANSWERS)}.")
        answers = []
    return PracticePair(
        prompt=fields.text("prompt", LONGEST_TEXT),
        response_a=fields.text("response_a", LONGEST_TEXT, may_be_empty=True),
        response_b=fields.text("response_b", LONGEST_TEXT, may_be_empty=True),
        answer=tuple(one for one in ANSWERS if one in answers),
        why=fields.text("why", LONGEST_TEXT),
    )


def _gate(value: Any, problems: list[TrainingProblem]) -> Gate | None:
    fields = _Fields("The gate", value, GATE_FIELDS, problems)
    questions = [
        _question(_Fields(f"Question {number}", one, QUESTION_FIELDS, problems))
        for number, one in enumerate(fields.items("questions", MOST_QUESTIONS), start=1)
    ]
    pass_mark, tries = fields.values.get("pass_mark", PASS_MARK), fields.values.get("tries", TWO_TRIES)
    if not _is_number(pass_mark) or not 0 < pass_mark <= 1:
        fields.complain("pass_mark", f"is {_shown(pass_mark)}; it is a share above 0 and up to 1, as in 0.8.")
    if not isinstance(tries, int) or isinstance(tries, bool) or tries not in TRIES:
        fields.complain("tries", f"are {_shown(tries)}; they are {TRIES[0]} to {TRIES[-1]}.")
    if problems or not questions:
        return None
    return Gate(tuple(questions), float(pass_mark), tries)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _question(fields: _Fields) -> Question:
    options = fields.items("options", OPTIONS[-1])
    texts = [one.strip() if isinstance(one, str) else "" for one in options]
    if len(texts) < OPTIONS[0]:
        fields.complain("options", f"are {len(texts)}; a question has {OPTIONS[0]} to {OPTIONS[-1]}.")
    if not all(texts) or len({text.casefold() for text in texts}) < len(texts):
        fields.complain("options", "are texts, none empty and none twice.")
    for text in texts:
        fields.check_storable("options", text, LONGEST_OPTION)
    given = fields.values.get("correct")
    several = isinstance(given, list | tuple)
    right: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not right or any(type(one) is not int or not 0 <= one < len(texts) for one in right):
        fields.complain(
            "correct", f"is {_shown(given)}; it is the number of an option from 0, or a list of such numbers."
        )
        right = []
    return Question(
        question=fields.text("question", LONGEST_QUESTION),
        options=tuple(texts),
        correct=frozenset(right),
        several=several,
        why=fields.text("why", LONGEST_TEXT, may_be_empty=True),
    )


# --- Storing --------------------------------------------------------------------------------------------------------


def set_training(project: Project, value: Any) -> Training:
    """Check and store a project's training; who passed the gate stays passed. Raises `TrainingInvalid`."""
    return change_training(project, lambda _stored: value)


def change_training(project: Project, change: Callable[[Training], Any], *, based_on: str | None = None) -> Training:
    """Store what `change` makes of the training there is. Locks the project.

    `based_on` is the key of what its author saw: another one raises `TrainingChanged`. Raises `TrainingInvalid`.
    """
    with transaction.atomic():
        locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        stored = training_of(locked)
        if based_on is not None and based_on != stored.key:
            raise TrainingChanged("Somebody changed this while you wrote. Nothing was stored; look again, then repeat.")
        training = read_training(change(stored))
        locked.training = training.value()
        locked.save(update_fields=["training"])
    project.training = locked.training
    return training
