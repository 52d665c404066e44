"""Exports: started, watched, fetched."""

import hashlib

import pytest
from django.conf import settings
from django.test import Client

from annotation.models import Project
from exports.models import Snapshot, SnapshotState
from exports.snapshotting import write_snapshot

HERE = "/projects/helpfulness/exports/"
WANTED = {"format": "jsonl", "test_percent": "25", "tie_rule": "drop", "min_agreement_percent": "60", "seed": 3}


def body(response: object) -> bytes:
    return b"".join(response.streaming_content)  # type: ignore[attr-defined]


def test_an_export_is_queued_polled_written_and_fetched(ada: Client, ben: Client, answered: Project) -> None:
    response = ada.post(HERE, {**WANTED, "include_simulated": "on"})
    snapshot = Snapshot.objects.get()
    page = f"{HERE}{snapshot.pk}/"
    assert response["Location"] == page
    wanted = {"format": "jsonl", "seed": 3, "test_share": 0.25, "tie_rule": "drop"}
    assert {name: snapshot.settings[name] for name in wanted} == wanted
    assert (snapshot.settings["min_agreement"], snapshot.settings["include_simulated"]) == (0.6, True)
    assert 'hx-trigger="every 2s"' in ada.get(page).text

    snapshot = write_snapshot(snapshot.pk)
    assert snapshot.state == SnapshotState.DONE, snapshot.error
    part = ada.get(page, headers={"HX-Request": "true"}).text
    assert "hx-trigger" not in part
    for file in snapshot.files:
        assert file["sha256"] in part
        address = f"{page}{file['path']}"
        download = ada.get(address)
        assert hashlib.sha256(body(download)).hexdigest() == file["sha256"]
        assert download["Content-Disposition"].startswith("attachment;")
        assert download["X-Content-Type-Options"] == "nosniff"
        assert download["Content-Type"] == "application/octet-stream"
        assert ben.get(address).status_code == 404


@pytest.mark.parametrize(
    "path", ["../secret_key", "%2e%2e/secret_key", "/etc/passwd", "dpo/../../secret_key", "absent"]
)
def test_only_files_of_the_snapshot_are_sent(ada: Client, answered: Project, path: str) -> None:
    ada.post(HERE, WANTED)
    snapshot = write_snapshot(Snapshot.objects.get().pk)
    (settings.EXPORT_DIR / "secret_key").write_text("secret")
    assert ada.get(f"{HERE}{snapshot.pk}/{path}").status_code == 404


def test_an_export_that_fails_says_why(ada: Client, project: Project) -> None:
    ada.post(HERE, WANTED)
    snapshot = write_snapshot(Snapshot.objects.get().pk)
    assert snapshot.state == SnapshotState.FAILED
    assert snapshot.error[:30] in ada.get(f"{HERE}{snapshot.pk}/").text


@pytest.mark.parametrize(
    ("values", "field"),
    [({"test_percent": "91"}, "test_percent"), ({"seed": "-1"}, "seed"), ({"tie_rule": "coin"}, "tie_rule")],
)
def test_an_export_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, values: dict[str, str], field: str
) -> None:
    response = ada.post(HERE, {**WANTED, **values})
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in response.text
    assert not Snapshot.objects.exists()
