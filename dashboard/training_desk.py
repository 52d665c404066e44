"""The page on which a manager edits practice and gate: a form an item, of which one is sent at a time."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from django.http import HttpRequest

from annotation.errors import TrainingChanged, TrainingInvalid, TrainingProblem
from annotation.learning import Stage, stage_of
from annotation.models import Origin, Project, Rater, RaterKind
from annotation.training import Gate, Training, change_training, training_of
from dashboard.training_forms import GateSettingsForm, PracticePairForm, QuestionForm, TrainingFileForm

PRACTICE, QUESTIONS, GATE, WHOLE = "practice", "questions", "gate", "whole"
MOVES = {"up": -1, "down": 1}


class ItemForm(Protocol):
    """A form of one item."""

    def is_valid(self) -> bool:
        """Say whether it can be stored."""

    def value(self) -> Any:
        """Return the item as JSON."""


class Item(NamedTuple):
    """One item with its form; number None is the one to add."""

    part: str
    number: int | None
    title: str
    note: str
    form: Any
    is_first: bool = False
    is_last: bool = False

    @property
    def is_open(self) -> bool:
        """Say whether the form was sent and refused, so that it must be in sight."""
        return bool(self.form.is_bound)


class Figures(NamedTuple):
    """How many people are at each stage, and how many tries those took who passed."""

    stages: dict[str, int]
    tries: dict[int, int]

    @property
    def people(self) -> int:
        """Return how many people have come."""
        return sum(self.stages.values())


class Desk:
    """What is stored, what was sent, and what is wrong with it."""

    def __init__(self, project: Project, request: HttpRequest) -> None:
        self.project, self.training = project, training_of(project)
        self.sent = request.POST if request.method == "POST" else None
        self.files = request.FILES
        self.part, self.act = (self.sent.get(name, "") if self.sent else "" for name in ("part", "act"))
        number = self.sent.get("item", "") if self.sent else ""
        self.number = int(number) if number.isascii() and number.isdigit() else None
        self.problems: tuple[TrainingProblem, ...] = ()
        self.error = ""
        self.forms = self._forms()

    # --- Storing

    def save(self) -> bool:
        """Store what was sent; on a refusal say no and keep why."""
        change = self._change()
        if change is None or self.sent is None:
            return False
        try:
            self.training = change_training(self.project, change, based_on=self.sent.get("key", ""))
        except TrainingInvalid as error:
            self.problems = error.problems
        except TrainingChanged as error:
            self.error = str(error)
        return not (self.problems or self.error)

    def _change(self) -> Callable[[Training], Any] | None:
        """Return what to do to the stored training, or None where the form that was sent does not hold."""
        if self.act in ("remove", *MOVES):
            return lambda stored: _rearranged(stored, self.part, self.number, self.act)
        form = self.forms.get((self.part, self.number))
        if form is None or not form.is_valid():
            return None
        value = form.value()
        return lambda stored: _with_item(stored, self.part, self.number, value)

    # --- Showing

    def _forms(self) -> dict[tuple[str, int | None], Any]:
        gate = self.training.gate or Gate(())
        forms: dict[tuple[str, int | None], Any] = {}
        for number, pair in enumerate(self.training.practice):
            forms[PRACTICE, number] = self._form(PracticePairForm, PRACTICE, number, PracticePairForm.initial_of(pair))
        for number, question in enumerate(gate.questions):
            forms[QUESTIONS, number] = self._form(QuestionForm, QUESTIONS, number, QuestionForm.initial_of(question))
        forms[PRACTICE, None] = self._form(PracticePairForm, PRACTICE, None, {})
        forms[QUESTIONS, None] = self._form(QuestionForm, QUESTIONS, None, {})
        forms[GATE, None] = self._form(GateSettingsForm, GATE, None, GateSettingsForm.initial_of(gate))
        forms[WHOLE, None] = self._form(TrainingFileForm, WHOLE, None, {"text": self._whole()})
        return forms

    def _form(self, kind: Any, part: str, number: int | None, initial: dict[str, Any]) -> Any:
        is_sent = self.sent is not None and (self.part, self.number) == (part, number) and self.act == "store"
        prefix = f"{part}{'-new' if number is None else f'-{number}'}"
        return kind(self.sent if is_sent else None, self.files if is_sent else None, initial=initial, prefix=prefix)

    def _whole(self) -> str:
        stored = self.training.value()
        return json.dumps(stored, ensure_ascii=False, indent=2) if stored else ""

    def items(self, part: str) -> list[Item]:
        """Return the stored items of a part with their forms."""
        questions = self.training.gate.questions if self.training.gate else ()
        titles = (
            [(pair.prompt, ", ".join(pair.answer)) for pair in self.training.practice]
            if part == PRACTICE
            else [(question.question, f"{len(question.options)} options") for question in questions]
        )
        last = len(titles) - 1
        return [
            Item(part, number, title, note, self.forms[part, number], number == 0, number == last)
            for number, (title, note) in enumerate(titles)
        ]

    def context(self) -> dict[str, Any]:
        """Return what the page shows."""
        return {
            "key": self.training.key,
            "practice": self.items(PRACTICE),
            "new_practice": Item(PRACTICE, None, "Add a practice pair", "", self.forms[PRACTICE, None]),
            "questions": self.items(QUESTIONS),
            "new_question": Item(QUESTIONS, None, "Add a question", "", self.forms[QUESTIONS, None]),
            "gate": self.training.gate,
            "gate_form": self.forms[GATE, None],
            "whole_form": self.forms[WHOLE, None],
            "problems": self.problems,
            "error": self.error,
            "figures": figures_of(self.project),
        }


def _lists(stored: Training) -> dict[str, Any]:
    """Return a training as JSON with every list in its place."""
    gate = (stored.gate or Gate(())).value()
    return {"practice": stored.value().get("practice", []), "gate": gate}


def _with_item(stored: Training, part: str, number: int | None, value: Any) -> Any:
    if part == WHOLE:
        return value
    changed = _lists(stored)
    if part == GATE:
        changed["gate"] |= value
        return changed
    items = changed["practice"] if part == PRACTICE else changed["gate"]["questions"]
    if number is None:
        items.append(value)
    else:
        items[number] = value
    return changed


def _rearranged(stored: Training, part: str, number: int | None, act: str) -> Any:
    changed = _lists(stored)
    items = changed["practice"] if part == PRACTICE else changed["gate"]["questions"]
    if number is None or number >= len(items):
        return changed
    item = items.pop(number)
    if act in MOVES:
        items.insert(max(0, number + MOVES[act]), item)
    return changed


def figures_of(project: Project) -> Figures:
    """Return where the people of a project are; one query."""
    people = Rater.objects.filter(project=project, kind=RaterKind.PERSON, user__isnull=False)
    stages = {stage.value: 0 for stage in Stage}
    tries: dict[int, int] = {}
    for rater in people.exclude(origin=Origin.SIMULATED):
        stages[stage_of(project, rater)] += 1
        if rater.gate_passed_at is not None:
            tries[rater.gate_tries] = tries.get(rater.gate_tries, 0) + 1
    return Figures(stages, dict(sorted(tries.items())))
