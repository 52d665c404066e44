"""A published dataset makes its project again: pairs, answers under pseudonyms and labels; then exports equal rows."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Criterion, Origin, Pair, Preference, Project, Rater, RaterKind, Rating
from exports.carrying import carry_project
from exports.errors import ExportError
from exports.grouping import Groups
from exports.models import Snapshot
from exports.publishing.places import hash_file
from exports.publishing.queueing import begin, carry_out
from exports.rebuilding import rebuild_project
from exports.screening import Gate
from exports.settings import SnapshotSettings
from exports.snapshotting import take_snapshot
from judges.models import Judge, JudgeKind, JudgeVersion, Order, Verdict, VerdictState
from routing.labels.resolving import resolve_labels
from routing.models import Label
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt
from tests.exports.publishing.exports import make_export
from tests.hub_server import HubServer

TARGET = "lab/helpfulness"
# Made anew in every export of every project.
PSEUDONYMS = ("annotator_ids", "annotator_choices", "annotator_origins", "basis", "rationale_by")


@pytest.fixture
def project(db: None) -> Project:
    """Return a project with people of every origin, a judge, ratings, ties, doubt and pairs that nobody answered."""
    project = make_project(with_people=True, guidelines="Be *kind*.", votes_wanted=2, rationale_required=True)
    tone = Criterion.objects.create(project=project, name="tone", description="Is it friendly?", position=1)
    ben, sim = make_person(project, "ben"), make_person(project, "sim", origin=Origin.SIMULATED)
    version = _judge(project)
    prompts = [make_prompt(project, f"Frage {one}? ☃\u2028", group=f"g{one}", language="de") for one in range(5)]
    for number in range(12):
        pair = make_pair(
            project,
            prompt=prompts[number % 5],
            external_id=f"p{number:02d}",
            source="mine",
            meta={"licence": "CC0", "n": number},
        )
        if number < 6:
            choice = ("a", "b", "tie", "both_bad", "unsure", "a")[number]
            more: dict[str, Any] = {
                "strength": 2 if choice in "ab" else None,
                "rationale": f"Because of {number}.",
                "rationale_timing": "after",
                "shown_order": "ba",
                "seconds": 12.5,
                "confidence": 3,
                "reasons": [{"side": "a", "reason": "clear"}],
                "content_flags": ["spam"],
            }
            make_preference(pair, ben, choice, **more)
            make_preference(pair, "recorded-dora", choice)
            make_preference(pair, sim, "b")
            Preference.objects.create(pair=pair, rater=ben, criterion=tone, choice="b", shown_order="ba")
            for response, value in ((pair.response_a, 4.0), (pair.response_b, 2.0)):
                Rating.objects.create(rater=ben, response=response, criterion=tone, pair=pair, value=value)
        if number < 10:
            _judged(version, pair, consistent=number != 7)
    resolve_labels(project)
    return project


def _judge(project: Project) -> JudgeVersion:
    judge = Judge.objects.create(project=project, name="gpt", kind=JudgeKind.OPENAI)
    rater = Rater.objects.create(project=project, kind=RaterKind.JUDGE, origin=Origin.LIVE, name="gpt v1")
    return JudgeVersion.objects.create(
        judge=judge,
        rater=rater,
        number=1,
        protocol="pairwise",
        model="gpt-x",
        content_hash="h",
        prompt_template="Which?",
    )


def _judged(version: JudgeVersion, pair: Pair, *, consistent: bool) -> None:
    for order, choice in ((Order.AB, "a"), (Order.BA, "a" if consistent else "b")):
        prob = 0.9 if choice == "a" else 0.1
        Verdict.objects.create(
            version=version, pair=pair, order=order, state=VerdictState.DONE, choice=choice, prob_a=prob,
            rationale=f"{order} says so",
        )  # fmt: skip
    choice, prob, why = ("a", 0.9, "ab says so") if consistent else ("tie", 0.5, "")
    make_preference(pair, version.rater, choice, prob_a=prob, rationale=why, shown_order="ab" if why else "")


def rows_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    files = sorted(Path(snapshot.folder).glob("dpo/*.jsonl"))
    return [{"split": file.stem, **json.loads(line)} for file in files for line in file.read_text().split("\n") if line]


def without_names(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its people told apart, not named; live ones count as recorded once they were imported."""
    live = {"live": "recorded"}
    people = zip(row["annotator_choices"], row["annotator_origins"], row["basis"], strict=True)
    told = sorted((choice, live.get(origin, origin), basis) for choice, origin, basis in people)
    origin = live.get(row["rationale_origin"], row["rationale_origin"])
    return {**{k: v for k, v in row.items() if k not in PSEUDONYMS}, "rationale_origin": origin, "people": told}


