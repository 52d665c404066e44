"""How many assignment cycles (next, submit) a second, as a share of the bare inserts the same database does.

Runs in a test database of the configured server (DATABASE_URL), which is made and thrown away. A cycle writes an
assignment, a preference, an event and two counters; the floor is a transaction that inserts one preference.
"""

# ruff: noqa: E402 (Django is set up before its models are imported)

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.conf import settings
from django.db import connection, transaction

from annotation.assigning import Answer, Opening, next_assignment, open_tasks, submit
from annotation.models import Membership, Preference, Project, Rater, Role
from tests.builders import make_pair, make_person, make_project

PAIRS, PEOPLE = 200, 3
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def per_second(work: Callable[[], int]) -> float:
    """Return how many units a second the work does; it returns how many it did."""
    started = time.perf_counter()
    units = work()
    return units / (time.perf_counter() - started)


def insert_preferences(project: Project, raters: list[Rater]) -> int:
    """Store an answer of every person on every pair, a transaction each, with nothing around it."""
    pairs = list(project.pairs.all())
    for pair in pairs:
        for rater in raters:
            with transaction.atomic():
                Preference.objects.create(pair=pair, rater=rater, choice="a")
    return len(pairs) * len(raters)


def cycle(project: Project, raters: list[Rater]) -> int:
    """Let every person answer every pair through the assignment code."""
    cycles = 0
    for rater in raters:
        while (assignment := next_assignment(project, rater, now=NOW).assignment) is not None:
            submit(assignment.id, rater, Answer("a"), now=NOW)
            cycles += 1
    return cycles


def people_of(project: Project) -> list[Rater]:
    """Return members of a project who may answer."""
    raters = [make_person(project, f"person{number}") for number in range(PEOPLE)]
    Membership.objects.bulk_create(
        Membership(project=project, user=rater.user, role=Role.ANNOTATOR) for rater in raters if rater.user
    )
    return raters


def main() -> None:
    """Measure the floor and the cycles in one run and print both with their ratio."""
    settings.OUTBOX_CONSUMERS = {}
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        floor_project = make_project("floor", with_people=False)
        project = make_project("cycles", with_people=False)
        for _ in range(PAIRS):
            make_pair(floor_project)
        open_tasks(project, [Opening(make_pair(project).id) for _ in range(PAIRS)], votes_wanted=PEOPLE)
        floor_people, people = people_of(floor_project), people_of(project)
        floor = per_second(lambda: insert_preferences(floor_project, floor_people))
        cycles = per_second(lambda: cycle(project, people))
    finally:
        connection.creation.destroy_test_db(settings.DATABASES["default"]["NAME"], verbosity=0)
    print(f"{connection.vendor}: {cycles:.0f} cycles/s, {floor:.0f} bare inserts/s, ratio {cycles / floor:.3f}")
    result = {"database": connection.vendor, "cycles_per_s": cycles, "inserts_per_s": floor, "ratio": cycles / floor}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
