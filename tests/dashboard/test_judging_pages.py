"""Adding judges, running them, and reading their cards."""

from decimal import Decimal

import pytest
from django.test import Client

from annotation.models import Pair, Project
from judges.defining import add_judge
from judges.models import JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.running import start_run

HERE = "/projects/helpfulness/judges/"
SERVER = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}


@pytest.fixture
def model(project: Project) -> JudgeVersion:
    """Return a judge behind a server that nobody runs."""
    return add_judge(
        project,
        "small",
        price_input_usd_per_million=Decimal(1),
        price_output_usd_per_million=Decimal(2),
        **SERVER,  # type: ignore[arg-type]
    )


def test_adding_the_length_rule_leads_to_its_page(ada: Client, project: Project) -> None:
    response = ada.post(HERE, {"name": "by length", "kind": "length"})
    version = JudgeVersion.objects.get(judge__project=project)
    assert response["Location"] == f"{HERE}{version.pk}/"
    assert "Label pairs" in ada.get(f"{HERE}{version.pk}/").text


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"name": ""}, "name", "This field is required."),
        ({"base_url": ""}, "base_url", "A judge behind a server needs the address of its server."),
        ({"model": ""}, "model", "A judge behind a server needs the name of its model."),
        ({"base_url": "http://10.0.0.8/v1"}, "base_url", "The host 10.0.0.8 is not among those"),
        ({"base_url": "http://me:secret@127.0.0.1/v1"}, "base_url", "holds a name or password"),
        ({"price_input": "1"}, "price_output", "Give both prices"),
    ],
)
def test_a_judge_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, values: dict[str, str], field: str, sentence: str
) -> None:
    response = ada.post(HERE, {"name": "big", **SERVER, **values})
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert not JudgeVersion.objects.exists()


def test_a_run_shows_how_far_it_is_until_it_is_done(ada: Client, model: JudgeVersion) -> None:
    ada.post(f"{HERE}{model.pk}/", {"limit": 3, "budget_usd": "0.5"})
    run = JudgeRun.objects.get()
    assert (run.verdicts.count(), run.budget_usd) == (6, Decimal("0.5"))
    Verdict.objects.filter(pk=run.verdicts.first().pk).update(state=VerdictState.DONE, choice="a")  # type: ignore[union-attr]
    part = ada.get(f"/projects/helpfulness/runs/{run.pk}/", headers={"HX-Request": "true"}).text
    assert "1 answered" in part
    assert "5 open" in part
    assert 'hx-trigger="every 2s"' in part
    JudgeRun.objects.update(state=RunState.DONE)
    assert "hx-trigger" not in ada.get(f"/projects/helpfulness/runs/{run.pk}/", headers={"HX-Request": "true"}).text


def test_a_run_is_paused_resumed_and_its_failures_asked_again(ada: Client, model: JudgeVersion) -> None:
    run = start_run(model, limit=2, send=False)
    here = f"/projects/helpfulness/runs/{run.pk}/"
    ada.post(f"{here}pause/")
    run.refresh_from_db()
    assert run.state == RunState.PAUSED
    assert run.reason in ada.get(f"{HERE}{model.pk}/").text
    assert f"the run of {model} is paused" in ada.get("/projects/helpfulness/").text
    ada.post(f"{here}resume/")
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    run.verdicts.update(state=VerdictState.FAILED, error="The server answered 500.")
    page = ada.get(f"{HERE}{model.pk}/").text
    assert "The server answered 500." in page
    assert "4 failed" in page
    ada.post(f"{here}retry/")
    assert set(run.verdicts.values_list("state", flat=True)) == {VerdictState.PENDING}
    assert ada.post(f"{here}explode/").status_code == 404


def test_a_budget_without_a_price_is_refused_at_its_field(ada: Client, project: Project) -> None:
    version = add_judge(project, "unpriced", **SERVER)  # type: ignore[arg-type]
    response = ada.post(f"{HERE}{version.pk}/", {"budget_usd": "1"})
    assert response.status_code == 422
    assert "The price of unpriced v1 is unknown" in response.context["form"].errors["budget_usd"][0]
    assert not JudgeRun.objects.exists()


def test_a_judge_page_shows_both_orders_with_reason_and_raw_text(
    ada: Client, model: JudgeVersion, pairs: list[Pair]
) -> None:
    for order, choice in (("ab", "a"), ("ba", "b")):
        Verdict.objects.create(
            version=model,
            pair=pairs[0],
            order=order,
            state=VerdictState.DONE,
            choice=choice,
            rationale=f"reason {order}",
            raw=f"<b>raw {order}</b>",
        )
    page = ada.get(f"{HERE}{model.pk}/").text
    for text in (
        "a first",
        "b first",
        "reason ab",
        "reason ba",
        "&lt;b&gt;raw ab&lt;/b&gt;",
        model.prompt_template[:40],
    ):
        assert text in page, text
    assert "<b>raw" not in page


def test_a_card_with_too_few_labels_shows_no_number(ada: Client, length: JudgeVersion) -> None:
    page = ada.get(HERE).text
    assert "too few (0)" in page
    assert "agreement with people is not tested" in page
