"""Erasing a person: out of every export to come, nothing that leads back, money and counters as before."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from annotation.assigning import Answer, Opening, next_assignment, open_tasks, save_draft, skip, submit
from annotation.checking import check_invariants
from annotation.errors import AnnotationError, NotAMember
from annotation.excluding import exclude_answers
from annotation.importing import import_pairs
from annotation.models import (
    Assignment,
    CrowdStudy,
    Exclusion,
    Gold,
    Guest,
    Import,
    LedgerEntry,
    Membership,
    PlatformEvent,
    Preference,
    Project,
    Rater,
    Rating,
    SignInLink,
    SkipReason,
    Submission,
    SuppressedName,
    Task,
    User,
)
from exports.erasing import affected_by, erase_person, warning_of
from exports.models import Erasure, Place, Publication, PublicationState, Snapshot
from exports.pseudonymising import pseudonym, pseudonym_key
from exports.publishing.errors import PublishingError
from exports.publishing.queueing import begin
from exports.snapshotting import delete_snapshot, take_snapshot
from tests.builders import make_answer, make_pair, make_person, make_project
from tests.exports.rows import written_rows

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WORDS = "Because I, Benedikt, say so."


@pytest.fixture
def project() -> Project:
    return make_project(pay_per_answer_usd=Decimal(0))


@pytest.fixture
def ben(project: Project) -> Rater:
    """Return ben after a day's work: answers, a repeat, one excluded, one passed on, one held with a draft."""
    ben = make_person(project, "ben")
    for number in range(4):
        pair = make_pair(project, prompt=f"Question {number}?", external_id=f"p{number}")
        for name in ("cyd", "ada"):
            make_answer(pair, name, "a")
        first = make_answer(pair, ben, "b", rationale=WORDS)
        Rating.objects.create(
            rater=ben,
            response=pair.response_a,
            pair=pair,
            value=1.0,
            criterion=project.criteria.create(name=f"c{number}"),
        )
    make_answer(pair, ben, "b", repeats=first, shown_order="ba")
    exclude_answers(ben, reason="Benedikt copied.", by=None, now=NOW)
    late = make_pair(project, prompt="Late?", external_id="late")
    make_answer(late, "cyd", "a")
    make_answer(late, ben, "b", is_extra=True)
    make_answer(make_pair(project, prompt="New?", external_id="new"), ben, "a", rationale=WORDS)
    open_tasks(project, [Opening(make_pair(project).pk, 1.0) for _ in range(2)], votes_wanted=1)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    skip(held.pk, ben, reason=SkipReason.UNCLEAR, note=WORDS, now=NOW)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    save_draft(held.pk, ben, {"rationale": WORDS}, now=NOW)
    user = User.objects.get(username="ben")
    user.email, user.first_name = "ben@uni-koeln.de", "Benedikt"
    user.save()
    SignInLink.objects.create(user=user, digest="d" * 64, expires_at=NOW)
    return ben


def ada(project: Project) -> User:
    return User.objects.get(username="ada")


def broken() -> list[Any]:
    return [check for check in check_invariants(now=NOW) if check.broken]


def everything() -> str:
    """Return every row of every table that could say who somebody was or what they said."""
    models = (
        Rater,
        User,
        Preference,
        Assignment,
        Membership,
        Exclusion,
        Erasure,
        SignInLink,
        Guest,
        Submission,
        PlatformEvent,
    )
    return json.dumps([list(model._default_manager.values()) for model in models], default=str)


def test_nothing_of_a_person_is_left_but_what_money_hangs_on(project: Project, ben: Rater, tmp_path: Path) -> None:
    assert broken() == []
    before, _, _ = written_rows(project, tmp_path / "before", "annotations")
    (who,) = {row["annotator_id"] for row in before if row["rationale"] == WORDS}
    mine = [row for row in before if row["annotator_id"] == who]
    assert [row["form"] for row in mine] == ["choice", *["scores"] * 4]
    booked = list(LedgerEntry.objects.filter(rater=ben).order_by("id").values())
    assert len(booked) == 7
    done = erase_person(ben, reason="Asked for it on 3 May.", by=ada(project), now=NOW)
    assert (done.answers, done.rationales, done.account, done.by) == (6, 5, "erased", ada(project))
    # The book is as it was; its rows hang on what has no name and no answer.
    assert list(LedgerEntry.objects.filter(rater=ben).order_by("id").values()) == booked
    assert set(Assignment.objects.filter(rater=ben).values_list("state", flat=True)) == {"erased", "skipped", "expired"}
    assert not Preference.objects.filter(rater=ben).exists()
    assert not Rating.objects.filter(rater=ben).exists()
    text = everything()
    for word in ("Benedikt", "ben@", '"ben"', "copied"):
        assert word not in text
    user = User.objects.get(raters=None, username__startswith="erased-")
    assert (user.is_active, user.has_usable_password()) == (False, False)
    # Their slots are free again, and every promise holds.
    assert Task.objects.get(pair__external_id="new").state == "open"
    assert broken() == []
    after, _, _ = written_rows(project, tmp_path / "after", "annotations")
    assert len(after) == len(before) - len(mine)
    assert {row["annotator_id"] for row in after} == {row["annotator_id"] for row in before} - {who}
    # Twice is once.
    assert erase_person(ben, reason="Again.", by=None, now=NOW) == done
    assert Erasure.objects.get().reason == "Asked for it on 3 May."


