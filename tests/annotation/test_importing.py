"""All or nothing, the same file twice, dry runs, consumers, the command."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation import importing
from annotation.errors import AnnotationError
from annotation.importing import ImportedRow, OnError, RowRefused, import_pairs, register_consumer
from annotation.models import Origin, Pair, Preference, Project, Prompt, Rater, Rating, Response
from annotation.records import RejectedRow
from tests.builders import make_person, make_project
from tests.importing_files import jsonl_bytes, pair, run, skipping

pytestmark = pytest.mark.django_db

TABLES = (Prompt, Response, Pair, Rater, Preference, Rating)


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without the consumers that apps registered."""
    monkeypatch.setattr(importing, "_consumers", {})


def count_rows() -> list[int]:
    return [table._default_manager.count() for table in TABLES]


def answered(number: int, choice: str = "a", **overrides: Any) -> dict[str, Any]:
    human = [{"annotator": "w1", "choice": choice, "ratings": {"truth": [1, 2]}}]
    return pair(id=f"p{number}", prompt=f"Question {number}?", human=human, **overrides)


def test_same_file_twice_adds_nothing(project: Project, tmp_path: Path) -> None:
    records = [answered(number) for number in range(3)]
    first = run(project, tmp_path, records)
    before = count_rows()
    second = run(project, tmp_path, records)
    assert (first.added, first.already_there) == (3, 0)
    assert (second.added, second.already_there, second.preferences, second.ratings) == (0, 3, 0, 0)
    assert not second.refused
    assert count_rows() == before


def test_file_without_ids_twice_adds_nothing(project: Project, tmp_path: Path) -> None:
    records = [{"prompt": f"Q{n}?", "chosen": "x", "rejected": "y"} for n in range(3)]
    assert run(project, tmp_path, records).added == 3
    assert run(project, tmp_path, records).already_there == 3
    assert Pair.objects.count() == 3


def test_new_peoples_answers_are_added_to_pairs_that_are_there(project: Project, tmp_path: Path) -> None:
    run(project, tmp_path, [answered(1)])
    again = answered(1)
    again["human"].append({"annotator": "w2", "choice": "b"})
    report = run(project, tmp_path, [again])
    assert (report.added, report.already_there, report.preferences) == (0, 1, 1)
    assert dict(Preference.objects.values_list("rater__name", "choice")) == {"w1": "a", "w2": "b"}


def test_changed_answer_of_a_stored_pair_is_a_bad_row(project: Project, tmp_path: Path) -> None:
    run(project, tmp_path, [answered(1)])
    report = run(project, tmp_path, [answered(1, choice="b")])
    assert report.refused
    assert report.rejected == [RejectedRow(1, "choice", "'w1' says 'b' of 'p1', but said 'a' before")]
    assert Preference.objects.get().choice == "a"


@pytest.mark.parametrize(
    "change", [{"response_b": "Other."}, {"prompt": "Other?"}, {"meta": {"group": "g"}}, {"meta": {"model_a": "m"}}]
)
def test_same_id_with_other_content_is_a_bad_row_that_names_it(
    project: Project, tmp_path: Path, change: dict[str, Any]
) -> None:
    run(project, tmp_path, [pair()])
    report = run(project, tmp_path, [pair(**change)])
    assert report.rejected == [RejectedRow(1, "id", "'p1' is in the project already with other content")]
    assert Pair.objects.count() == 1


def test_id_that_stands_twice_in_a_file_is_a_bad_row(project: Project, tmp_path: Path) -> None:
    report = skipping(project, tmp_path, [pair(), pair(id="p2", response_a="Green."), pair()])
    assert report.rejected == [RejectedRow(3, "id", "'p1' was used before, in line 1")]
    assert report.added == 2


def test_same_texts_with_contrary_labels_are_a_bad_row(project: Project, tmp_path: Path) -> None:
    one, other = {"prompt": "Q?", "chosen": "x", "rejected": "y"}, {"prompt": "Q?", "chosen": "y", "rejected": "x"}
    report = skipping(project, tmp_path, [one, one, other])
    assert (report.added, report.already_there) == (1, 1)
    assert report.rejected == [RejectedRow(3, "", "the same pair stands in line 1 with another label")]


