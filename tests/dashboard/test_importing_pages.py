"""Uploading a file and reading what came of it."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotation.importing import run_import
from annotation.models import Import, Pair, Project

HERE = "/projects/helpfulness/imports/"
GOOD = {"id": "n-1", "prompt": "Why?", "response_a": "Because.", "response_b": "Just so."}
BAD = {"id": "n-2", "prompt": "Why?", "response_a": "Because."}


def upload(client: Client, *rows: object, **values: object) -> object:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    file = SimpleUploadedFile("pairs.jsonl", text.encode())
    return client.post(HERE, {"file": file, "format": "auto", "on_error": "refuse", **values})


def test_an_upload_waits_polls_and_shows_what_was_added(ada: Client, project: Project) -> None:
    response = upload(ada, GOOD)
    job = Import.objects.get()
    page = f"{HERE}{job.pk}/"
    assert response["Location"] == page  # type: ignore[index]
    assert 'hx-trigger="every 2s"' in ada.get(page).text
    run_import(job.pk)
    part = ada.get(page, headers={"HX-Request": "true"}).text
    assert "1 pairs were added" in part
    assert "hx-trigger" not in part
    assert "<html" not in part
    assert Pair.objects.filter(project=project, external_id="n-1").exists()
    assert "pairs.jsonl" in ada.get(HERE).text


def test_a_refused_file_lists_line_field_and_reason(ada: Client, project: Project) -> None:
    upload(ada, GOOD, BAD)
    job = Import.objects.get()
    run_import(job.pk)
    page = ada.get(f"{HERE}{job.pk}/").text
    assert "Nothing was imported: 1 of 2 rows cannot be read" in page
    job.refresh_from_db()
    row = job.report["rejected"][0]
    assert f'<td class="num">{row["line"]}</td>' in page
    assert row["line"] == 2
    assert row["reason"].split("'")[0] in page
    assert "pairs.jsonl was not imported" in ada.get("/projects/helpfulness/").text


def test_a_dry_run_says_what_would_happen(ada: Client, project: Project) -> None:
    before = Pair.objects.count()
    upload(ada, GOOD, dry_run="on")
    job = Import.objects.get()
    run_import(job.pk)
    assert "1 pairs would be added; nothing was stored" in ada.get(f"{HERE}{job.pk}/").text
    assert Pair.objects.count() == before


def test_a_field_map_reaches_the_import(ada: Client, project: Project) -> None:
    row = {"id": "m-1", "question": "Why?", "response_a": "Because.", "response_b": "Just so."}
    upload(ada, row, mapping="prompt = question\n\n")
    job = Import.objects.get()
    assert job.field_map == {"prompt": "question"}
    run_import(job.pk)
    assert Pair.objects.get(external_id="m-1").prompt.messages[0]["content"] == "Why?"


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"mapping": "prompt question"}, "mapping", "Line 1, “prompt question”: write field=column."),
        ({"mapping": "colour=question"}, "mapping", "The field map names 'colour', which is no field."),
        ({"file": ""}, "file", "This field is required."),
    ],
)
def test_an_upload_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, values: dict[str, str], field: str, sentence: str
) -> None:
    response = upload(ada, GOOD, **values)
    assert response.status_code == 422  # type: ignore[attr-defined]
    assert sentence in response.context["form"].errors[field][0]  # type: ignore[attr-defined]
    assert not Import.objects.exists()