def test_exports_and_tags_that_may_hold_a_person_are_listed_marked_and_not_published(
    project: Project, ben: Rater, tmp_path: Path, capsys: Any
) -> None:
    first = take_snapshot(project, out=tmp_path / "one", profiles=["annotations"])
    gone = Snapshot.objects.create(project=project, number=2, state="deleted")
    published = {
        "project": project, "place": Place.HUB, "target": "lab/data", "folder": "x", "project_slug": project.slug,
        "content_hash": "h", "commit": "c" * 40,
    }  # fmt: skip
    tag = Publication.objects.create(snapshot=gone, tag="v2", state=PublicationState.DONE, **published)
    assert affected_by(ben) == ([first], [tag])
    assert warning_of(first) == ""
    done = erase_person(ben, reason="Asked.", by=None, now=NOW)
    assert (list(done.snapshots.all()), list(done.publications.all())) == ([first], [tag])
    assert warning_of(first).startswith("Export 1 may hold answers of somebody who was erased since.")
    for export in (first, tmp_path / "one"):
        with pytest.raises(PublishingError, match="may hold answers of somebody who was erased"):
            begin(export, str(tmp_path / "releases"))
    later = take_snapshot(project, out=tmp_path / "two", profiles=["annotations"])
    assert WORDS in "".join(path.read_text() for path in (tmp_path / "one").rglob("*.jsonl"))
    assert WORDS not in "".join(path.read_text() for path in (tmp_path / "two").rglob("*.jsonl"))
    assert warning_of(later) == ""
    assert begin(later, str(tmp_path / "releases")).tag == f"v{later.number}"
    # Another person after: what was made since is theirs to be listed in, and the first export holds two.
    erase_person(make_person(project, "cyd"), reason="Asked.", by=None, now=NOW)
    assert "2 people who were erased" in warning_of(first)
    assert "somebody who was erased" in warning_of(later)
    call_command("list_snapshots", project.slug)
    assert "annotations 14  may hold 2 erased" in capsys.readouterr().out
    delete_snapshot(first, now=NOW)
    assert broken() == []


def test_account_that_is_used_elsewhere_stays_and_loses_this_project(project: Project, ben: Rater) -> None:
    other = make_project("other")
    Membership.objects.get_or_create(
        project=other, user=User.objects.get(username="ben"), defaults={"role": "annotator"}
    )
    done = erase_person(ben, reason="Asked.", by=None, now=NOW)
    user = User.objects.get(username="ben")
    assert (done.account, user.is_active, user.email) == ("kept", True, "ben@uni-koeln.de")
    assert [one.project.slug for one in user.memberships.all()] == ["other"]
    # Who joins again is somebody new here.
    assert make_person(project, "ben").pk != ben.pk


def test_guest_of_a_platform_leaves_no_id_there(project: Project) -> None:
    study = CrowdStudy.objects.create(project=project, platform="prolific", name="s", arrival_check="api")
    rater = Rater.objects.create(project=project, kind="person", name="prolific 1")
    guest = Guest.objects.create(project=project, platform="prolific", external_id="5f0c0ffee", rater=rater)
    visit = {"study": study, "guest": guest, "state_at": NOW, "arrived_at": NOW, "checked_by": "api"}
    waiting = Submission.objects.create(external_id="visit-1", state=Submission.State.AWAITING_REVIEW, **visit)
    event = {"platform": "prolific", "kind": "k", "said_at": NOW}
    PlatformEvent.objects.create(external_id="e1", digest="1", body={"participant_id": "5f0c0ffee"}, **event)
    other = PlatformEvent.objects.create(external_id="e2", digest="2", body={"participant_id": "another"}, **event)
    with pytest.raises(AnnotationError, match="A visit of theirs waits for review"):
        erase_person(rater, reason="Asked.", by=None, now=NOW)
    Submission.objects.filter(pk=waiting.pk).update(state=Submission.State.APPROVED)
    assert erase_person(rater, reason="Asked.", by=None, now=NOW).account == "none"
    assert not {"5f0c0ffee", "visit-1", "prolific 1"} & set(everything().replace('"', " ").split())
    assert "5f0c0ffee" not in everything()
    assert PlatformEvent.objects.get(pk=other.pk).body == {"participant_id": "another"}