def test_refused_file_leaves_nothing_and_lists_every_bad_row(project: Project, tmp_path: Path) -> None:
    before = count_rows()
    records = [answered(number) for number in range(1200)]
    for line in (3, 700, 1200):
        records[line - 1]["response_a"] = None
    report = run(project, tmp_path, records)
    assert report.refused
    assert [(row.line, row.field) for row in report.rejected] == [(n, "response_a") for n in (3, 700, 1200)]
    assert (report.rows, report.rejected_count, report.added) == (1200, 3, 0)
    assert count_rows() == before


def test_skipping_stores_the_rest_and_the_counts_add_up(project: Project, tmp_path: Path) -> None:
    records = [answered(number) for number in range(1200)]
    for line in (3, 700, 1200):
        records[line - 1]["response_a"] = None
    report = skipping(project, tmp_path, records)
    assert not report.refused
    assert (report.added, report.rejected_count, report.rows) == (1197, 3, 1200)
    assert Pair.objects.count() == Preference.objects.count() == 1197


def test_list_of_bad_rows_is_capped_and_their_number_is_not(project: Project, tmp_path: Path) -> None:
    report = run(project, tmp_path, b"nonsense\n" * 1500)
    assert (len(report.rejected), report.rejected_count) == (1000, 1500)


def test_file_without_a_good_row_is_refused_though_bad_rows_may_be_skipped(project: Project, tmp_path: Path) -> None:
    assert skipping(project, tmp_path, [{"x": 1}]).refused


def test_dry_run_says_what_would_happen_and_stores_nothing(project: Project, tmp_path: Path) -> None:
    before = count_rows()
    report = run(project, tmp_path, [answered(1), answered(2)], dry_run=True)
    assert (report.added, report.preferences, report.ratings, report.dry_run) == (2, 2, 4, True)
    assert count_rows() == before


def test_recorded_person_never_becomes_somebody_who_answers_here(project: Project, tmp_path: Path) -> None:
    make_person(project, "ben")
    report = run(project, tmp_path, [pair(human=[{"annotator": "ben", "choice": "a"}])])
    assert report.refused
    assert (report.rejected[0].field, "somebody who answers here" in report.rejected[0].reason) == ("annotator", True)
    assert Rater.objects.get(name="ben").origin == Origin.LIVE


def test_scale_of_a_criterion_is_widened_and_never_narrowed(project: Project, tmp_path: Path) -> None:
    project.criteria.create(name="truth", scale_min=1, scale_max=1.5)
    run(project, tmp_path, [answered(1)])
    truth = project.criteria.get(name="truth")
    assert (truth.scale_min, truth.scale_max) == (1, 2)


def test_progress_counts_the_rows_while_checking_and_while_storing(project: Project, tmp_path: Path) -> None:
    seen: list[int] = []
    run(project, tmp_path, [answered(number) for number in range(600)], progress=seen.append)
    assert seen == [500, 600, 500, 600]


