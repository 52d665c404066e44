"""Publications as rows: confirmed twice where public, gone on with after a death, one at a time; and folders."""

import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from annotation.models import Project
from exports.errors import ExportError
from exports.models import Publication, PublicationState, Snapshot, SnapshotState
from exports.publishing import queueing, sending
from exports.publishing.errors import NotConfirmed, PublishingError
from exports.publishing.folders import LocalFolder
from exports.publishing.queueing import begin, carry_out, queue_publication, try_again
from tests.exports.publishing.exports import make_export
from tests.hub_server import TOKEN, Fault, HubServer

TARGET = "lab/helpfulness"


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("publish_dataset", *args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


# --- Public -----------------------------------------------------------------------------------------------------------


def test_nothing_is_public_unless_it_is_named_a_second_time(server: HubServer, snapshot: Snapshot) -> None:
    with pytest.raises(NotConfirmed, match="type its name again as it is: lab/helpfulness"):
        begin(snapshot, TARGET, public="lab/helpfulnes")
    assert not Publication.objects.exists()
    assert server.asked == []


def test_a_public_push_is_private_until_it_was_read_back(server: HubServer, snapshot: Snapshot) -> None:
    publication = carry_out(begin(snapshot, TARGET, public=TARGET))
    assert (publication.state, publication.is_public) == (PublicationState.DONE, True)
    assert not server.repositories[TARGET].private
    last_read = max(place for place, line in enumerate(server.asked) if "/resolve/" in line)
    (shown,) = [place for place, line in enumerate(server.asked) if line == f"PUT /api/datasets/{TARGET}/settings"]
    assert shown > last_read


def test_a_repository_that_is_public_gets_nothing_without_the_second_word(
    server: HubServer, snapshot: Snapshot
) -> None:
    server.add(TARGET, private=False)
    publication = carry_out(begin(snapshot, TARGET))
    assert publication.state == PublicationState.FAILED
    assert "lab/helpfulness is public: everybody would see the export" in publication.error
    assert len(server.repositories[TARGET].commits) == 1
    assert server.calls("preupload") == 0


def test_one_that_becomes_public_while_files_are_staged_gets_no_commit(server: HubServer, snapshot: Snapshot) -> None:
    repository = server.add(TARGET)

    def tell(stage: str) -> None:
        if stage.startswith("upload"):
            repository.private = False

    publication = carry_out(begin(snapshot, TARGET), tell=tell)
    assert "is public" in publication.error
    assert len(repository.commits) == 1


def test_a_published_dataset_is_made_public_later_by_its_name(server: HubServer, snapshot: Snapshot) -> None:
    publication = carry_out(begin(snapshot, TARGET))
    with pytest.raises(NotConfirmed, match="'yes' is another"):
        try_again(publication, public="yes")
    publication.refresh_from_db()
    assert (publication.state, publication.wants_public) == (PublicationState.DONE, False)
    publication = carry_out(try_again(publication, public=TARGET))
    assert (publication.state, publication.is_public) == (PublicationState.DONE, True)
    assert not server.repositories[TARGET].private
    assert server.calls("POST .*/commit/") == 1


# --- What cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["helpfulness", "lab/", "lab/a/b", "lab/../x", "lab/a b", "lab/--x", "", "lab/x.git"]
)
def test_a_target_that_is_none_is_refused(snapshot: Snapshot, target: str) -> None:
    with pytest.raises(PublishingError, match="is no repository of the Hub"):
        begin(snapshot, target)


@pytest.mark.parametrize(("more", "said"), [({"tag": "a b"}, "cannot be a tag"), ({"onto": "main"}, "is no commit")])
def test_a_tag_or_commit_that_is_none_is_refused(snapshot: Snapshot, more: dict[str, Any], said: str) -> None:
    with pytest.raises(PublishingError, match=said):
        begin(snapshot, TARGET, **more)


def test_only_namespaces_that_the_operator_allows(snapshot: Snapshot, settings: Settings) -> None:
    settings.HUB_NAMESPACES = ["ours"]
    with pytest.raises(PublishingError, match=r"below ours only \(TIEBREAK_HUB_NAMESPACES\), not below lab"):
        begin(snapshot, TARGET)


def test_an_export_that_is_not_finished_is_refused(snapshot: Snapshot) -> None:
    Snapshot.objects.update(state=SnapshotState.RUNNING)
    snapshot.refresh_from_db()
    with pytest.raises(ExportError, match="Export 1 of helpfulness is not finished"):
        begin(snapshot, TARGET)


# --- One at a time, and after a death ---------------------------------------------------------------------------------


def test_one_publication_a_place_is_under_way(snapshot: Snapshot, later: Snapshot) -> None:
    first = begin(snapshot, TARGET)
    assert begin(snapshot, TARGET).pk == first.pk
    with pytest.raises(PublishingError, match="The publication of v1 to lab/helpfulness is under way since"):
        begin(later, TARGET)
    assert Publication.objects.count() == 1