def test_what_has_to_be_settled_first_is_said_and_nothing_changes(project: Project, ben: Rater) -> None:
    Project.objects.filter(pk=project.pk).update(pay_per_answer_usd=Decimal("0.30"))
    project.refresh_from_db()
    make_answer(make_pair(project), ben, "a")
    before = everything()
    with pytest.raises(AnnotationError, match=r"They are owed 0\.30 USD"):
        erase_person(ben, reason="Asked.", by=None, now=NOW)
    with pytest.raises(AnnotationError, match="only manager"):
        erase_person(make_person(project, "ada"), reason="Asked.", by=None, now=NOW)
    with pytest.raises(AnnotationError, match="Say why"):
        erase_person(ben, reason=" ", by=None, now=NOW)
    assert everything() == before
    file = Import.objects.create(project=project, filename="a.jsonl", state=Import.State.RUNNING)
    with pytest.raises(AnnotationError, match="A file is being imported, which may name them"):
        erase_person(make_person(project, "cyd"), reason="Asked.", by=None, now=NOW)
    file.delete()
    assert everything() == before


def test_answer_on_its_way_is_refused_once_its_person_is_erased(project: Project, ben: Rater) -> None:
    held = Assignment.objects.get(rater=ben, state="leased")
    stale = Rater.objects.get(pk=ben.pk)
    erase_person(ben, reason="Asked.", by=None, now=NOW)
    with pytest.raises(AnnotationError):
        submit(held.pk, stale, Answer("a"), now=NOW)
    with pytest.raises(NotAMember):
        next_assignment(project, stale, now=NOW)
    assert not Preference.objects.filter(rater=ben).exists()
    assert broken() == []


def test_command_shows_what_would_go_and_wants_the_name_twice(project: Project, ben: Rater, capsys: Any) -> None:
    call_command("erase_person", project.slug, "ben")
    assert "Nothing was changed. To erase them for good: --confirm ben" in capsys.readouterr().out
    with pytest.raises(CommandError, match="--confirm says"):
        call_command("erase_person", project.slug, "ben", "--confirm", "cyd")
    assert Preference.objects.filter(rater=ben).exists()
    call_command("erase_person", project.slug, "ben", "--confirm", "ben", "--by", "ada", "--reason", "Asked.")
    assert "Erased: 6 answers, 5 with a reason." in capsys.readouterr().out
    assert not Preference.objects.filter(rater=ben).exists()


