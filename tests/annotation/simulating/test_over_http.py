"""The simulated crowd over real HTTP: at a server of its own, and at one that runs already, several at once."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from annotation.checking import check_invariants
from annotation.models import Assignment, Origin, Preference, Rater
from annotation.simulating.behaving import answer_of
from annotation.simulating.knowing import Knowledge
from annotation.simulating.people import Habits, Mix, draw_people
from tests.annotation.simulating.test_simulating import sample

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quiet(settings: Any, tmp_path: Path) -> None:
    settings.OUTBOX_CONSUMERS = {}
    # The command collects the style sheets of the pages that it serves; here none are.
    settings.STATICFILES_DIRS = []
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATIC_ROOT = tmp_path


def run_command(*options: str) -> dict[str, Any]:
    out = StringIO()
    call_command("simulate_crowd", "study", "--json", *options, stdout=out)
    said: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return said


def assert_meant(mix: Mix, seed: int, habits: Habits = Habits()) -> None:  # noqa: B008 (frozen)
    """Assert that every stored answer is what its person would say of the pair, by the seed alone."""
    people = {f"simulated: {person.name}": person for person in draw_people(mix, seed=seed)}
    answered = Assignment.objects.answered().select_related("rater", "preference", "task__project")
    assert answered
    for row in answered:
        item = Knowledge(row.task.project, seed=seed).of(row.task.pair_id).item
        meant = answer_of(people[row.rater.name], item, type(item.better)(row.shown_order[0]), habits, seed=seed)
        assert row.preference is not None
        assert row.preference.choice == meant


def test_the_command_serves_the_application_itself() -> None:
    sample(pairs=5, gold=5, standards={"gold_percent": 25.0})
    said = run_command("--people", "4", "--bad", "0.5", "--rate", "30", "--seed", "2")
    assert said["faults"] == []
    assert (said["votes"], said["pairs_done"], said["truth"]) == (10, 5, {"planted": 5})
    assert said["answers"] == Preference.objects.count() == said["votes"] + said["gold"] + said["extras"]
    assert {kind["kind"]: kind["people"] for kind in said["kinds"]} == {"careful": 2, "clicker": 1, "one-sided": 1}
    assert set(Rater.objects.values_list("origin", flat=True)) == {Origin.SIMULATED}
    assert_meant(Mix(people=4, bad_share=0.5, rate_per_hour=30), 2)
    # The same again finds nothing to do.
    again = run_command("--people", "4", "--bad", "0.5", "--rate", "30", "--seed", "2")
    assert (again["resumed"], again["answers"], again["run"]) == (
        True,
        said["answers"],
        {"not needed": again["run"]["not needed"]},
    )


def test_several_at_once_at_a_running_server_break_nothing(live_server: LiveServer) -> None:
    project = sample(pairs=8, votes=3)
    habits = ("--habit", "doubles=0.3", "--habit", "leaves=0.1", "--habit", "lapses=0.1", "--habit", "comes_back=1")
    said = run_command("--people", "5", "--url", live_server.url, "--at-once", "4", *habits)
    assert said["faults"] == []
    assert (said["votes"], said["pairs_open"]) == (24, 0)
    assert said["run"]["sent twice"] > 0
    assert said["answers"] == Preference.objects.count() == Assignment.objects.answered().count()
    assert [check.name for check in check_invariants(project, now=timezone.now()) if check.broken] == []
    assert_meant(Mix(people=5), 0)


def test_a_speed_is_kept_and_its_note_left_out_at_real_time(live_server: LiveServer) -> None:
    sample(pairs=1, votes=1)
    fast = ("--habit", "deciding_seconds=1", "--habit", "time_spread=0", "--habit", "characters_a_second=100000")
    stay = ("--habit", "leaves=0", "--habit", "lapses=0", "--habit", "doubles=0", "--habit", "comes_back=0")
    said = run_command("--people", "1", "--url", live_server.url, "--speed", "1", *fast, *stay)
    assert (said["answers"], said["note"]) == (1, "")
    assert said["real_seconds"] >= said["hours"] * 3600 > 0
    # At real speed the server takes the seconds that the browser sent, up to those since it handed the pair out: less
    # what arriving took.
    seconds = Preference.objects.get().seconds
    assert seconds is not None
    assert 0.3 < seconds < said["hours"] * 3600 + 0.011