def test_a_queued_publication_waits_for_its_worker_and_is_sent_again(
    server: HubServer, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, str]] = []

    def wake(_: list[str], payload: dict[str, str]) -> bool:
        sent.append(payload)
        return True

    monkeypatch.setattr(queueing, "wake", wake)
    publication = queue_publication(snapshot, TARGET)
    assert queueing.send_waiting_publications(now=timezone.now()) == 0
    assert queueing.send_waiting_publications(now=timezone.now() + timedelta(minutes=3)) == 1
    assert sent[-1] == {"publication_id": str(publication.pk)}
    queueing.work_publication(publication.pk)
    publication.refresh_from_db()
    assert publication.state == PublicationState.DONE
    asked = len(server.asked)
    queueing.work_publication(publication.pk)
    assert len(server.asked) == asked
    assert queueing.send_waiting_publications(now=timezone.now() + timedelta(hours=9)) == 0


def test_a_worker_that_lives_keeps_its_publication(server: HubServer, snapshot: Snapshot) -> None:
    publication = begin(snapshot, TARGET)
    soon = timezone.now() + timedelta(minutes=1)
    Publication.objects.update(state=PublicationState.RUNNING, lease_until=soon)
    queueing.work_publication(publication.pk)
    assert server.asked == []
    assert queueing.send_waiting_publications(now=timezone.now()) == 0
    assert queueing.send_waiting_publications(now=soon + timedelta(seconds=1)) == 1


class Killed(BaseException):
    """Stands for the end of a process: nothing after it is stored."""


STAGES = ["make the place", "upload 3 of", "commit", "tag v1", "read back 2 of"]


@pytest.mark.parametrize("at", STAGES)
def test_a_death_anywhere_is_gone_on_with_to_one_commit(server: HubServer, snapshot: Snapshot, at: str) -> None:
    def tell(stage: str) -> None:
        if stage.startswith(at):
            raise Killed

    publication = begin(snapshot, TARGET)
    with pytest.raises(Killed):
        carry_out(publication, tell=tell)
    publication.refresh_from_db()
    assert publication.state == PublicationState.RUNNING
    again = carry_out(begin(snapshot, TARGET))
    assert (again.pk, again.state, again.error) == (publication.pk, PublicationState.DONE, "")
    assert len(server.repositories[TARGET].commits) == 2
    assert server.repositories[TARGET].tags == {"v1": again.commit}