def test_no_file_brings_back_what_an_erased_person_said(project: Project, tmp_path: Path) -> None:
    other = make_project("other")

    def said(*names: str) -> Path:
        rows = [
            {
                "id": f"p{number}",
                "prompt": f"Question {number}?",
                "response_a": "Yes.",
                "response_b": "No.",
                "human": [{"annotator": name, "choice": "a"} for name in names],
            }
            for number in range(3)
        ]
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    import_pairs(project, said("Dora", "Emil"))
    take_snapshot(project, out=tmp_path / "export", profiles=["annotations"], format="jsonl", seed=7)
    lines = [
        line
        for file in (tmp_path / "export" / "annotations").rglob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    named = {row["annotator_id"] for row in map(json.loads, lines)}
    emil = pseudonym(pseudonym_key(project, 7), "Emil")
    assert len(named) == 2
    assert emil in named
    dora = Rater.objects.get(name="Dora")
    erase_person(dora, reason="asked", by=None, now=NOW)

    # Their own name, and the one that the export gave them; Emil's answers are there already.
    report = import_pairs(project, said("Dora", "Emil", *sorted(named)))
    assert (report.added, report.already_there, report.preferences, report.refused) == (0, 3, 3, False)
    assert "Answers of somebody who was erased from this project are left out (3 rows)." in report.notes
    assert set(Preference.objects.filter(pair__project=project).values_list("rater__name", flat=True)) == {"Emil", emil}
    # Nobody was erased from another project.
    assert import_pairs(other, said("Dora")).preferences == 3


def labelled(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_label_that_a_column_gives_to_an_erased_person_is_left_out_under_any_map(
    project: Project, tmp_path: Path
) -> None:
    ben = make_person(project, "Benedikt")
    Guest.objects.create(project=project, platform="prolific", external_id="5f00c0ffee", rater=ben)
    make_answer(make_pair(project), ben, "a")
    erase_person(ben, reason="asked", by=None, now=NOW)
    people = ["BENEDIKT ", "Bene\u200bdikt", "5f00c0ffee", "Cyd"]
    path = labelled(
        tmp_path,
        [
            {"prompt": f"{n}?", "chosen": "Yes.", "rejected": "No.", "who": who, "sure": "yes"}
            for n, who in enumerate(people)
        ],
    )
    # The column as nobody's label, with the gold that it makes; then as the person's.
    report = import_pairs(project, path, field_map={"gold": "sure"})
    assert (report.added, report.preferences) == (4, 1)
    assert "Answers of somebody who was erased from this project are left out (3 rows)." in report.notes
    said = Preference.objects.filter(pair__project=project, rater__name="imported label").get()
    assert said.pair.meta["who"] == "Cyd"
    assert [gold.pair for gold in Gold.objects.filter(pair__project=project)] == [said.pair]
    assert not [meta for meta in project.pairs.exclude(pk=said.pair.pk).values_list("meta", flat=True) if "who" in meta]
    other = make_project("other")
    erase_person(make_person(other, "Benedikt"), reason="asked", by=None, now=NOW)
    report = import_pairs(other, path, field_map={"rater": "who"})
    assert (report.added, report.preferences) == (4, 2)


def test_labels_without_a_name_are_nobody_s_and_come_in_after_one_was_erased(project: Project, tmp_path: Path) -> None:
    path = labelled(tmp_path, [{"prompt": "Why?", "chosen": "Yes.", "rejected": "No."}])
    import_pairs(project, path)
    erase_person(Rater.objects.get(name="imported label"), reason="asked", by=None, now=NOW)
    assert not SuppressedName.objects.exists()


def test_who_came_in_under_the_name_of_an_export_is_erased_too(project: Project, tmp_path: Path) -> None:
    pair = make_pair(project)
    make_answer(pair, make_person(project, "Dora"), "a")
    take_snapshot(project, out=tmp_path / "export", format="jsonl", seed=7)
    same = pseudonym(pseudonym_key(project, 7), "Dora")
    make_answer(make_pair(project), same, "b")
    erase_person(Rater.objects.get(name="Dora"), reason="asked", by=None, now=NOW)
    assert not Preference.objects.filter(pair__project=project).exists()
    assert Erasure.objects.count() == 2
    assert not Rater.objects.filter(name=same).exists()


def test_what_imports_said_of_a_person_s_rows_loses_the_name(project: Project) -> None:
    ben = make_person(project, "B\u00e9n")
    told = {"rejected": [{"line": 3, "field": "choice", "reason": f"{ben.name!a} says 'b' of 'p0'"}], "rows": 4}
    file = Import.objects.create(project=project, filename="a.jsonl", state=Import.State.REFUSED, report=told)
    erase_person(ben, reason="asked", by=None, now=NOW)
    file.refresh_from_db()
    assert file.report == {
        "rejected": [{"line": 3, "field": "choice", "reason": "somebody who was erased says 'b' of 'p0'"}],
        "rows": 4,
    }


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_nobody_is_erased_while_an_import_writes() -> None:
    project = make_project(pay_per_answer_usd=Decimal(0))
    ben = make_person(project, "ben")
    make_answer(make_pair(project), ben, "a")
    holds, done = Event(), Event()

    def write() -> None:
        with transaction.atomic():
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # as `import_pairs` does
            holds.set()
            done.wait(30)
        connection.close()

    writer = Thread(target=write)
    writer.start()
    assert holds.wait(30)
    with pytest.raises(AnnotationError, match="The project is being written to, perhaps by an import"):
        erase_person(ben, reason="asked", by=None, now=NOW)
    assert Preference.objects.filter(rater=ben).count() == 1
    done.set()
    writer.join()
    assert erase_person(ben, reason="asked", by=None, now=NOW).answers == 1
