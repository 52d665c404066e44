import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Origin, Preference, Project, Rater
from exports.reporting import REPORTS
from judges.models import JudgeVersion
from tests.builders import make_pair, make_preference

Cast = Callable[..., list[Preference]]
MakeJudge = Callable[..., JudgeVersion]


def run(*args: str) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_export_dataset_tells_files_rows_and_what_was_left_out(labelled: Project, out: Path) -> None:
    text = run("export_dataset", labelled.slug, "--out", str(out))
    assert "dpo: 8 rows of 12 pairs" in text
    assert "left out       1  people share the first place between two answers" in text
    assert "README.md" in text
    assert text.splitlines()[-1] == f'Load it: datasets.load_dataset("{out}")'
    assert "DPOTrainer" in text
    assert "simulated" not in text


def test_export_dataset_says_when_people_were_simulated(labelled: Project, out: Path) -> None:
    rater = Rater.objects.create(project=labelled, kind="person", origin=Origin.SIMULATED, name="sim")
    make_preference(make_pair(labelled), rater, "a")
    assert "1 rows rest on answers of simulated people" in run("export_dataset", labelled.slug, "--out", str(out))


def test_export_dataset_prints_one_json_object_on_the_last_line(labelled: Project, out: Path) -> None:
    text = run("export_dataset", labelled.slug, "--profile", "dpo", "--format", "jsonl", "--out", str(out), "--json")
    result = json.loads(text.splitlines()[-1])
    assert result["folder"] == str(out)
    assert result["counts"]["profiles"]["dpo"]["rows"] == 8
    assert {Path(file["path"]).suffix for file in result["files"]} == {".json", ".jsonl", ".md", ".sh", ".yaml"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--seed", "-3"], "The seed is -3"),
        (["--test-share", "2"], "test_share is 2.0"),
        (["--min-agreement", "nan"], "min_agreement is nan"),
        (["--format", "xml"], "invalid choice: 'xml'"),
        (["--tie-rule", "coin"], "invalid choice: 'coin'"),
        (["--profile", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_export_dataset_refuses_what_it_does_not_know(
    labelled: Project, out: Path, extra: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run("export_dataset", labelled.slug, "--out", str(out), *extra)
    assert not out.exists()


def test_export_dataset_of_a_project_that_is_not_there_names_those_that_are(labelled: Project, out: Path) -> None:
    with pytest.raises(CommandError, match=r"There is no project 'nowhere'\. Projects: helpfulness"):
        run("export_dataset", "nowhere", "--out", str(out))


@pytest.mark.parametrize("report", sorted(REPORTS))
def test_report_prints_for_a_person_and_for_a_machine(labelled: Project, make_judge: MakeJudge, report: str) -> None:
    make_judge(labelled)
    text = run("report", labelled.slug, report, "--json")
    *lines, last = text.splitlines()
    assert json.loads(last)
    assert lines


def test_report_on_judges_is_a_table_unless_all_is_wanted(labelled: Project, make_judge: MakeJudge) -> None:
    version = make_judge(labelled)
    short, full = (run("report", labelled.slug, "judges", *more).splitlines() for more in ((), ("--full",)))
    assert "May label alone" in short[1]
    assert any(str(version) in line for line in short)
    assert len(short) < 20 < 100 < len(full)


def test_report_shows_too_few_labels_in_words(project: Project, vote: Cast) -> None:
    vote(make_pair(project), "a", "b")
    assert "too few answers of others on the same pairs (1 of 10)" in run("report", project.slug, "people")


def test_unknown_report_is_refused_with_those_there_are(labelled: Project) -> None:
    with pytest.raises(CommandError, match="invalid choice: 'gossip'"):
        run("report", labelled.slug, "gossip")


def test_export_dataset_says_where_it_could_not_write(labelled: Project, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("a file, no folder")
    with pytest.raises(CommandError, match=r"could not be written to .*Name another folder with --out"):
        run("export_dataset", labelled.slug, "--out", str(out / "below"))