def test_batch_needs_few_queries(project: Project, tmp_path: Path, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(60):
        run(project, tmp_path, [answered(number) for number in range(200)])


def test_file_that_is_not_there_is_an_error(project: Project, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="There is no file"):
        import_pairs(project, tmp_path / "nothing.jsonl")


def test_unknown_format_is_an_error(project: Project, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="choose one of auto, jsonl"):
        run(project, tmp_path, [pair()], format="xml")


# --- Consumers ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("consumers")
def test_consumer_gets_new_pairs_with_their_records_and_lines(project: Project, tmp_path: Path) -> None:
    heard: list[ImportedRow] = []
    register_consumer(lambda project, rows: heard.extend(rows))
    run(project, tmp_path, [pair(), pair(id="p2", judges=[{"model": "m", "choice": "a"}])])
    run(project, tmp_path, [pair()])
    assert [(row.pair.external_id, row.line, row.record["judges"]) for row in heard] == [
        ("p1", 1, []), ("p2", 2, [{"model": "m", "choice": "a"}]),
    ]  # fmt: skip


@pytest.mark.usefixtures("consumers")
def test_label_given_to_a_judge_reaches_consumers_in_the_stored_order(project: Project, tmp_path: Path) -> None:
    heard: list[ImportedRow] = []
    register_consumer(lambda project, rows: heard.extend(rows))
    run(project, tmp_path, [{"prompt": "Q?", "chosen": "x", "rejected": "y"}], field_map={"judge": "=gpt-4"})
    (judgement,) = heard[0].record["judges"]
    stored = Pair.objects.with_texts().get()
    better = stored.response_a if judgement["choice"] == "a" else stored.response_b
    assert (judgement["model"], better.text) == ("gpt-4", "x")


@pytest.mark.usefixtures("consumers")
def test_what_a_consumers_check_finds_is_a_bad_row(project: Project, tmp_path: Path) -> None:
    def check(record: dict[str, Any]) -> list[tuple[str, str]]:
        return [("judges[0].choice", "is missing")] if record["judges"] else []

    register_consumer(lambda project, rows: None, check)
    report = skipping(project, tmp_path, [pair(judges=[{}]), pair(id="p2")])
    assert report.rejected == [RejectedRow(1, "judges[0].choice", "is missing")]
    assert report.added == 1


@pytest.mark.usefixtures("consumers")
@pytest.mark.parametrize(("on_error", "added"), [(OnError.SKIP, 2), (OnError.REFUSE, 0)])
def test_row_a_consumer_refuses_is_taken_out_of_its_batch(
    project: Project, tmp_path: Path, on_error: OnError, added: int
) -> None:
    def consume(project: Project, rows: list[ImportedRow]) -> None:
        for row in rows:
            if row.pair.external_id == "p2":
                raise RowRefused(row.line, "judges", "cannot be taken")

    register_consumer(consume)
    report = run(project, tmp_path, [answered(1), answered(2), answered(3)], on_error=on_error)
    assert report.rejected == [RejectedRow(2, "judges", "cannot be taken")]
    assert (report.added, report.refused) == (added, on_error == OnError.REFUSE)
    assert Pair.objects.count() == Preference.objects.count() == added


@pytest.mark.usefixtures("consumers")
def test_judgements_nobody_reads_are_said(project: Project, tmp_path: Path) -> None:
    report = run(project, tmp_path, [pair(judges=[{"model": "m", "choice": "a"}])])
    assert any("judgements (judges) are not stored" in note for note in report.notes)


# --- The command ----------------------------------------------------------------------------------------------------


def test_command_prints_a_summary_and_json_last(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(jsonl_bytes([answered(1)]))
    out = StringIO()
    call_command("import_pairs", project.slug, str(path), "--json", stdout=out)
    lines = out.getvalue().splitlines()
    assert "Read as JSON Lines." in lines
    assert any(line.startswith("Added 1 pairs, 1 preferences and 2 ratings") for line in lines)
    assert json.loads(lines[-1])["added"] == 1


def test_command_lists_bad_rows_with_file_line_and_field_and_fails(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(jsonl_bytes([pair(response_a=7), *({"x": 1} for _ in range(30))]))
    out = StringIO()
    with pytest.raises(CommandError, match=r"pairs\.jsonl was refused; nothing was stored"):
        call_command("import_pairs", project.slug, str(path), "--json", stdout=out)
    text = out.getvalue()
    assert "pairs.jsonl:1 response_a: is a number, not a text or a list of messages\n" in text
    assert "(and 29 more rows, the last in line 31)" in text
    assert json.loads(text.splitlines()[-1])["rejected_count"] == 31


def test_command_takes_a_map_in_any_number_of_parts(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("q,x,y\nQ?,1,2\n")
    call_command(
        "import_pairs", project.slug, str(path), "--map", "prompt=q", "response_a=x", "--map", "response_b=y",
        stdout=StringIO(),
    )  # fmt: skip
    assert Pair.objects.with_texts().get().response_b.text == "2"


def test_command_refuses_a_field_named_twice(project: Project, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="names a field twice"):
        call_command("import_pairs", project.slug, "x.csv", "--map", "choice=a", "choice=b", stdout=StringIO())


def test_row_of_many_completions_fills_a_batch_by_itself(project: Project, tmp_path: Path, consumers: None) -> None:
    sizes: list[int] = []
    register_consumer(lambda _project, rows: sizes.append(len(rows)))
    records = [{"prompt": f"Q{n}?", "completions": [f"answer {k}" for k in range(33)]} for n in range(3)]
    assert run(project, tmp_path, records).added == 3 * 528
    assert sizes == [528, 528, 528]
