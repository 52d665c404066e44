"""Erasing a person on their page, and what is said of the exports that may still hold them."""

from decimal import Decimal

import pytest
from django.test import Client

from annotation.models import Pair, Preference, Project
from exports.models import Erasure
from exports.snapshotting import queue_snapshot, write_snapshot
from judges.models import JudgeVersion
from tests.builders import make_answer, make_person

pytestmark = pytest.mark.either_database


def body(response: object) -> bytes:
    return b"".join(response.streaming_content)  # type: ignore[attr-defined]


@pytest.fixture
def unpaid(project: Project, length: JudgeVersion, pairs: list[Pair]) -> Project:
    """Return the project with answers of ben and cyd that are paid nothing."""
    project.pay_per_answer_usd = Decimal(0)
    project.save()
    for pair in pairs[:6]:
        make_answer(pair, make_person(project, "ben"), "a", rationale="It says more.")
        make_answer(pair, make_person(project, "cyd"), "a")
    return project


def test_manager_sees_what_would_go_types_the_name_and_downloads_warn(
    ada: Client, ben: Client, client: Client, unpaid: Project
) -> None:
    rater = make_person(unpaid, "ben")
    page = f"/projects/helpfulness/people/{rater.pk}/erase/"
    snapshot = write_snapshot(queue_snapshot(unpaid, settings={"format": "jsonl"}).pk)
    export = f"/projects/helpfulness/exports/{snapshot.pk}/"
    assert ben.get(page).status_code == 404
    assert ben.post(page, {"reason": "x", "name": "ben"}).status_code == 404
    shown = ada.get(page).text
    assert f"Export {snapshot.number}</a>" in shown
    refused = ada.post(page, {"reason": "Asked for it.", "name": "Ben"})
    assert refused.status_code == 422
    assert "Type it as it is here: ben." in refused.text
    assert Preference.objects.filter(rater=rater).exists()
    link = ada.post(f"{export}share/", {"path": "dpo/train.jsonl", "hours": "1"}).text
    shared = link[link.index("/shared/") :].partition("<")[0]
    assert b"It says more." in body(client.get(shared))

    done = ada.post(page, {"reason": "Asked for it.", "name": "ben"})
    assert done["Location"] == f"/projects/helpfulness/people/{rater.pk}/"
    assert not Preference.objects.filter(rater=rater).exists()
    erasure = Erasure.objects.get()
    assert (erasure.by.username if erasure.by else "", erasure.reason) == ("ada", "Asked for it.")
    shown = ada.get(done["Location"]).text
    assert "Erased on" in shown
    assert f"Export {snapshot.number}</a>" in shown
    assert "Exclude answers" not in shown
    assert ada.get(page)["Location"] == done["Location"]
    warning = f"Export {snapshot.number} may hold answers of somebody who was erased since."
    assert warning in ada.get(export).text
    assert "holds erased people" in ada.get("/projects/helpfulness/exports/").text
    for who, address in ((ada, f"{export}dpo/train.jsonl"), (client, shared)):
        first = who.get(address)
        assert (first.status_code, warning in first.text) == (409, True)
        second = who.get(f"{address}?all_the_same=1")
        assert b"It says more." in body(second)


def test_page_says_what_has_to_be_settled_first_and_offers_no_form(ada: Client, answered: Project) -> None:
    rater = make_person(answered, "ben")
    page = f"/projects/helpfulness/people/{rater.pk}/erase/"
    shown = ada.get(page).text
    assert "They are owed" in shown
    assert "Erase for good" not in shown
    refused = ada.post(page, {"reason": "Asked.", "name": "ben"})
    assert (refused.status_code, "They are owed" in refused.text) == (422, True)
    assert Preference.objects.filter(rater=rater).exists()