def test_a_death_after_the_commit_was_taken_is_found_out_by_looking(
    server: HubServer, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> bool:
        raise Killed

    publication = begin(snapshot, TARGET)
    # The commit is taken and its answer reaches nobody; what would look next is dead.
    server.faults = [Fault("POST .*/commit/", cut="after")]
    with monkeypatch.context() as patch:
        patch.setattr(sending, "_was_taken", die)
        with pytest.raises(Killed):
            carry_out(publication)
    publication.refresh_from_db()
    head = server.repositories[TARGET].head.oid
    assert (publication.commit, publication.sent_at is not None) == ("", True)
    again = carry_out(begin(snapshot, TARGET))
    assert (again.state, again.commit, again.was_there) == (PublicationState.DONE, head, False)
    assert server.calls("POST .*/commit/") == 1


SCRIPT = """
import os, signal, sys
import django
django.setup()
from exports.models import Publication
from exports.publishing import queueing, sending
from exports.publishing.hub import HfHub
commit = HfHub.commit
def killed(self, *args, **more):
    commit(self, *args, **more)
    os.kill(os.getpid(), signal.SIGKILL)
HfHub.commit = killed
queueing.work_publication(sys.argv[1])
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_killed_in_mid_commit_leaves_one_that_the_next_finds(
    server: HubServer, tmp_path: Path, settings: Settings
) -> None:
    from tests.builders import make_project

    snapshot = make_export(make_project(), tmp_path / "killed", 1, rows=3)
    publication = begin(snapshot, TARGET)
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{database['NAME']}"
    else:
        where = f"{database['HOST']}:{database['PORT']}"
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{where}/{database['NAME']}"
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": url,
        "SECRET_KEY": "only-for-tests",
        "TIEBREAK_VAR": str(tmp_path / "var"),
        "TIEBREAK_HUB_URL": server.origin,
        "TIEBREAK_HUB_TOKEN": TOKEN,
    }
    (tmp_path / "var").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(publication.pk)],
        env=environment,
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -9, ended.stderr
    publication.refresh_from_db()
    assert (publication.state, publication.commit) == (PublicationState.RUNNING, "")
    assert publication.sent_at is not None
    head = server.repositories[TARGET].head.oid
    later = timezone.now() + queueing.LEASE + timedelta(seconds=1)
    assert queueing.send_waiting_publications(now=later) == 1
    Publication.objects.update(lease_until=None)
    queueing.work_publication(publication.pk)
    publication.refresh_from_db()
    assert (publication.state, publication.commit, publication.error) == (PublicationState.DONE, head, "")
    assert server.calls("POST .*/commit/") == 1


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["folder", "id", "number"])
def test_the_command_publishes_by_folder_id_or_number(server: HubServer, snapshot: Snapshot, by: str) -> None:
    named = {"folder": snapshot.folder, "id": str(snapshot.pk), "number": f"{snapshot.project.slug}:1"}[by]
    text = run(named, "--to", TARGET, "--json")
    *lines, last = text.splitlines()
    commit = server.repositories[TARGET].head.oid
    assert lines == [
        f"Published: lab/helpfulness (private), tag v1, commit {commit}.",
        "Every file was read back and is as it was sent.",
        'Load it: datasets.load_dataset("lab/helpfulness", revision="v1")',
    ]
    result = json.loads(last)
    assert (result["commit"], result["public"], result["was_there"]) == (commit, False, False)
    assert run(named, "--to", TARGET).startswith("The same export was there already; no second commit was made")


def test_the_command_ends_with_what_went_wrong(server: HubServer, snapshot: Snapshot) -> None:
    server.faults = [Fault("repos/create", 401)]
    with pytest.raises(CommandError, match="does not take this site's token"):
        run(snapshot.folder, "--to", TARGET)
    with pytest.raises(CommandError, match="There is no export 9 of a project 'helpfulness'"):
        run("helpfulness:9", "--to", TARGET)
    with pytest.raises(CommandError, match=r"nowhere holds no finished export"):
        run("/nowhere", "--to", TARGET)


def test_an_export_of_another_site_is_published_from_its_folder(server: HubServer, snapshot: Snapshot) -> None:
    folder, content = Path(snapshot.folder), snapshot.content_hash
    snapshot.delete()
    run(str(folder), "--to", TARGET)
    publication = Publication.objects.get()
    assert (publication.snapshot, publication.project, publication.tag) == (None, None, f"export-{content[:12]}")
    assert publication.content_hash == content


# --- Folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_gets_releases_tags_and_no_second_commit(snapshot: Snapshot, later: Snapshot, tmp_path: Path) -> None:
    place = tmp_path / "shared" / "helpfulness"
    first = carry_out(begin(snapshot, str(place)))
    assert (first.state, first.error, first.was_there) == (PublicationState.DONE, "", False)
    again = carry_out(begin(snapshot, str(place)))
    assert (again.commit, again.was_there) == (first.commit, True)
    second = carry_out(begin(later, str(place)))
    assert second.parent == first.commit
    for publication, export in ((first, snapshot), (second, later)):
        there = place / publication.tag
        files = {path.relative_to(there).as_posix(): path.read_bytes() for path in there.rglob("*") if path.is_file()}
        assert files == {file["path"]: (Path(export.folder) / file["path"]).read_bytes() for file in export.files}
    assert sorted(path.name for path in place.iterdir() if not path.name.startswith(".")) == sorted(
        ["releases.json", "v1", "v2", first.commit, second.commit]
    )


def test_a_folder_with_other_files_is_refused(snapshot: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("theirs")
    publication = carry_out(begin(snapshot, str(tmp_path / "theirs")))
    assert "holds files that are no releases of ours" in publication.error
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["thesis.tex"]


def test_a_folder_that_somebody_else_published_to_is_stale(snapshot: Snapshot, later: Snapshot, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    carry_out(begin(snapshot, str(place)))
    Publication.objects.all().delete()
    publication = carry_out(begin(later, str(place)))
    assert "holds files that helpfulness did not publish there from this site" in publication.error
    head = json.loads((place / "releases.json").read_text())["commits"][-1]["commit"]
    assert carry_out(begin(later, str(place), onto=head)).state == PublicationState.DONE


def test_a_folder_that_was_spoiled_is_not_called_published(snapshot: Snapshot, tmp_path: Path) -> None:
    def tell(stage: str) -> None:
        if stage.startswith("tag"):
            (next(place.glob("?" * 40)) / "README.md").write_text("spoiled")

    place = tmp_path / "shared"
    publication = carry_out(begin(snapshot, str(place)), tell=tell)
    assert "README.md came back with the SHA-256" in publication.error


def test_a_folder_is_never_made_public(snapshot: Snapshot, tmp_path: Path) -> None:
    place = str(tmp_path / "shared")
    with pytest.raises(PublishingError, match="is for its permissions to say"):
        begin(snapshot, place, public=place)
    with pytest.raises(PublishingError, match="is for its permissions to say"):
        LocalFolder(Path(place)).make_public()


@pytest.mark.parametrize("place", ["/proc/nowhere", "file"])
def test_a_folder_that_cannot_be_written_to_says_so(snapshot: Snapshot, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("a file")
    publication = carry_out(begin(snapshot, str(tmp_path / place)))
    assert publication.state == PublicationState.FAILED
    assert "could not be written to" in publication.error or "no releases of ours" in publication.error


def test_pages_may_not_name_a_folder_of_the_server(snapshot: Snapshot, tmp_path: Path, project: Project) -> None:
    with pytest.raises(PublishingError, match="is no repository of the Hub"):
        queue_publication(snapshot, str(tmp_path / "x"))
