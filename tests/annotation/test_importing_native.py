"""Real files: each imported by the command that docs/importing.md names, or refused saying what is missing."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Pair, Preference, Project, Prompt, Rating, Response
from tests.builders import make_project
from tests.services import SHARED_DATA

pytestmark = [pytest.mark.django_db, pytest.mark.shared_data]

SKIP = ("--on-error", "skip")
TWO = ("response_a=response1", "response_b=response2")
IMPORTED: dict[str, tuple[str, tuple[str, ...], tuple[int, int, int]]] = {
    # file, options, (added, people's preferences, bad rows)
    "HH-RLHF lines": ("hh_rlhf_chosen_rejected.jsonl", (), (519, 519, 0)),
    "HH-RLHF Parquet": ("hh_rlhf_chosen_rejected.parquet", (), (400, 400, 0)),
    "ShareGPT": ("dpo_en_demo_sharegpt.json", (), (294, 294, 0)),
    "PandaLM": (
        "pandalm_testset_native.json",
        (
            "--map", "id=idx", "prompt=instruction,input", *TWO, "choice=annotator1,annotator2,annotator3",
            "choices=1:a,2:b,0:tie", "category=motivation_app", *SKIP,
        ),
        (755, 2265, 6),
    ),
    "pairs with a header": (
        "sparse_feedback_pairs_with_header.csv", ("--map", "prompt=instruction,input", *TWO, *SKIP), (552, 0, 1),
    ),
    "rankings without a header": (
        "sparse_feedback_rankings_no_header.csv",
        (
            "--map", "prompt=1,2", "response_a=3", "response_b=4", "judge_choice=5", "judge==gpt-3.5-turbo",
            "choices=(a):a,(b):b,equal:tie", *SKIP,
        ),
        (116, 0, 2),
    ),
}  # fmt: skip

REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "one response a row": (
        "sparse_feedback_ratings_no_header.csv",
        ("--map", "prompt=1,2", "response_a=3"),
        "names response_a but not response_b",
    ),
    "no header": ("sparse_feedback_ratings_no_header.csv", (), "missing: a prompt and two responses"),
    "nested": ("squality_all_responses_nested.jsonl", (), "missing: a prompt and two responses"),
    "responses by identifier": (
        "fastchat_style_gpt4_review.jsonl", (), "named by identifier only (answer1_id, answer2_id)",
    ),
    "columns unknown without a map": ("pandalm_testset_native.json", (), "missing: two responses"),
}  # fmt: skip


@pytest.fixture
def project() -> Project:
    return make_project(with_people=False)


def command(project: Project, file: str, *options: str) -> dict[str, Any]:
    out = StringIO()
    call_command("import_pairs", project.slug, str(SHARED_DATA / file), *options, "--json", stdout=out)
    report: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return report


@pytest.mark.parametrize("case", list(IMPORTED))
def test_native_file_is_imported_by_its_documented_command(project: Project, case: str) -> None:
    file, options, (added, preferences, rejected) = IMPORTED[case]
    report = command(project, f"native/{file}", *options)
    assert (report["added"], report["preferences"], report["rejected_count"]) == (added, preferences, rejected)
    assert report["rows"] == report["added"] + report["already_there"] + report["rejected_count"]
    assert command(project, f"native/{file}", *options)["added"] == 0


@pytest.mark.parametrize("case", list(REFUSED))
def test_native_file_that_holds_no_pairs_is_refused_saying_what_is_missing(project: Project, case: str) -> None:
    file, options, reason = REFUSED[case]
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("import_pairs", project.slug, str(SHARED_DATA / "native" / file), *options, stdout=out)
    assert reason in out.getvalue() + str(caught.value)
    assert not Prompt.objects.exists()


def test_vicuna_pairs_prompts_and_peoples_labels_are_all_there(project: Project) -> None:
    report = command(project, "vicuna80_dev.jsonl.gz")
    assert (report["added"], report["preferences"]) == (2048, 5632)
    assert (Prompt.objects.count(), Pair.objects.count()) == (64, 2048)
    # Eight models and Claude answer each of the 64 questions; pairs share the responses.
    assert Response.objects.count() == 64 * 9
    choices = Preference.objects.counted().of_people()
    assert [choices.filter(choice=choice).count() for choice in ("a", "b", "tie")] == [2531, 2453, 648]
    assert command(project, "vicuna80_dev.jsonl.gz")["added"] == 0


def test_pandalm_keeps_empty_responses_and_pairs_that_repeat_under_other_ids(project: Project) -> None:
    report = command(project, "pandalm_dev.jsonl.gz")
    assert (report["added"], report["preferences"], report["rejected_count"]) == (761, 2283, 0)
    assert Prompt.objects.values("group").distinct().count() == 128
    empty = Pair.objects.filter(response_a__messages__0__content="").count()
    assert (empty, Pair.objects.filter(response_b__messages__0__content="").count()) == (28, 23)


def test_squality_gives_ratings_and_criteria_with_their_scale(project: Project) -> None:
    report = command(project, "squality.jsonl.gz")
    assert (report["added"], report["preferences"], report["ratings"]) == (300, 900 * 3, 900 * 3 * 2)
    assert Preference.objects.counted().count() == 900
    assert Preference.objects.exclude(rationale="").count() == 594
    scales = project.criteria.order_by("name").values_list("name", "scale_min", "scale_max")
    assert list(scales) == [("correctness", 0, 100), ("coverage", 0, 100), ("overall", 0, 100)]
    assert Rating.objects.filter(criterion__name="overall").count() == 1800


def test_order_shown_is_kept_where_it_is_known(project: Project) -> None:
    assert command(project, "lamp_rankings.jsonl.gz")["preferences"] == 1791
    assert not Preference.objects.filter(shown_order="").exists()
    assert Preference.objects.filter(shown_order="ba").exists()
