"""Builders of rows with overrides, and the four fixed people.

Ada manages, Ben and Cyd annotate, Eve is outside.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from annotation.gilding import read_answer, set_gold
from annotation.models import (
    Assignment,
    Choice,
    Gold,
    GoldSource,
    Membership,
    Origin,
    Pair,
    Preference,
    Project,
    Prompt,
    Rater,
    RaterKind,
    Response,
    Role,
    Task,
    Tier,
    User,
)
from annotation.models.pairs import content_hash
from annotation.money.booking import book_answer
from annotation.pricing import pay_for

_counter = itertools.count(1)


def make_user(username: str, **overrides: Any) -> User:
    """Return a user whose password is `<username>-password`."""
    user = User(username=username, **overrides)
    user.set_password(f"{username}-password")
    user.save()
    return user


def make_project(slug: str = "helpfulness", *, with_people: bool = True, **overrides: Any) -> Project:
    """Return a project with ada as manager, ben and cyd as annotators; eve exists but is outside."""
    project = Project.objects.create(**{"slug": slug, "title": "Helpfulness study", **overrides})
    if with_people:
        for username, role in (("ada", Role.MANAGER), ("ben", Role.ANNOTATOR), ("cyd", Role.ANNOTATOR)):
            user = User.objects.filter(username=username).first() or make_user(username)
            Membership.objects.create(project=project, user=user, role=role)
        if not User.objects.filter(username="eve").exists():
            make_user("eve")
    return project


def make_prompt(project: Project, text: str | None = None, **overrides: Any) -> Prompt:
    """Return a prompt of one user message."""
    messages = overrides.pop("messages", None) or [
        {"role": "user", "content": text if text is not None else f"Question {next(_counter)}?"}
    ]
    digest = content_hash(messages)
    values = {"messages": messages, "content_hash": digest, "group": digest, "language": "en", **overrides}
    return Prompt.objects.create(project=project, **values)


def make_response(prompt: Prompt, text: str, model: str = "") -> Response:
    """Return a response of one assistant message."""
    messages = [{"role": "assistant", "content": text}]
    response, _ = Response.objects.get_or_create(
        prompt=prompt, content_hash=content_hash(messages), model=model, defaults={"messages": messages}
    )
    return response


def make_pair(
    project: Project,
    *,
    prompt: Prompt | str | None = None,
    response_a: str | None = None,
    response_b: str | None = None,
    model_a: str = "model-one",
    model_b: str = "model-two",
    **overrides: Any,
) -> Pair:
    """Return a pair with texts of its own where none are given."""
    number = next(_counter)
    if not isinstance(prompt, Prompt):
        prompt = make_prompt(project, prompt)
    return Pair.objects.create(
        **{
            "project": project,
            "prompt": prompt,
            "response_a": make_response(
                prompt, response_a if response_a is not None else f"Answer {number} a", model_a
            ),
            "response_b": make_response(
                prompt, response_b if response_b is not None else f"Answer {number} b", model_b
            ),
            "external_id": f"pair-{number}",
            **overrides,
        }
    )


def make_person(project: Project, username: str = "ben", **overrides: Any) -> Rater:
    """Return the rater that stands for a user in a project."""
    user = User.objects.filter(username=username).first() or make_user(username)
    rater, _ = Rater.objects.get_or_create(
        project=project, user=user, defaults={"kind": RaterKind.PERSON, "name": username, **overrides}
    )
    return rater


def make_answer(pair: Pair, rater: Rater | str = "ben", choice: str = Choice.A, **overrides: Any) -> Assignment:
    """Return an answer given here: its preference, with the finished assignment, its pay and the task it came by.

    With `repeats` (an assignment) it is the hidden repeat of that one; with `is_extra` it came too late.
    """
    if isinstance(rater, str):
        rater = make_person(pair.project, rater)
    repeats: Assignment | None = overrides.pop("repeats", None)
    shown_order = overrides.pop("shown_order", "ab")
    standing = {} if repeats is None else {"repeats": repeats.preference, "is_current": False}
    preference = make_preference(pair, rater, choice, shown_order=shown_order, **standing, **overrides)
    asked = {"project": pair.project, "votes_wanted": 1, "state": "done"}
    task, _ = Task.objects.get_or_create(pair=pair, tier="crowd", defaults=asked)
    counts = repeats is None and not preference.is_extra
    if counts:
        task.taken = task.answered = task.next_slot = task.taken + 1
        task.votes_wanted = max(task.votes_wanted, task.taken)
        task.save()
    assignment = Assignment.objects.create(
        task=task,
        rater=rater,
        state="extra" if preference.is_extra else "submitted",
        slot=task.next_slot - 1 if counts else None,
        shown_order=shown_order,
        repeats=repeats,
        preference=preference,
        promised_usd=pay_for(pair.project, rater, Tier.CROWD),
        leased_at=preference.created_at,
        lease_until=preference.created_at,
        finished_at=preference.created_at,
    )
    book_answer(assignment, now=preference.created_at)
    return assignment


def make_preference(pair: Pair, rater: Rater | str, choice: str = Choice.A, **overrides: Any) -> Preference:
    """Return a rater's answer on a pair; a rater given by name is a recorded person."""
    if isinstance(rater, str):
        rater, _ = Rater.objects.get_or_create(
            project=pair.project, kind=RaterKind.PERSON, name=rater, defaults={"origin": Origin.RECORDED}
        )
    return Preference.objects.create(pair=pair, rater=rater, choice=choice, **overrides)


def make_gold(project: Project, accepted: Sequence[str] = ("a",), *, kind: str = "known", **overrides: Any) -> Gold:
    """Return a pair of its own, set as gold."""
    return set_gold(make_pair(project, **overrides), read_answer(accepted, kind), source=GoldSource.MANAGER)
