"""Snapshots after they are written: listed, compared, deleted, shared; and what a killed writer leaves."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from annotation.models import Preference, Project
from exports.comparing import compare_snapshots
from exports.errors import ExportError
from exports.models import Snapshot, SnapshotState
from exports.placing import sweep_partials, working_folder
from exports.sharing import open_link, sign_link
from exports.snapshotting import delete_snapshot, take_snapshot, write_snapshot
from tests.builders import make_pair, make_preference, make_project

Cast = Callable[..., list[Preference]]


def run(*args: str) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_changes_are_told_row_by_row(labelled: Project, vote: Cast, tmp_path: Path, format: str) -> None:
    before = take_snapshot(labelled, out=tmp_path / "one", format=format, gzip=True)
    turned = labelled.pairs.get(external_id="p1")
    for preference in turned.preferences.all():
        preference.choice = "b"
        preference.save()
    labelled.pairs.get(external_id="p2").preferences.all().delete()
    vote(make_pair(labelled, external_id="new"), "a", "a", "a")
    after = take_snapshot(labelled, out=tmp_path / "two", format=format, gzip=True)
    changes = compare_snapshots(before, after)
    kinds = ("added", "removed", "another winner", "another label source", "another split")
    assert [changes.rows[kind] for kind in kinds] == [1, 1, 1, 0, 0]
    # A pair's neighbours of the same prompt may have another place in the curriculum.
    assert changes.rows["changed in any column"] >= 1
    assert changes.rows["unchanged"] + changes.rows["changed in any column"] == 7
    assert changes.counts["pairs"] == (12, 13)
    assert changes.counts["dpo left out: no_label"] == (1, 2)
    assert (changes.same, changes.settings, changes.profile) == (False, {}, "dpo")
    assert len(changes.examples["another winner"]) == 1
    assert compare_snapshots(after, after).same


def test_changes_of_settings_and_profiles_are_told(labelled: Project, tmp_path: Path) -> None:
    take_snapshot(labelled, out=tmp_path / "one", profiles=["dpo", "kto"])
    take_snapshot(labelled, out=tmp_path / "two", profiles=["kto", "listwise"], seed=3)
    text = run("compare_snapshots", labelled.slug, "1", "2")
    assert "setting seed: 0 -> 3" in text
    assert "profiles added: listwise" in text
    assert "profiles removed: dpo" in text
    assert "kto rows another winner: 0" in text
    result = json.loads(run("compare_snapshots", labelled.slug, "1", "2", "--json").splitlines()[-1])
    assert result["profile"] == "kto"
    with pytest.raises(CommandError, match=r"Both have: kto\."):
        run("compare_snapshots", labelled.slug, "1", "2", "--profile", "dpo")
    with pytest.raises(CommandError, match=r"has no snapshot 9\. Snapshots: 2, 1"):
        run("compare_snapshots", labelled.slug, "1", "9")


def test_deleted_snapshot_is_gone_from_disk_and_keeps_its_number(labelled: Project, tmp_path: Path) -> None:
    take_snapshot(labelled, out=tmp_path / "one")
    assert "is deleted, with the files in" in run("delete_snapshot", labelled.slug, "1")
    assert not (tmp_path / "one").exists()
    assert list(tmp_path.iterdir()) == []
    gone = Snapshot.objects.get(number=1)
    assert (gone.state, gone.files, gone.report) == (SnapshotState.DELETED, [], {})
    again = take_snapshot(labelled, out=tmp_path / "one")
    assert (again.number, again.content_hash) == (2, gone.content_hash)
    with pytest.raises(ExportError, match="Snapshot 1 is not finished: Deleted"):
        compare_snapshots(gone, again)
    delete_snapshot(gone, now=timezone.now())
    assert (tmp_path / "one").exists()
    listed = json.loads(run("list_snapshots", labelled.slug, "--json").splitlines()[-1])["snapshots"]
    assert [(one["number"], one["state"], one["rows"]) for one in listed] == [
        (2, "done", {"dpo": 8}),
        (1, "deleted", {}),
    ]


def test_deleting_leaves_a_folder_that_holds_something_else_or_another_snapshot(
    labelled: Project, tmp_path: Path
) -> None:
    first = take_snapshot(labelled, out=tmp_path / "one")
    second = take_snapshot(labelled, out=tmp_path / "one")
    delete_snapshot(first, now=timezone.now())
    assert (tmp_path / "one" / "manifest.json").exists()
    (tmp_path / "one" / "manifest.json").write_text('{"content_hash": "another"}')
    delete_snapshot(second, now=timezone.now())
    assert (tmp_path / "one" / "README.md").exists()


def test_running_snapshot_is_not_deleted(project: Project) -> None:
    snapshot = Snapshot.objects.create(project=project, number=1, state=SnapshotState.RUNNING)
    with pytest.raises(ExportError, match="is being written"):
        delete_snapshot(snapshot, now=timezone.now())
    delete_snapshot(snapshot, now=timezone.now() + timedelta(days=2))
    snapshot.refresh_from_db()
    assert snapshot.state == SnapshotState.DELETED


def test_link_is_signed_limited_and_ends_with_its_snapshot(labelled: Project, out: Path, settings: Any) -> None:
    snapshot, now = take_snapshot(labelled, out=out), timezone.now()
    token = sign_link(snapshot, "README.md", now=now, lasts=timedelta(hours=2))
    assert open_link(token, now=now + timedelta(minutes=119)).file == out / "README.md"
    with pytest.raises(ExportError, match="has run out"):
        open_link(token, now=now + timedelta(minutes=120))
    with pytest.raises(ExportError, match="not of this site"):
        open_link(token[:-1] + ("A" if token[-1] != "A" else "B"), now=now)
    with pytest.raises(ExportError, match=r"has no file '\.\./x'"):
        sign_link(snapshot, "../x", now=now, lasts=timedelta(hours=2))
    for lasts in (timedelta(0), timedelta(days=31)):
        with pytest.raises(ExportError, match="lasts up to 30 days"):
            sign_link(snapshot, "README.md", now=now, lasts=lasts)
    settings.SECRET_KEY = "another key"
    with pytest.raises(ExportError, match="not of this site"):
        open_link(token, now=now)


def test_sweep_removes_what_is_dead_and_leaves_what_is_alive(tmp_path: Path) -> None:
    dead = tmp_path / ".out.partial-dead"
    dead.mkdir()
    (dead / "lock").touch()
    fresh = tmp_path / ".out.partial-fresh"
    fresh.mkdir()
    with working_folder(tmp_path / "out") as alive:
        sweep_partials(tmp_path / "out")
        assert alive.exists()
    assert not dead.exists()
    assert fresh.exists()
    os.utime(fresh, (0, 0))
    sweep_partials(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


KILLED_IN_ROWS = """
import os, signal, sys
import django
django.setup()
from pathlib import Path
from annotation.models import Project
from exports import rowing
from exports.snapshotting import take_snapshot

