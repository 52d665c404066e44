"""The way by which a simulated crowd comes in: a study of its own, whose people are marked before anybody arrives.

Who arrives from a platform is who the platform's id says. The ids of a simulated crowd belong to raters of the origin
"simulated" that were stored first, in one transaction with the study; so there is no moment at which an answer of
theirs could count as a person's.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from django.db import transaction

from annotation.crowd.studies import set_state, set_up_study
from annotation.errors import AnnotationError
from annotation.models import (
    Assignment,
    CrowdStudy,
    Guest,
    Membership,
    Origin,
    Platform,
    Project,
    Rater,
    RaterKind,
    Role,
    Submission,
)
from annotation.opening import SLATES
from annotation.simulating.people import Habits, Person, described
from annotation.skilling import known_skills, set_skills

PERSON_PARAMETER, VISIT_PARAMETER = "participantId", "visitId"


class CannotSimulate(AnnotationError):
    """A crowd is not let at a project; the text says why and what to do."""


class Registered(NamedTuple):
    """The study a crowd comes by, its raters by their persons' names, and whether it was here before."""

    study: CrowdStudy
    raters: dict[str, Rater]
    resumes: bool


def require_no_live_people(project: Project) -> None:
    """Raise `CannotSimulate` where people work: simulated answers would take their pairs and stand among theirs."""
    at_work = Assignment.objects.filter(task__project=project, rater__origin=Origin.LIVE)
    members = Membership.objects.filter(project=project).exclude(role=Role.MANAGER)
    guests = Guest.objects.filter(project=project, rater__origin=Origin.LIVE)
    numbers = {
        "people with pairs or answers": at_work.values("rater").distinct().count(),
        "members who answer": members.count(),
        "guests from a platform": guests.count(),
    }
    if found := [f"{what}: {number}" for what, number in numbers.items() if number]:
        raise CannotSimulate(
            f"{project} has live people ({'; '.join(found)}). A simulated crowd would take their pairs and answer among"
            " them. Make a project for it from the same file, or say --beside-people if that is what you want."
        )


def register(
    project: Project, people: Sequence[Person], habits: Habits, *, seed: int, answers_a_visit: int
) -> Registered:
    """Return the open study that a crowd comes by, made with its raters on the first run of the seed.

    Raises `CannotSimulate` where the seed was used for another crowd, or a name is somebody else's.
    """
    if project.template in SLATES:
        raise CannotSimulate(f"{project} asks for orders of several responses; simulated people only choose of two.")
    if len({person.name for person in people}) < len(people):
        raise CannotSimulate("Two simulated people have the same name; each needs their own.")
    name = f"Simulated crowd, seed {seed}"
    external_id = "simulated-" + _digest(project, people, habits, seed, answers_a_visit)
    languages, domains = known_skills(project)
    with transaction.atomic():
        raters = {person.name: _rater(project, person) for person in people}
        for rater in raters.values():
            # They read whatever there is: nobody's skills are part of a simulation.
            set_skills(rater, languages=languages, domains=domains)
        study = CrowdStudy.objects.filter(project=project, name=name).first()
        if study is not None and study.external_id != external_id:
            raise CannotSimulate(
                f"Seed {seed} was used in {project} for another crowd. Give the options it was made with to go on with"
                " it, or another --seed for this one."
            )
        resumes = study is not None
        if study is None:
            study = set_up_study(
                project,
                platform=Platform.GENERIC,
                name=name,
                answers_wanted=answers_a_visit,
                external_id=external_id,
                generic={"id_parameter": PERSON_PARAMETER, "visit_parameter": VISIT_PARAMETER},
            )
    set_state(study, CrowdStudy.State.OPEN)
    return Registered(study, raters, resumes)


def strangers(study: CrowdStudy) -> int:
    """Return how many came by a crowd's study, or answered as one of it, who are not marked as simulated."""
    return Submission.objects.filter(study=study).exclude(guest__rater__origin=Origin.SIMULATED).count()


def require_marked(study: CrowdStudy, person: Person, visit_id: str) -> None:
    """Raise `CannotSimulate` unless an arrival is stored in this database, as that of a rater marked as simulated."""
    here = Submission.objects.filter(study=study, external_id=visit_id)
    if not here.filter(guest__rater__origin=Origin.SIMULATED, guest__external_id=id_of(person)).exists():
        raise CannotSimulate(
            "The server let somebody in who is not in this database. Simulated people would not be marked there, so"
            " nothing was answered. Give the command the server's own DATABASE_URL."
        )


def id_of(person: Person) -> str:
    """Return the id by which the platform would know somebody."""
    return f"simulated-{person.name}"


def _rater(project: Project, person: Person) -> Rater:
    name = f"simulated: {person.name}"
    rater, _ = Rater.objects.get_or_create(
        project=project, kind=RaterKind.PERSON, name=name, defaults={"origin": Origin.SIMULATED}
    )
    if rater.origin != Origin.SIMULATED:
        raise CannotSimulate(f"{project} already has a person named {name!r} who is not simulated.")
    guest, _ = Guest.objects.get_or_create(
        project=project, platform=Platform.GENERIC, external_id=id_of(person), defaults={"rater": rater}
    )
    if guest.rater_id != rater.pk:
        raise CannotSimulate(f"{id_of(person)} is somebody else in {project}; take another --seed.")
    return rater


def _digest(project: Project, people: Sequence[Person], habits: Habits, seed: int, answers_a_visit: int) -> str:
    crowd = [str(project.pk), seed, answers_a_visit, described(people, habits)]
    return hashlib.sha256(json.dumps(crowd, sort_keys=True).encode()).hexdigest()[:40]
