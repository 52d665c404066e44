"""Every address of the manager's pages, asked by everybody."""

import uuid

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.configuring import ScreenFile
from annotation.crowd.studies import set_up_study
from annotation.models import Import, Pair, Project, Task, User
from annotation.money.drawing import draw_up
from dashboard.previewing import pack, preview_of
from dashboard.urls import urlpatterns
from exports.models import Publication, Snapshot
from judges.models import JudgeRun, JudgeVersion
from routing.models import Study
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_answer, make_gold, make_person

pytestmark = pytest.mark.either_database

OPEN = {"home", "second_step", "new_project", "livez", "readyz", "preview_note", "preview_note_of", "shared_file"}
POST_ONLY = {
    "set_status",
    "resolve",
    "steer_run",
    "apply_plan",
    "steer_study",
    "check_drift",
    "replan",
    "probe_judge",
    "forecast_judge",
    "test_judge",
    "calibrate_judge",
    "explain_judge",
    "start_tags",
    "fetch_embeddings",
    "another_try",
    "steer_person",
    "revoke_gold",
    "gild_pair",
    "set_aside",
    "pause_person",
    "resume_person",
    "steer_task",
    "change_rate",
    "change_rules",
    "add_pay",
    "draw_payment",
    "steer_payment",
    "share_export",
    "delete_export",
    "publish_again",
}
# Of an adjudicator, whom a manager is not.
ADJUDICATORS = {"looks", "decide"}
# Posts that say something wrong with nothing in them.
NEEDS_FORM = {"change_rate", "add_pay", "draw_payment", "share_export"}


@pytest.fixture
def addresses(project: Project, length: JudgeVersion, pairs: list[Pair]) -> dict[str, str]:
    """Return every address below a project, each naming a row that exists."""
    run = JudgeRun.objects.get(version=length)
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="length")
    job = Import.objects.create(project=project, filename="x.jsonl", path="x", on_error="refuse")
    snapshot = Snapshot.objects.create(project=project, number=1, state="done", content_hash="0" * 64)
    publication = Publication.objects.create(
        project=project, place="hub", target="lab/data", tag="v1", state="done", commit="0" * 40
    )
    failed = Publication.objects.create(
        project=project, place="hub", target="lab/data", tag="v2", state="failed", error="no"
    )
    replay, search = (
        Study.objects.create(project=project, kind=kind, judge_name="length") for kind in ("replay", "mixes")
    )
    make_answer(pairs[-1], "ben")
    payment = draw_up(project, by=User.objects.get(username="ada"), now=timezone.now())
    names: dict[str, list[object]] = {
        "import": [job.pk],
        "publish": [snapshot.pk],
        "publication": [publication.pk],
        "publish_again": [failed.pk],
        "make_public": [publication.pk],
        "judge": [length.pk],
        "judge_audit": [length.pk],
        "audit_json": [length.pk],
        "judge_answers": [length.pk],
        "judge_prompt": [length.pk],
        "probe_judge": [length.pk],
        "forecast_judge": [length.pk],
        "test_judge": [length.pk],
        "calibrate_judge": [length.pk],
        "explain_judge": [length.pk],
        "run": [run.pk],
        "run_test": [run.pk],
        "steer_run": [run.pk, "pause"],
        "plan": [plan.pk],
        "why": [plan.pk],
        "apply_plan": [plan.pk],
        "plan_progress": [plan.pk, plan.state],
        "pair": [pairs[0].pk],
        "new_crowd_study": ["prolific"],
        "report": ["consistency"],
        "report_json": ["consistency"],
        "crowd_study": [set_up_study(project, platform="mturk", name="Turk").pk],
        "another_try": [make_person(project, "ben").pk],
        "person": [make_person(project, "ben").pk],
        "steer_person": [make_person(project, "ben").pk, "include"],
        "revoke_gold": [make_gold(project).pk],
        "gild_pair": [pairs[0].pk],
        "set_aside": [pairs[0].pk],
        "decide": [pairs[0].pk],
        "erase_person": [make_person(project, "ben").pk],
        "person_work": [make_person(project, "ben").pk],
        "pause_person": [make_person(project, "ben").pk],
        "resume_person": [make_person(project, "ben").pk],
        "steer_task": [pairs[0].pk, Task.objects.create(project=project, pair=pairs[0], votes_wanted=1).pk],
        "preview_again": [pack(preview_of(project, ScreenFile({})), 2)],
        "preview_answer": [pack(preview_of(project, ScreenFile({})), 2), "submit"],
        "export": [snapshot.pk],
        "export_file": [snapshot.pk, "README.md"],
        "share_export": [snapshot.pk],
        "delete_export": [snapshot.pk],
        "replay": [replay.pk],
        "replay_json": [replay.pk],
        "study": [replay.pk],
        "steer_study": [replay.pk, "stop"],
        "mix_search": [search.pk],
        "mixes_json": [search.pk],
        "chart": ["judges", "light", "wide"],
        "payment": [payment.number],
        "steer_payment": [payment.number, "withdraw"],
    }
    found = [str(pattern.name) for pattern in urlpatterns]
    return {name: reverse(name, args=[project.slug, *names.get(name, [])]) for name in found if name not in OPEN}


