"""Exports pushed to the Hub, which speaks its own protocol on loopback: what is stored here and there after each."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from annotation.models import Project, Prompt
from exports.models import Publication, PublicationState, Snapshot
from exports.publishing.queueing import begin, carry_out, try_again
from exports.snapshotting import take_snapshot
from tests.builders import make_pair, make_preference
from tests.exports.publishing.exports import make_export
from tests.hub_server import TOKEN, Fault, HubServer, Repository

pytestmark = pytest.mark.either_database

TARGET = "lab/helpfulness"


def push(snapshot: Snapshot, **more: Any) -> Publication:
    return carry_out(begin(snapshot, TARGET, **more))


def contents(snapshot: Snapshot) -> dict[str, bytes]:
    folder = Path(snapshot.folder)
    return {file["path"]: (folder / file["path"]).read_bytes() for file in snapshot.files}


def test_a_first_push_makes_a_private_repository_with_one_commit_and_a_tag(
    server: HubServer, snapshot: Snapshot
) -> None:
    publication = push(snapshot)
    assert (publication.state, publication.error) == (PublicationState.DONE, "")
    repository = server.repositories[TARGET]
    assert repository.private
    assert [one.title for one in repository.commits[1:]] == [
        f"v1: export of {snapshot.project}, content {snapshot.content_hash[:12]}"
    ]
    there = {path: content for path, content in repository.head.files.items() if path != ".gitattributes"}
    assert there == contents(snapshot)
    assert (publication.commit, publication.parent) == (repository.head.oid, repository.commits[0].oid)
    assert repository.tags == {"v1": repository.head.oid}
    assert (publication.is_public, publication.was_there) == (False, False)
    assert publication.link == f"{server.origin}/datasets/{TARGET}/tree/{repository.head.oid}"
    # Large files went by LFS: uploaded to the store, verified there, and read back from it without the token.
    large = [content for path, content in there.items() if path.endswith((".jsonl", ".parquet"))]
    assert sorted(server.verified) == sorted(hashlib.sha256(content).hexdigest() for content in large)
    assert server.leaked == []


def test_the_same_export_again_makes_no_second_commit_and_says_so(server: HubServer, snapshot: Snapshot) -> None:
    first, second = push(snapshot), push(snapshot)
    assert (second.state, second.was_there, second.commit) == (PublicationState.DONE, True, first.commit)
    assert server.calls("POST .*/commit/") == 1
    assert len(server.repositories[TARGET].commits) == 2


def test_an_update_goes_onto_the_last_commit_and_removes_what_the_export_no_longer_has(
    server: HubServer, snapshot: Snapshot, later: Snapshot
) -> None:
    first = push(snapshot)
    second = push(later)
    assert (second.state, second.error, second.parent) == (PublicationState.DONE, "", first.commit)
    repository = server.repositories[TARGET]
    assert {path for path in repository.head.files if path.endswith(".parquet")} == set()
    assert {path: repository.head.files[path] for path in contents(later)} == contents(later)
    assert repository.tags == {"v1": first.commit, "v2": second.commit}


def test_what_others_put_beside_an_export_stays(server: HubServer, snapshot: Snapshot, later: Snapshot) -> None:
    push(snapshot)
    repository = server.repositories[TARGET]
    theirs = repository.commit("add a licence", {**repository.head.files, "LICENSE": b"theirs"})
    assert push(later).state == PublicationState.FAILED
    publication = push(later, onto=theirs)
    assert (publication.state, publication.parent) == (PublicationState.DONE, theirs)
    assert repository.head.files["LICENSE"] == b"theirs"


def test_a_repository_that_changed_since_is_refused_in_words_before_anything_is_sent(
    server: HubServer, snapshot: Snapshot, later: Snapshot
) -> None:
    first = push(snapshot)
    repository = server.repositories[TARGET]
    theirs = repository.commit("mend the card", {**repository.head.files, "README.md": b"mended"})
    publication = push(later)
    assert publication.state == PublicationState.FAILED
    assert f"it stands at {theirs}, not at {first.commit}" in publication.error
    assert f"publish again onto {theirs} (--onto)" in publication.error
    assert (publication.sent_at, publication.commit) == (None, "")
    assert repository.head.oid == theirs
    assert server.calls("POST .*/commit/") == 1


def test_a_stale_parent_is_the_servers_to_find_where_somebody_is_quicker(server: HubServer, snapshot: Snapshot) -> None:
    server.before_commit = lambda repository: repository.commit("quicker", {"other.txt": b"theirs"})
    publication = push(snapshot)
    assert publication.state == PublicationState.FAILED
    assert "was changed in the moment of publishing, so nothing was written" in publication.error
    assert "A commit has happened since" in publication.error
    assert publication.commit == ""
    assert server.repositories[TARGET].head.title == "quicker"


def test_a_repository_with_files_of_others_is_not_written_over(server: HubServer, snapshot: Snapshot) -> None:
    repository = server.add(TARGET)
    theirs = repository.commit("theirs", {"README.md": b"theirs", "data.csv": b"1,2"})
    publication = push(snapshot)
    assert "holds files that helpfulness did not publish there from this site: README.md, data.csv" in publication.error
    assert repository.head.oid == theirs
    assert push(snapshot, onto=theirs).state == PublicationState.DONE
    assert repository.head.files["data.csv"] == b"1,2"


def test_an_empty_repository_made_by_hand_is_taken(server: HubServer, snapshot: Snapshot) -> None:
    server.add(TARGET)
    assert push(snapshot).state == PublicationState.DONE
    assert server.calls("POST /api/repos/create") == 0


def test_one_that_somebody_makes_in_the_same_moment_is_taken_too(server: HubServer, snapshot: Snapshot) -> None:
    # 409: the repository exists by the time it is to be made.
    server.faults = [Fault("GET /api/datasets/lab/helpfulness$", 404)]
    server.add(TARGET)
    assert push(snapshot).state == PublicationState.DONE
    assert server.calls("POST /api/repos/create") == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("repos/create", 401, said="Invalid user token"), "does not take this site's token"),
        (Fault("repos/create", 403), "token may not do that at lab/helpfulness"),
        (Fault("preupload", 403), "token may not do that at lab/helpfulness"),
        (Fault("lfs/objects/batch", 404), "has nothing at lab/helpfulness, or this site's token may not see it"),
        (Fault("PUT store:", 400, said="bad part"), "refused (status 400)"),
        (Fault("repos/create", 307, headers={"Location": "/elsewhere"}), "The Hub says that this repository has moved"),
        (Fault("POST .*/commit/", 400, said="too many files"), "It says: too many files"),
        (Fault("POST .*/commit/", 409, said="in conflict"), "something else under that name already"),
    ],
)
def test_a_refusal_is_said_in_words_and_leaves_no_commit(
    server: HubServer, snapshot: Snapshot, fault: Fault, said: str
) -> None:
    server.faults = [fault]
    publication = push(snapshot)
    assert publication.state == PublicationState.FAILED
    assert said in publication.error
    assert publication.commit == ""
    repository = server.repositories.get(TARGET)
    assert repository is None or len(repository.commits) == 1
    again = carry_out(try_again(publication))
    assert (again.state, again.error) == (PublicationState.DONE, "")
    assert len(server.repositories[TARGET].commits) == 2


def test_hub_takes_the_card_of_rows_under_a_licence_and_in_languages_by_any_name(
    server: HubServer, project: Project, tmp_path: Path
) -> None:
    for number, said in enumerate(("English", "zh-CN", "gibberish")):
        pair = make_pair(project, prompt=f"Question {number}?", meta={"license": "Acme Internal Terms"})
        Prompt.objects.filter(pk=pair.prompt_id).update(language=said)
        make_preference(pair, "dora", "a")
    publication = push(take_snapshot(project, out=tmp_path / "real", format="jsonl"))
    assert (publication.state, publication.error) == (PublicationState.DONE, "")
    card = server.repositories[TARGET].head.files["README.md"].decode()
    assert 'license: "other"\nlicense_name: "acme-internal-terms"\nlanguage:\n  - "en"\n  - "zh"\n' in card
    assert server.calls("POST /api/validate-yaml") == 1


def test_a_card_that_the_hub_refuses_is_said_with_its_reason(
    server: HubServer, project: Project, tmp_path: Path
) -> None:
    refused = make_export(project, tmp_path / "refused", 1, rows=1, licence="acme")
    publication = push(refused)
    assert publication.state == PublicationState.FAILED
    assert '"license" must be one of [apache-2.0, ' in publication.error
    assert len(server.repositories[TARGET].commits) == 1


def test_a_wrong_token_is_refused_by_the_hub_itself(server: HubServer, snapshot: Snapshot, settings: Settings) -> None:
    settings.HUB_TOKEN = "hf_wrong"
    publication = push(snapshot)
    assert "The Hub does not take this site's token" in publication.error
    assert server.repositories == {}


def test_without_a_token_nothing_is_asked(server: HubServer, snapshot: Snapshot, settings: Settings) -> None:
    settings.HUB_TOKEN = ""
    assert "sets TIEBREAK_HUB_TOKEN" in push(snapshot).error
    assert server.asked == []


@pytest.mark.parametrize(
    "place", ["GET /api/datasets", "repos/create", "preupload", "PUT store:", "/tag/", "/resolve/"]
)
def test_a_busy_hub_is_waited_for_as_long_as_it_asks(
    server: HubServer, snapshot: Snapshot, pauses: list[float], place: str
) -> None:
    server.faults = [Fault(place, 429, times=2, headers={"Retry-After": "7"})]
    publication = push(snapshot)
    assert (publication.state, publication.error) == (PublicationState.DONE, "")
    assert pauses == [7.0, 7.0]
    assert len(server.repositories[TARGET].commits) == 2


def test_a_busy_hub_is_waited_for_before_a_commit_is_sent_again(
    server: HubServer, snapshot: Snapshot, pauses: list[float]
) -> None:
    server.faults = [Fault("POST .*/commit/", 429, headers={"RateLimit": '"api";r=0;t=9'})]
    publication = push(snapshot)
    assert (publication.state, pauses) == (PublicationState.DONE, [9.0])
    commit_calls = [place for place, line in enumerate(server.asked) if "/commit/main" in line]
    assert len(commit_calls) == 2
    between = server.asked[commit_calls[0] + 1 : commit_calls[1]]
    assert "GET /api/datasets/lab/helpfulness" in between
    assert "GET /api/datasets/lab/helpfulness/commits/main" in between


def test_a_hub_that_asks_to_wait_too_long_is_left_alone(
    server: HubServer, snapshot: Snapshot, pauses: list[float]
) -> None:
    server.faults = [Fault("preupload", 429, headers={"Retry-After": "301"})]
    publication = push(snapshot)
    assert "it asks to wait 301 seconds" in publication.error
    assert (publication.state, pauses) == (PublicationState.FAILED, [])


@pytest.mark.parametrize(
    "fault",
    [
        Fault("preupload", 503),
        Fault("PUT store:", cut="before"),
        Fault("GET .*/tree/", cut="after"),
        Fault("/tag/", cut="after"),
        Fault("repos/create", cut="after"),
        Fault("POST .*/commit/", 500),
        Fault("POST .*/commit/", cut="before"),
        Fault("POST .*/commit/", cut="after"),
        Fault("POST .*/commit/", 200, said="an answer that is none"),
    ],
)
def test_a_fault_on_the_way_leaves_one_commit(server: HubServer, snapshot: Snapshot, fault: Fault) -> None:
    server.faults = [fault]
    publication = push(snapshot)
    if fault.status == 200:
        # It said that all was well and did nothing: nothing is sent again, a person is asked.
        assert publication.state == PublicationState.FAILED
        publication = carry_out(try_again(publication))
    assert (publication.state, publication.error) == (PublicationState.DONE, "")
    repository = server.repositories[TARGET]
    assert len(repository.commits) == 2
    assert publication.commit == repository.head.oid == repository.tags["v1"]


def test_a_commit_that_was_taken_while_its_answer_was_cut_is_found_and_not_sent_again(
    server: HubServer, snapshot: Snapshot
) -> None:
    server.faults = [Fault("POST .*/commit/", cut="after")]
    assert push(snapshot).state == PublicationState.DONE
    assert server.calls("POST .*/commit/") == 1


def test_it_is_found_even_where_somebody_has_committed_on_top(server: HubServer, snapshot: Snapshot) -> None:
    # The answer is lost, and so is every look at what became of it.
    server.faults = [Fault("POST .*/commit/", cut="after")]
    server.before_commit = lambda _: server.faults.append(Fault("GET ", 503, times=1000))
    publication = push(snapshot)
    assert (publication.state, publication.commit) == (PublicationState.FAILED, "")
    assert publication.sent_at is not None
    server.faults, server.before_commit = [], None
    repository = server.repositories[TARGET]
    ours = repository.head.oid
    repository.commit("on top", {**repository.head.files, "NOTES.md": b"on top"})
    again = carry_out(try_again(publication))
    assert (again.state, again.commit, repository.tags) == (PublicationState.DONE, ours, {"v1": ours})
    assert server.calls("POST .*/commit/") == 1


def test_a_hub_that_stays_away_ends_in_words(server: HubServer, snapshot: Snapshot) -> None:
    server.faults = [Fault(".", cut="before", times=1000)]
    publication = push(snapshot)
    assert (publication.state, publication.commit) == (PublicationState.FAILED, "")
    assert "gave no clear answer" in publication.error


@pytest.mark.parametrize("path", ["README.md", "dpo/train.jsonl"])
def test_content_that_comes_back_otherwise_fails_and_is_not_made_public(
    server: HubServer, snapshot: Snapshot, path: str
) -> None:
    server.spoiled = {path: b"something else"}
    publication = push(snapshot, public=TARGET)
    assert publication.state == PublicationState.FAILED
    assert (
        f"{path} came back with the SHA-256 {hashlib.sha256(b'something else').hexdigest()[:12]}" in publication.error
    )
    assert "Do not use that commit" in publication.error
    repository = server.repositories[TARGET]
    assert publication.commit == repository.head.oid
    assert repository.private
    server.spoiled = {}
    again = carry_out(try_again(publication))
    assert (again.state, again.is_public, repository.private) == (PublicationState.DONE, True, False)
    assert server.calls("POST .*/commit/") == 1


def test_a_file_that_does_not_come_back_fails(server: HubServer, snapshot: Snapshot) -> None:
    server.faults = [Fault("GET .*/resolve/.*report.json", 404)]
    assert "report.json came back not at all" in push(snapshot).error


def test_a_tag_that_stands_for_another_state_is_refused_before_anything_is_sent(
    server: HubServer, snapshot: Snapshot, later: Snapshot
) -> None:
    first = push(snapshot)
    publication = push(later, tag="v1")
    assert f"The tag v1 of lab/helpfulness stands for another state ({first.commit[:12]})" in publication.error
    assert server.calls("POST .*/commit/") == 1
    assert push(later, tag="v1.1").state == PublicationState.DONE


def test_a_tag_that_is_taken_in_the_same_moment_is_said(server: HubServer, snapshot: Snapshot) -> None:
    def take(repository: Repository) -> None:
        repository.tags["v1"] = repository.head.oid

    server.before_commit = take
    publication = push(snapshot)
    assert publication.state == PublicationState.FAILED
    assert "something else under that name already" in publication.error
    assert publication.commit == server.repositories[TARGET].head.oid


def test_an_export_that_changed_on_disk_is_not_sent(server: HubServer, snapshot: Snapshot) -> None:
    (Path(snapshot.folder) / "README.md").write_text("changed")
    assert "README.md is not as it was written" in push(snapshot).error
    assert server.asked == []


def test_the_token_is_nowhere_but_in_requests_to_the_hub(
    server: HubServer, snapshot: Snapshot, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    # A server that repeats what it was sent, in places that are kept and shown.
    server.faults = [Fault("POST .*/commit/", 400, said=f"no: Bearer {TOKEN}", headers={"X-Error-Message": TOKEN})]
    failed = push(snapshot)
    assert failed.state == PublicationState.FAILED
    assert carry_out(try_again(failed)).state == PublicationState.DONE
    printed = capfd.readouterr()
    kept = [str(row) for row in Publication.objects.values()]
    for text in (*kept, failed.error, caplog.text, printed.out, printed.err):
        assert TOKEN not in text
    assert server.leaked == []
    assert server.tokens == {f"Bearer {TOKEN}", ""}
    files = [file.read_bytes() for file in Path(snapshot.folder).rglob("*") if file.is_file()]
    there = [content for one in server.repositories[TARGET].commits for content in one.files.values()]
    assert not any(TOKEN.encode() in content for content in (*files, *there))
