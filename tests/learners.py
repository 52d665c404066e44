"""A project with guidelines, practice and a gate, as tests of learning begin with."""

from typing import Any

from annotation.creating import create_project
from annotation.models import Membership, Project, Role, User
from tests.builders import make_user

GUIDELINES = """# What counts

Prefer what is **correct**. Where both are correct, prefer the shorter one.

## Ties

A tie is for answers between which you really see no difference.

## Harm

Pass a pair on that you would rather not read."""

PRACTICE: list[dict[str, Any]] = [
    {
        "prompt": "What is 2 + 2?",
        "response_a": "It is 4.",
        "response_b": "It is 5, of course.",
        "answer": "a",
        "why": "Only A is *correct*.",
    },
    {
        "prompt": "Name a colour.",
        "response_a": "Red.",
        "response_b": "Blue.",
        "answer": ["tie", "both_bad"],
        "why": "There is no difference to see.",
    },
]
QUESTIONS: list[dict[str, Any]] = [
    {
        "question": "Both answers are correct. Which one is better?",
        "options": ["The longer one", "The shorter one", "Neither"],
        "correct": 1,
        "why": "Where both are correct the shorter one wins.",
    },
    {
        "question": "When may you pass a pair on?",
        "options": ["When I would rather not read it", "When it is long", "When I lack the knowledge"],
        "correct": [0, 2],
        "why": "Length is no reason.",
    },
]
TRAINING: dict[str, Any] = {"practice": PRACTICE, "gate": {"questions": QUESTIONS, "pass_mark": 1.0, "tries": 2}}
RIGHT, WRONG = [[1], [0, 2]], [[0], [0, 2]]


def make_course(**settings: Any) -> Project:
    """Return a project that people learn before they work in it; ada manages, ben and cyd annotate, eve is outside."""
    values = {"guidelines": GUIDELINES, "training": TRAINING, **settings}
    people = {
        name: User.objects.filter(username=name).first() or make_user(name) for name in ("ada", "ben", "cyd", "eve")
    }
    project = create_project(slug="helpfulness", title="Helpfulness study", manager=people["ada"], **values)
    for name in ("ben", "cyd"):
        Membership.objects.create(project=project, user=people[name], role=Role.ANNOTATOR)
    return project


def changed(**parts: Any) -> dict[str, Any]:
    """Return the training with other parts."""
    return {**TRAINING, **parts}