def codes(client: Client, addresses: dict[str, str]) -> dict[str, int]:
    return {
        name: (client.post(url, {"status": "paused"}) if name in POST_ONLY else client.get(url)).status_code
        for name, url in addresses.items()
    }


def test_anonymous_is_sent_to_sign_in_everywhere(client: Client, addresses: dict[str, str]) -> None:
    for name, url in addresses.items():
        response = client.post(url) if name in POST_ONLY else client.get(url)
        assert response.status_code == 302, name
        assert response["Location"].startswith("/sign-in/"), name


@pytest.mark.parametrize("who", ["eve", "ben"])
def test_a_project_one_does_not_manage_is_not_there(
    who: str, addresses: dict[str, str], request: pytest.FixtureRequest
) -> None:
    assert set(codes(request.getfixturevalue(who), addresses).values()) == {404}


def test_the_manager_gets_every_page(ada: Client, addresses: dict[str, str]) -> None:
    # A chart of judges needs ten answers, the file was never written and no study has ended: there is nothing to send.
    # A preview takes no answer. Nobody is paused without a reason, and no pair steered without an action.
    absent = dict.fromkeys(["preview_answer", "preview_again", "pause_person", *NEEDS_FORM], 422)
    absent |= dict.fromkeys(["chart", "export_file", "replay_json", "mixes_json", "steer_task", *ADJUDICATORS], 404)
    moved = dict.fromkeys([*POST_ONLY - absent.keys(), "run", "study", "embedding_progress", "plan_progress"], 302)
    assert codes(ada, addresses) == dict.fromkeys(addresses, 200) | absent | moved


def test_changes_are_refused_by_get(ada: Client, addresses: dict[str, str]) -> None:
    assert {ada.get(addresses[name]).status_code for name in POST_ONLY} == {405}


def test_rows_of_another_project_are_not_found_under_this_one(
    ada: Client, project: Project, length: JudgeVersion, addresses: dict[str, str]
) -> None:
    from tests.builders import make_pair, make_project

    other = make_project("other")
    strangers = {"pair": [make_pair(other).pk], "plan": [uuid.uuid4()], "import": [uuid.uuid4()]}
    for name, args in strangers.items():
        assert ada.get(reverse(name, args=[project.slug, *args])).status_code == 404, name
    for name in (
        "judge",
        "judge_audit",
        "judge_answers",
        "run_test",
        "plan",
        "pair",
        "export",
        "import",
        "publication",
    ):
        assert ada.get(addresses[name].replace("/helpfulness/", "/other/")).status_code == 404, name


def test_a_polled_part_says_401_instead_of_a_form(client: Client, addresses: dict[str, str]) -> None:
    assert client.get(addresses["import"], headers={"HX-Request": "true"}).status_code == 401


def test_home_lists_what_is_managed_and_what_is_answered(ada: Client, ben: Client, eve: Client, client: Client) -> None:
    assert "/projects/helpfulness/" in ada.get("/").text
    assert ben.get("/")["Location"] == "/annotate/"
    bens = ben.get("/", follow=True).text
    assert "/annotate/helpfulness/" in bens
    assert "/projects/helpfulness/" not in bens
    assert "Helpfulness study" not in eve.get("/").text
    assert client.get("/")["Location"].startswith("/sign-in/")
