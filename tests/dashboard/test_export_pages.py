"""Exports: started, watched, fetched."""

import hashlib
import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import time_machine
from django.conf import settings
from django.test import Client
from django.utils import timezone

from annotation.models import Criterion, Project
from exports.models import Snapshot, SnapshotState
from exports.snapshotting import write_snapshot

pytestmark = pytest.mark.either_database
HERE = "/projects/helpfulness/exports/"
WANTED = {
    "profiles": ["dpo"],
    "format": "jsonl",
    "test_percent": "25",
    "tie_rule": "drop",
    "min_agreement_percent": "60",
    "seed": 3,
}


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
    [
        ({"profiles": ["xml"]}, "profiles"),
        ({"profiles": []}, "profiles"),
        ({"test_percent": "91"}, "test_percent"),
        ({"seed": "-1"}, "seed"),
        ({"tie_rule": "coin"}, "tie_rule"),
    ],
)
def test_an_export_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, values: dict[str, str], field: str
) -> None:
    response = ada.post(HERE, {**WANTED, **values})
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in response.text
    assert not Snapshot.objects.exists()


def written(ada: Client, **values: object) -> Snapshot:
    ada.post(HERE, {**WANTED, **values})
    snapshot = write_snapshot(Snapshot.objects.latest("created_at").pk)
    assert snapshot.state == SnapshotState.DONE, snapshot.error
    return snapshot


def test_several_profiles_and_every_rule_are_asked_for_on_the_page(ada: Client, answered: Project) -> None:
    page = ada.get(HERE).text
    assert "kto: TRL&#x27;s KTO trainer" in page
    rules = {"tie_rule": "judges", "both_bad_rule": "tie", "gold_rule": "mark", "min_votes": "1", "margin": "prob"}
    more = {"min_p_correct_percent": "5", "good_from": "3.5", "license": "cc-by-4.0", "gzip": "on"}
    snapshot = written(ada, profiles=["kto", "dpo", "annotations"], **rules, **more)
    assert snapshot.profiles == ["dpo", "kto", "annotations"]
    wanted = {**rules, "min_votes": 1, "min_p_correct": 0.05, "good_from": 3.5, "license": "cc-by-4.0", "gzip": True}
    assert {name: snapshot.settings[name] for name in wanted} == wanted
    shown = ada.get(f"{HERE}{snapshot.pk}/").text
    assert "kto/train.jsonl.gz" in shown
    assert "<h2>annotations</h2>" in shown


def test_licences_terms_and_personal_data_are_asked_for_and_shown(ada: Client, answered: Project) -> None:
    said = {"licences_allowed": "CC-BY-4.0, unknown", "generator_terms": "model-one = free\n\nmodel=x = restricted"}
    modes = {
        "terms_allowed": "unrestricted",
        "pii_rationales": "allow",
        "pii_responses": "redact",
        "least_in_group": "3",
    }
    snapshot = written(ada, **said, **modes)
    wanted = {
        **modes,
        "licences_allowed": ["CC-BY-4.0", "unknown"],
        "generator_terms": {"model-one": "free", "model=x": "restricted"},
        "pii_prompts": "allow",
        "least_in_group": 3,
    }
    assert {name: snapshot.settings[name] for name in wanted} == wanted
    shown = ada.get(f"{HERE}{snapshot.pk}/").text
    assert "from 3 who share it" in shown
    assert "Written by ada." in shown
    for wrong, sentence in (
        ("no line", "&#x27;no line&#x27; is no line such as"),
        ("gpt = maybe", "free or restricted"),
    ):
        refused = ada.post(HERE, {**WANTED, "generator_terms": wrong})
        assert (refused.status_code, sentence in refused.text) == (422, True)


def test_weights_are_asked_for_by_the_projects_criteria(ada: Client, answered: Project) -> None:
    Criterion.objects.create(project=answered, name="clarity")
    assert "Weight of clarity" in ada.get(HERE).text
    response = ada.post(HERE, {**WANTED, "weight_0": "2", "margin": "strength"})
    assert response.status_code == 422
    assert "choose another margin" in response.text
    ada.post(HERE, {**WANTED, "weight_0": "2"})
    assert Snapshot.objects.get().settings["criterion_weights"] == {"clarity": 2.0}


def test_a_link_opens_its_file_for_anybody_until_it_runs_out(ada: Client, client: Client, answered: Project) -> None:
    snapshot = written(ada)
    page = ada.post(f"{HERE}{snapshot.pk}/share/", {"path": "dpo/train.jsonl", "hours": "1"}).text
    link = urlsplit(re.search(r"http://testserver(/shared/[^<]+)", page)[0]).path  # type: ignore[index]
    sent = client.get(link)
    expected = next(file["sha256"] for file in snapshot.files if file["path"] == "dpo/train.jsonl")
    assert hashlib.sha256(body(sent)).hexdigest() == expected
    assert sent["Content-Disposition"].startswith("attachment;")
    assert "no-store" in sent["Cache-Control"]
    assert client.get(f"{link}x").status_code == 404
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        assert client.get(link).status_code == 404
    ada.post(f"{HERE}{snapshot.pk}/delete/")
    assert client.get(link).status_code == 404


@pytest.mark.parametrize(
    "values", [{"path": "../secret_key", "hours": "1"}, {"path": "README.md", "hours": "9999"}, {}]
)
def test_no_link_is_made_for_another_file_or_another_time(
    ada: Client, answered: Project, values: dict[str, str]
) -> None:
    snapshot = written(ada)
    response = ada.post(f"{HERE}{snapshot.pk}/share/", values)
    assert response.status_code == 422
    assert "/shared/" not in response.text


def test_two_exports_are_compared_and_one_is_deleted_for_good(ada: Client, answered: Project) -> None:
    first, second = written(ada), written(ada, test_percent="0", seed="4")
    assert "What changed" in ada.get(HERE).text
    page = ada.get(f"{HERE}compare/?before={first.number}&after={second.number}").text
    assert "test share" in page
    assert "another split" in page
    assert "byte for byte" in ada.get(f"{HERE}compare/?before={first.number}&after={first.number}").text
    assert ada.get(f"{HERE}compare/?before=7&after=x").status_code == 200
    assert ada.post(f"{HERE}{first.pk}/delete/").status_code == 302
    shown = ada.get(f"{HERE}{first.pk}/").text
    assert "Its files and reports are gone" in shown
    assert ada.get(f"{HERE}{first.pk}/README.md").status_code == 404
    assert written(ada, seed="5").number == 3