rowing.ROWS_PER_PROGRESS = 1

def progress(stage):
    if stage == "write kto: 3 rows":
        os.kill(os.getpid(), signal.SIGKILL)

take_snapshot(
    Project.objects.get(slug=sys.argv[1]), out=Path(sys.argv[2]), profiles=["dpo", "kto"], progress=progress
)
"""


@pytest.mark.django_db(transaction=True)
def test_writer_killed_among_its_rows_leaves_nothing_visible_and_the_rerun_completes(out: Path) -> None:
    project = make_project(with_people=False)
    for _ in range(3):
        make_preference(make_pair(project), "dora", "a")
    name = connection.settings_dict["NAME"]
    url = (
        f"sqlite:///{name}"
        if connection.vendor == "sqlite"
        else urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    )
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "x"}
    writer = subprocess.run(
        [sys.executable, "-c", KILLED_IN_ROWS, project.slug, str(out)],
        env=environment,
        cwd=settings.BASE_DIR,
        timeout=120,
    )
    assert writer.returncode == -signal.SIGKILL
    (left,) = out.parent.iterdir()
    assert left.name.startswith(".export.partial-")
    assert (left / "files" / "dpo" / "train.jsonl").exists() or (left / "files" / "dpo" / "test.jsonl").exists()
    snapshot = write_snapshot(Snapshot.objects.get().id)
    assert snapshot.state == SnapshotState.DONE
    assert snapshot.counts["profiles"]["kto"]["rows"] == 6
    assert [path.name for path in out.parent.iterdir()] == ["export"]
