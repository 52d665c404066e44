"""Comparing judges, reading one's page and audit, and setting what it must meet to label alone."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client
from time_machine import TimeMachineFixture

from annotation.models import Pair, Project
from dashboard.remembering import data_version
from judges.defining import add_judge
from judges.gating import gate_of, set_gate
from judges.models import JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.running import start_run
from tests.builders import make_person, make_preference
from tests.judged import judge_pairs, make_judge

pytestmark = pytest.mark.either_database

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


@pytest.fixture
def judged(project: Project, pairs: list[Pair]) -> list[JudgeVersion]:
    """Return two judges of all pairs: one right on all but one, one that follows the order shown; people say a."""
    ben, cyd = make_person(project, "ben"), make_person(project, "cyd")
    for pair in pairs:
        make_preference(pair, ben, "a")
        make_preference(pair, cyd, "a")
    good, first = make_judge(project, "good"), make_judge(project, "first")
    judge_pairs(good, pairs, ["a"] * (len(pairs) - 1) + ["b"])
    judge_pairs(first, pairs, ["flip"] * len(pairs))
    return [good, first]


def rows_of(client: Client, query: str = "") -> list[str]:
    return [row["judge"] for row in client.get(f"{HERE}{query}").context["rows"]]


def test_judges_stand_beside_people_and_the_length_rule(ada: Client, judged: list[JudgeVersion]) -> None:
    response = ada.get(HERE)
    rows = {row["judge"]: row for row in response.context["rows"]}
    assert rows["good"]["preference_two_way"]["value"] == pytest.approx(23 / 24)
    assert rows["first"]["first_shown"]["value"] == 1.0
    assert (rows["good"]["trusted"], rows["first"]["trusted"]) == (True, False)
    people, length = response.context["references"]
    assert people.figures["preference_two_way"]["value"] == 1.0
    assert length.figures["preference_two_way"]["value"] == 0.5
    for text in (
        "May label alone",
        ">yes<",
        ">no<",
        "picks the response shown first in 100%",
        "People among themselves",
    ):
        assert text in response.text, text


def test_the_comparison_is_sorted_by_what_the_address_says(ada: Client, judged: list[JudgeVersion]) -> None:
    assert rows_of(ada, "?sort=first_shown&down=1") == ["first", "good"]
    assert rows_of(ada, "?sort=first_shown") == ["good", "first"]
    assert rows_of(ada, "?sort=nonsense") == ["first", "good"]
    assert 'aria-sort="descending"' in ada.get(f"{HERE}?sort=flips&down=1").text


def test_only_the_newest_version_is_compared_unless_all_are_asked_for(ada: Client, project: Project) -> None:
    for number in range(2):
        make_judge(project, "gpt")
        assert len(rows_of(ada)) == 1, number
    assert ada.get(HERE).context["rows"][0]["version"] == 2
    assert len(rows_of(ada, "?versions=all")) == 2


def test_judges_are_compared_with_each_other(ada: Client, judged: list[JudgeVersion], pairs: list[Pair]) -> None:
    third = make_judge(judged[0].judge.project, "third")
    judge_pairs(third, pairs[:12], ["a"] * 6 + ["b"] * 6)
    matrix = ada.get(HERE).context["matrix"]
    assert matrix.names == ["first v1", "good v1", "third v1"]
    assert dict(matrix.rows)["good v1"] == [(0.0, 24), None, (0.5, 12)]


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


def test_a_paused_run_goes_on_under_a_higher_cap(ada: Client, model: JudgeVersion) -> None:
    run = start_run(model, limit=2, budget_usd=Decimal("0.5"), send=False)
    here = f"/projects/helpfulness/runs/{run.pk}/"
    ada.post(f"{here}pause/")
    ada.post(f"{here}raise/", {"budget_usd": "2.5"})
    run.refresh_from_db()
    assert (run.state, run.budget_usd) == (RunState.RUNNING, Decimal("2.5"))
    page = ada.post(f"{here}raise/", {"budget_usd": "much"}, follow=True).text
    assert "The cap was not changed" in page
    run.refresh_from_db()
    assert run.budget_usd == Decimal("2.5")


def test_a_budget_without_a_price_is_refused_at_its_field(ada: Client, project: Project) -> None:
    version = add_judge(project, "unpriced", **SERVER)  # type: ignore[arg-type]
    response = ada.post(f"{HERE}{version.pk}/", {"budget_usd": "1"})
    assert response.status_code == 422
    assert "The price of unpriced v1 is unknown" in response.context["form"].errors["budget_usd"][0]
    assert not JudgeRun.objects.exists()


def test_a_card_with_too_few_labels_shows_no_number(ada: Client, length: JudgeVersion) -> None:
    assert "too few (0)" in ada.get(HERE).text
    assert "Agreement with people is not tested" in ada.get(f"{HERE}{length.pk}/").text


# --- The audit ------------------------------------------------------------------------------------------------------


def test_the_audit_shows_every_figure_with_its_n(ada: Client, judged: list[JudgeVersion]) -> None:
    response = ada.get(f"{HERE}{judged[1].pk}/audit/")
    rows = {row.title: row for group in response.context["groups"] for row in group.rows}
    assert (rows["Picks the first shown"].value, rows["Picks the first shown"].n) == ("100.0 %", 48)
    assert rows["Flips"].value == "100.0 %"
    assert rows["Agrees with good v1"].n == 24
    assert "May not label alone" in response.text


def test_the_audit_is_a_file_too(ada: Client, judged: list[JudgeVersion]) -> None:
    response = ada.get(f"{HERE}{judged[0].pk}/audit.json")
    assert response["Content-Disposition"] == 'attachment; filename="helpfulness-good-v1.json"'
    assert response.json()["card"]["preference_two_way"]["n"] == 24


def test_calibration_says_what_it_lacks_or_what_was_fitted(ada: Client, judged: list[JudgeVersion]) -> None:
    good = judged[0]
    page = ada.post(f"{HERE}{good.pk}/calibrate/", follow=True).text
    assert "too few" in page
    assert "Not fitted" in page
    JudgeVersion.objects.filter(pk=good.pk).update(
        calibration={
            "method": "temperature",
            "parameters": {"temperature": 2.0, "slope": 0.5},
            "n": 40,
            "ece_before": 0.2,
            "fitted_at": "2026-03-01T12:30:59+00:00",
        }
    )
    page = ada.get(f"{HERE}{good.pk}/audit/").text
    for text in ("one number for all (temperature)", "0.200", "2026-03-01 12:30 UTC", "Fit again"):
        assert text in page, text


def gate_values(**changes: str) -> dict[str, str]:
    """Return the thresholds as the form shows them, with changes; a switch that is off is not sent."""
    usual = {
        "failed_max": "50",
        "position_max": "25",
        "accuracy_min": "50",
        "labels_min": "50",
        "alt_test_epsilon": "0.15",
    }
    return {**usual, **changes}


def test_thresholds_decide_at_once_who_may_label_alone(ada: Client, judged: list[JudgeVersion]) -> None:
    good = judged[0]
    address = f"{HERE}{good.pk}/audit/"
    assert "May label alone" in ada.get(address).text
    response = ada.post(address, gate_values(labels_needed="on", labels_min="100"), follow=True)
    assert "May not label alone" in response.text
    assert "too few labels (24 of 100 pairs" in response.text
    gate = gate_of(type(good.judge).objects.get(pk=good.judge_id))
    assert (gate.labels_needed, gate.labels_min, gate.position_max) == (True, 100, 0.25)


def test_a_threshold_out_of_range_is_refused_at_its_field(ada: Client, judged: list[JudgeVersion]) -> None:
    response = ada.post(f"{HERE}{judged[0].pk}/audit/", gate_values(position_max="60"))
    assert response.status_code == 422
    assert "position_max" in response.context["form"].errors
    assert gate_of(type(judged[0].judge).objects.get(pk=judged[0].judge_id)).position_max == 0.25


def test_an_empty_threshold_is_no_limit(ada: Client, judged: list[JudgeVersion]) -> None:
    ada.post(f"{HERE}{judged[1].pk}/audit/", gate_values(position_max="", accuracy_min=""))
    assert "May label alone" in ada.get(f"{HERE}{judged[1].pk}/audit/").text


def test_a_run_of_more_pairs_than_there_can_be_is_refused_at_its_field(ada: Client, model: JudgeVersion) -> None:
    response = ada.post(f"/projects/helpfulness/judges/{model.pk}/", {"limit": "9" * 24})
    assert response.status_code == 422
    assert "less than or equal to" in response.text


def test_a_judge_with_thresholds_of_its_own_is_not_said_to_label_when_named(
    ada: Client, judged: list[JudgeVersion]
) -> None:
    version = judged[0]
    address = f"/projects/helpfulness/judges/{version.pk}/"
    set_gate(version.judge, {"labels_needed": True, "labels_min": 1_000})
    page = ada.get(address).text
    assert "May not label alone" in page
    assert "Its answers become no labels." in page
    assert "unless a plan names it" not in page


def test_figures_are_kept_while_judges_work_and_new_when_they_are_done(
    project: Project, judged: list[JudgeVersion], time_machine: TimeMachineFixture
) -> None:
    time_machine.move_to(datetime(2026, 11, 21, 12, tzinfo=UTC), tick=False)
    run = JudgeRun.objects.create(project=project, version=judged[0])
    before = data_version(project)
    Verdict.objects.filter(version=judged[0]).order_by("pk")[0].delete()
    assert data_version(project) == before
    time_machine.shift(121)
    later = data_version(project)
    assert later != before
    JudgeRun.objects.filter(pk=run.pk).update(state=RunState.DONE)
    done = data_version(project)
    Verdict.objects.filter(version=judged[0]).order_by("pk")[0].delete()
    assert len({later, done, data_version(project)}) == 3