def carried(project: Project, folder: Path) -> Path:
    """Write an export that is nothing but its project, and a manifest; a whole one with its report takes longer."""
    written = carry_project(folder, project, key=b"key", gate=Gate(SnapshotSettings()), groups=Groups(1))
    files = [
        {"path": path, "rows": rows, "sha256": hash_file(folder / path), "bytes": (folder / path).stat().st_size}
        for path, rows in written.items()
    ]
    manifest = {"format": "tiebreak-export/1", "project": project.slug, "content_hash": "0" * 64, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def publish_and_rebuild(project: Project, tmp_path: Path) -> Project:
    snapshot = take_snapshot(project, out=tmp_path / "one", format="jsonl", with_project=True, test_share=0.3)
    publication = carry_out(begin(snapshot, TARGET))
    assert publication.error == ""
    return rebuild_project(TARGET, slug="again", revision="v1").project


def test_push_then_rebuild_gives_an_equal_project(server: HubServer, project: Project, tmp_path: Path) -> None:
    again = publish_and_rebuild(project, tmp_path)
    for name in ("title", "guidelines", "template", "votes_wanted", "rationale_required", "aggregation", "seed"):
        assert getattr(again, name) == getattr(project, name), name
    named = [list(one.criteria.exclude(name="overall").values_list("name", "description")) for one in (project, again)]
    assert named[0] == named[1] == [("tone", "Is it friendly?")]
    pairs = [
        {
            pair.external_id: (
                pair.source, pair.meta, pair.prompt.messages, pair.prompt.group, pair.prompt.language,
                pair.response_a.messages, pair.response_b.messages, pair.response_a.model, pair.response_b.model,
            )
            for pair in Pair.objects.filter(project=one).with_texts()
        }
        for one in (project, again)
    ]  # fmt: skip
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) == 12
    told = (
        "pair__external_id", "criterion__name", "choice", "strength", "prob_a", "rationale", "rationale_timing",
        "shown_order", "seconds", "confidence", "reasons", "content_flags", "basis", "rater__kind",
    )  # fmt: skip
    answers = [
        sorted(map(repr, Preference.objects.filter(pair__project=one).values_list(*told))) for one in (project, again)
    ]
    assert answers[0] == answers[1]
    rated = ("pair__external_id", "criterion__name", "value")
    ratings = [sorted(Rating.objects.filter(pair__project=one).values_list(*rated)) for one in (project, again)]
    assert ratings[0] == ratings[1]
    labels = [
        {label.pair.external_id: (label.source, label.choice, label.prob_a, label.strength, label.n_votes)
         for label in Label.objects.filter(pair__project=one).select_related("pair")}
        for one in (project, again)
    ]  # fmt: skip
    assert labels[0] == labels[1]
    origins = dict(Rater.objects.filter(project=again, kind=RaterKind.PERSON).values_list("name", "origin"))
    assert all(name.startswith("person-") for name in origins)
    assert sorted(origins.values()) == [Origin.RECORDED, Origin.RECORDED, Origin.SIMULATED]


