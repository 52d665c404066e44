"""Replays on the manager's pages: asked for, followed, stopped, read."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from annotation.models import Project
from dashboard.signal_names import NAMES, signal_name
from dashboard.waiting import waiting_work
from routing.models import Study, StudyState
from routing.signals.wording import SIGNALS
from routing.studies import studying
from routing.studies.studying import DEAD_AFTER, work_study
from tests.builders import make_project
from tests.replayable import add_judge_with_few_labels, make_replayable

pytestmark = pytest.mark.either_database

HERE = "/projects/helpfulness/routing/replays/"
WANTED = {"judge": "gpt", "budgets": "25, 10 %", "repeats": 2, "guarantee": "on", "seed": 4}


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studying, "wake", lambda tasks, payload: True)


@pytest.fixture
def project(db: None) -> Project:
    """Return a project whose judge has enough labels for a replay."""
    return make_replayable()


def page_of(study: Study) -> str:
    return f"{HERE}{study.pk}/"


@pytest.fixture(scope="module")
def finished_result(django_db_setup: None, django_db_blocker: Any) -> dict[str, Any]:
    """Return what one finished replay found; its database is forgotten, its figures serve several pages."""
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():
        project = make_replayable("elsewhere")
        options = {"budgets": [0.1, 0.25], "repeats": 1, "guarantee": True, "proxy": True}
        study = studying.queue_study(project, "replay", judge_name="gpt", options=options, seed=4)
        done = work_study(study.pk)
        assert done is not None
        result: dict[str, Any] = done.result
        transaction.set_rollback(True)
    return result


@pytest.fixture
def done(project: Project, finished_result: dict[str, Any]) -> Study:
    """Return a finished replay."""
    return Study.objects.create(
        project=project, kind="replay", judge_name="gpt", state=StudyState.DONE, result=finished_result, seed=4
    )


def test_manager_asks_for_a_replay_and_is_led_to_it(ada: Client, project: Project) -> None:
    response = ada.post(HERE, WANTED)
    study = Study.objects.get()
    assert response["Location"] == page_of(study)
    assert study.options == {"budgets": [0.1, 0.25], "repeats": 2, "proxy": False, "guarantee": True}
    assert (study.seed, study.judge_name, str(study.created_by)) == (4, "gpt", "ada")
    page = ada.get(page_of(study)).text
    assert "Waiting for a worker" in page
    assert "a worker takes it in its turn" in page
    assert f'hx-get="/projects/helpfulness/routing/studies/{study.pk}/"' in page


def test_page_of_a_finished_replay_says_what_it_found(ada: Client, done: Study) -> None:
    page = " ".join(ada.get(page_of(done)).text.split())
    result, row = done.result, done.result["budgets"][1]
    assert "Routing helps here" in page
    assert f"{100 * row['agreement']['learned']:.1f} <span" in page
    gain = row["learned_minus_random"]
    assert f"+{100 * gain['low']:.1f} to +{100 * gain['high']:.1f}" in page
    assert "Changed its answer with the order" in page, "signals are named in words"
    assert f"{result['auroc']['learned']:.3f}" in page
    assert "Would the guarantee have held?" in page
    assert "What the labels are worth to a model" in page
    assert "Left out: 0 pairs without the judge&#x27;s label" in page or "Left out: 0 pairs without the judge's" in page
    assert "hx-get" not in page


def test_replay_that_gains_nothing_says_so(ada: Client, done: Study) -> None:
    row = done.result["budgets"][1]
    row["learned_minus_random"] = {"mean": 0.001, "low": -0.02, "high": 0.02}
    done.save()
    page = " ".join(ada.get(page_of(done)).text.split())
    assert "Routing does not clearly help here" in page
    assert "+0.1 <span" in page
    assert "\N{MINUS SIGN}2.0 to +2.0" in page


def test_charts_of_a_replay_are_images_with_their_numbers_below(ada: Client, done: Study) -> None:
    page = ada.get(page_of(done)).text
    assert page.count("<figure") == 2
    for name in ("replay", "doubt"):
        address = f"/projects/helpfulness/charts/{name}-light-narrow.svg?study={done.pk}"
        response = ada.get(address)
        assert response.status_code == 200
        assert response.content.startswith(b"<svg")
        assert f"{name}-light-narrow.svg" in page
    assert ada.get("/projects/helpfulness/charts/replay-light-narrow.svg").status_code == 404


def test_figures_are_downloaded_as_the_command_prints_them(ada: Client, done: Study) -> None:
    response = ada.get(f"{page_of(done)}replay.json")
    assert json.loads(response.text) == done.result
    assert response["Content-Disposition"] == 'attachment; filename="replay-helpfulness-gpt.json"'


def test_list_shows_each_replay_with_its_headline(ada: Client, done: Study) -> None:
    page = ada.get(HERE).text
    assert f'href="{page_of(done)}"' in page
    assert f"{done.result['auroc']['learned']:.3f}" in page


def test_running_replay_is_followed_stopped_and_resumed(ada: Client, project: Project) -> None:
    now = timezone.now()
    study = Study.objects.create(
        project=project,
        kind="replay",
        judge_name="gpt",
        state=StudyState.RUNNING,
        done_steps=5,
        total_steps=20,
        checkpoint={"seconds_a_step": 8.0},
        started_at=now,
        heartbeat_at=now,
    )
    address = f"/projects/helpfulness/routing/studies/{study.pk}/"
    polled = ada.get(address, headers={"HX-Request": "true"})
    assert "5 of 20 repeats" in polled.text
    assert "about 2 min left" in polled.text
    assert "HX-Refresh" not in polled
    assert ada.get(address)["Location"] == page_of(study), "without scripts it leads to the page"
    assert ada.post(f"{address}stop/")["Location"] == page_of(study)
    assert "stops at the next repeat" in ada.get(page_of(study)).text
    Study.objects.update(state=StudyState.STOPPED)
    assert ada.get(address, headers={"HX-Request": "true"})["HX-Refresh"] == "true"
    assert "The 5 repeats it finished are kept." in ada.get(page_of(study)).text
    ada.post(f"{address}resume/")
    study.refresh_from_db()
    assert (study.state, study.stop_requested) == (StudyState.QUEUED, False)
    assert ada.post(f"{address}dance/").status_code == 404


def test_failed_replay_says_why_and_can_be_tried_again(ada: Client, project: Project) -> None:
    study = Study.objects.create(
        project=project, kind="replay", judge_name="gpt", state=StudyState.FAILED, error="too few labels (7 of 100)"
    )
    page = ada.get(page_of(study)).text
    assert "too few labels (7 of 100)" in page
    assert "Try again" in page


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("budgets", "a lot", "Write percentages above 0 and up to 100"),
        ("budgets", "0, 25", "Write percentages above 0 and up to 100"),
        ("budgets", "nan", "Write percentages above 0 and up to 100"),
        ("repeats", "1000", "less than or equal to 100"),
        ("judge", "nobody", "Select a valid choice"),
        ("seed", "-1", "greater than or equal to 0"),
    ],
)
def test_bad_input_is_answered_at_its_field(ada: Client, project: Project, field: str, value: str, said: str) -> None:
    response = ada.post(HERE, {**WANTED, field: value})
    assert response.status_code == 422
    assert said in response.text
    assert not Study.objects.exists()


def test_every_signal_has_a_name_in_words() -> None:
    assert sorted(set(SIGNALS) - set(NAMES)) == []
    assert signal_name("differs from gpt-4") == "Differs from gpt-4"
    assert signal_name("category writing") == "The prompt's category is writing"


def test_judges_with_too_few_labels_are_listed_with_what_is_missing(ada: Client, project: Project) -> None:
    add_judge_with_few_labels(project)
    page = ada.get(HERE).text
    assert "gpt (100 pairs)" in page
    assert "Too few labels (7 of 100 pairs answered by both)." in page
    assert "rare (7 pairs)" not in page


def test_project_without_judges_is_told_to_add_one(ada: Client, project: Project) -> None:
    from annotation.models import Membership, User

    empty = make_project("empty", with_people=False)
    Membership.objects.create(project=empty, user=User.objects.get(username="ada"), role="manager")
    page = ada.get("/projects/empty/routing/replays/").text
    assert "No judge yet" in page
    assert 'href="/projects/empty/judges/"' in page


def test_replays_of_others_are_not_found(eve: Client, ben: Client, done: Study) -> None:
    for browser in (eve, ben):
        assert browser.get(page_of(done)).status_code == 404
        assert browser.get(f"{page_of(done)}replay.json").status_code == 404
        assert browser.post(f"/projects/helpfulness/routing/studies/{done.pk}/stop/").status_code == 404


def test_replay_that_no_worker_takes_is_said_on_every_page(project: Project) -> None:
    now = timezone.now()
    study = Study.objects.create(project=project, kind="replay", judge_name="gpt", heartbeat_at=now)
    assert waiting_work(project, now=now + timedelta(seconds=59)) == []
    late = now + timedelta(seconds=61)
    assert [work.what for work in waiting_work(project, now=late)] == ["the replay of gpt"]
    Study.objects.create(project=project, kind="mixes", state=StudyState.RUNNING, heartbeat_at=now)
    assert waiting_work(project, now=late) == [], "its turn comes after the one under way"
    assert len(waiting_work(project, now=now + 2 * DEAD_AFTER)) == 1
    Study.objects.filter(pk=study.pk).update(state=StudyState.STOPPED)
    assert waiting_work(project, now=now + 2 * DEAD_AFTER) == []
