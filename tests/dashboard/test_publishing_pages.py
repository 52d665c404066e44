"""Publishing by page: begun, watched, tried again, and made public by typing the name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from annotation.models import Project
from exports.models import Publication, PublicationState, Snapshot
from exports.publishing import hub
from exports.publishing.queueing import work_publication
from tests.exports.publishing.exports import make_export
from tests.hub_server import TOKEN, Fault, HubServer

pytestmark = pytest.mark.either_database

PROJECT = "/projects/helpfulness"
TARGET = "lab/helpfulness"


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(hub, "pause", lambda seconds: None)
    with HubServer() as server:
        settings.HUB_URL = server.origin
        settings.HUB_TOKEN = TOKEN
        yield server


@pytest.fixture
def snapshot(project: Project, tmp_path: Path) -> Snapshot:
    return make_export(project, tmp_path / "one", 1, rows=3)


def form_of(snapshot: Snapshot) -> str:
    return f"{PROJECT}/exports/{snapshot.pk}/publish"


def test_an_export_is_published_watched_and_listed(
    ada: Client, ben: Client, server: HubServer, snapshot: Snapshot
) -> None:
    assert 'value="v1"' in ada.get(form_of(snapshot)).text
    response = ada.post(form_of(snapshot), {"target": TARGET, "tag": "v1"})
    publication = Publication.objects.get()
    page = f"{PROJECT}/publications/{publication.pk}/"
    assert response["Location"] == page
    assert (publication.created_by is not None, publication.wants_public) == (True, False)
    assert 'hx-trigger="every 2s"' in ada.get(page).text
    Publication.objects.update(stage="upload 2 of 5: dpo/train.jsonl")
    assert "Upload 2 of 5: dpo/train.jsonl" in ada.get(page, headers={"HX-Request": "true"}).text

    work_publication(publication.pk)
    publication.refresh_from_db()
    part = ada.get(page, headers={"HX-Request": "true"}).text
    assert "hx-trigger" not in part
    assert f'href="{server.origin}/datasets/{TARGET}/tree/{publication.commit}"' in part
    assert "its owners only" in part
    for listing in (f"{PROJECT}/exports/", form_of(snapshot)):
        assert f"{TARGET} v1</a>" in ada.get(listing).text
    assert ben.get(page).status_code == ben.get(form_of(snapshot)).status_code == 404
    for address in (page, form_of(snapshot), f"{PROJECT}/exports/"):
        assert TOKEN not in ada.get(address).text


def test_making_it_public_takes_a_page_of_its_own_and_the_name(
    ada: Client, server: HubServer, snapshot: Snapshot
) -> None:
    ada.post(form_of(snapshot), {"target": TARGET, "tag": "v1", "public": TARGET, "wants_public": "on"})
    publication = Publication.objects.get()
    work_publication(publication.pk)
    assert server.repositories[TARGET].private, "no field of the first form makes it public"
    page = f"{PROJECT}/publications/{publication.pk}/public"
    assert "Copies cannot be called back" in ada.get(page).text
    response = ada.post(page, {"name": "helpfulness"})
    assert response.status_code == 422
    assert "is another; nothing was sent" in response.text
    assert server.repositories[TARGET].private
    assert ada.post(page, {"name": TARGET}).status_code == 302
    work_publication(publication.pk)
    assert not server.repositories[TARGET].private
    assert ada.get(page).status_code == 404
    assert "everybody" in ada.get(f"{PROJECT}/publications/{publication.pk}/").text


def test_what_failed_is_said_and_tried_again(ada: Client, server: HubServer, snapshot: Snapshot) -> None:
    server.faults = [Fault("repos/create", 403, said="<script>no</script>")]
    ada.post(form_of(snapshot), {"target": TARGET, "tag": "v1"})
    publication = Publication.objects.get()
    work_publication(publication.pk)
    page = f"{PROJECT}/publications/{publication.pk}/"
    said = ada.get(page).text
    assert "token may not do that at lab/helpfulness" in said
    assert "<script>no" not in said
    assert ada.post(f"{page}again")["Location"] == page
    assert ada.post(f"{page}again").status_code == 409
    work_publication(publication.pk)
    publication.refresh_from_db()
    assert publication.state == PublicationState.DONE


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"target": "helpfulness", "tag": "v1"}, "is no repository of the Hub"),
        ({"target": "/etc/cron.d", "tag": "v1"}, "is no repository of the Hub"),
        ({"target": TARGET, "tag": "a b"}, "cannot be a tag"),
        ({"target": TARGET, "tag": "v1", "onto": "main"}, "is no commit"),
        ({"target": "", "tag": "v1"}, "This field is required"),
        ({"target": "lab/\x00", "tag": "v1"}, "Null characters are not allowed"),
    ],
)
def test_what_cannot_be_is_said_at_the_form(
    ada: Client, server: HubServer, snapshot: Snapshot, values: dict[str, str], said: str
) -> None:
    response = ada.post(form_of(snapshot), values)
    assert response.status_code == 422
    assert said in response.text
    assert not Publication.objects.exists()


def test_without_a_token_the_page_says_whom_to_ask(ada: Client, snapshot: Snapshot, settings: Settings) -> None:
    settings.HUB_TOKEN = ""
    page = ada.get(form_of(snapshot)).text
    assert "TIEBREAK_HUB_TOKEN" in page
    assert "Publish, private" not in page