def test_an_export_of_the_project_made_again_has_equal_rows(
    server: HubServer, project: Project, tmp_path: Path
) -> None:
    # A plan's marks at labels of people and of the judge, which no answer makes again.
    for label in Label.objects.filter(pair__project=project):
        label.provenance |= {
            "published": True,
            "route": "people",
            "audit": True,
            "selection_prob": 0.25,
            "p_wrong": 0.3,
        }
        label.save()
    again = publish_and_rebuild(project, tmp_path)
    first = Snapshot.objects.get(project=project)
    second = take_snapshot(again, out=tmp_path / "two", format="jsonl", test_share=0.3)
    rows = [[without_names(row) for row in rows_of(snapshot)] for snapshot in (first, second)]
    assert rows[0] == rows[1]
    assert len(rows[0]) > 5
    assert {row["label_source"] for row in rows[0]} == {"human", "ai"}
    assert {row["selection_prob"] for row in rows[0]} == {0.25}
    assert first.counts["left_out"] == second.counts["left_out"]
    # The same people, told apart as before.
    people = [
        {row["external_id"]: len(set(row["annotator_ids"])) for row in rows_of(snapshot)}
        for snapshot in (first, second)
    ]
    assert people[0] == people[1]


def test_what_came_with_a_dataset_gives_way_to_an_answer_here(project: Project, tmp_path: Path) -> None:
    again = rebuild_project(str(carried(project, tmp_path / "one")), slug="again").project
    label = Label.objects.get(pair__project=again, pair__external_id="p08")
    assert (label.source, label.choice) == ("ai", "a")
    make_preference(label.pair, "somebody", "b")
    resolve_labels(again)
    label.refresh_from_db()
    assert (label.source, label.choice) == ("human", "b")


def test_no_name_account_or_known_answer_is_carried(project: Project, tmp_path: Path) -> None:
    snapshot = take_snapshot(project, out=tmp_path / "one", with_project=True)
    texts = "".join(path.read_text() for path in (Path(snapshot.folder) / "project").iterdir())
    for canary in ("ben", "recorded-dora", '"sim"', "gold", "usd", str(project.pk)):
        assert canary not in texts, canary
    paths = {file["path"] for file in snapshot.files}
    assert {"project/project.json", "project/pairs.jsonl", "project/labels.jsonl"} <= paths


def test_the_command_makes_it_from_an_exports_folder(project: Project, tmp_path: Path) -> None:
    folder = carried(project, tmp_path / "one")
    out = io.StringIO()
    call_command("rebuild_project", "again", "--from", str(folder), "--json", stdout=out)
    result = json.loads(out.getvalue().splitlines()[-1])
    assert result == {"project": "again", "pairs": 12, "preferences": 24, "ratings": 12, "labels": result["labels"]}
    with pytest.raises(CommandError, match="There is a project 'again' already"):
        call_command("rebuild_project", "again", "--from", str(folder))
    release = tmp_path / "releases"
    carry_out(begin(folder, str(release)))
    assert rebuild_project(str(release), slug="third").report.added == 12


def test_a_dataset_without_a_project_or_otherwise_than_its_manifest_makes_none(
    project: Project, tmp_path: Path
) -> None:
    bare = make_export(project, tmp_path / "bare", 1, rows=2)
    with pytest.raises(ExportError, match="carries no project"):
        rebuild_project(bare.folder, slug="again")
    whole = carried(project, tmp_path / "whole")
    pairs = whole / "project/pairs.jsonl"
    pairs.write_text(pairs.read_text().replace('"choice": "a"', '"choice": "b"'))
    with pytest.raises(ExportError, match=r"project/pairs.jsonl of .* is not as its manifest says"):
        rebuild_project(str(whole), slug="again")
    assert not Project.objects.filter(slug="again").exists()


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("project/project.json", "{}", "project/project.json is not as we write it"),
        ("project/project.json", "[" * 5000, "project/project.json is not as we write it"),
        ("project/pairs.jsonl", '{"prompt": "Why?"}\n', "line 1"),
        ("project/labels.jsonl", '{"id": "p00"}\n', "labels.jsonl is not as we write it"),
        ("project/labels.jsonl", "", ""),
    ],
)
def test_content_that_is_not_ours_makes_no_project(
    project: Project, tmp_path: Path, path: str, text: str, said: str
) -> None:
    folder = carried(project, tmp_path / "one")
    (folder / path).write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        if file["path"] == path:
            file["sha256"] = hash_file(folder / path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if not said:
        assert rebuild_project(str(folder), slug="again").labels == 0
        return
    with pytest.raises(ExportError, match=said):
        rebuild_project(str(folder), slug="again")
    assert not Project.objects.filter(slug="again").exists()
    assert not Pair.objects.exclude(project=project).exists()
