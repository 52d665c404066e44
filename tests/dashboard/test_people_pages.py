"""Members, their figures, and what they cost."""

from decimal import Decimal

import pytest
from django.test import Client

from annotation.models import Membership, Origin, Pair, Project, User
from tests.builders import make_answer, make_person, make_preference

HERE = "/projects/helpfulness/people/"


def test_a_new_account_gets_a_password_that_is_shown_once(ada: Client, project: Project) -> None:
    response = ada.post(HERE, {"username": "fay", "role": "annotator"})
    password = response.context["added"].password
    assert password in response.text
    assert "no-store" in response["Cache-Control"]
    assert Client().login(username="fay", password=password)
    assert password not in ada.get(HERE).text
    assert Membership.objects.get(user__username="fay").role == "annotator"


def test_an_account_that_exists_keeps_its_password(ada: Client, project: Project) -> None:
    response = ada.post(HERE, {"username": "eve", "role": "expert"})
    assert response.context["added"].password == ""
    assert Client().login(username="eve", password="eve-password")
    assert Membership.objects.get(project=project, user__username="eve").role == "expert"


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"username": "ben"}, "username", "ben is in this project already, as annotator."),
        ({"username": "two words"}, "username", "A user name has 1 to 150 letters"),
        ({"username": ""}, "username", "This field is required."),
        ({"role": "owner"}, "role", "Select a valid choice."),
    ],
)
def test_a_member_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, values: dict[str, str], field: str, sentence: str
) -> None:
    before = User.objects.count()
    response = ada.post(HERE, {"username": "gus", "role": "annotator", **values})
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert User.objects.count() == before


def test_people_show_answers_seconds_and_agreement_or_too_few(ada: Client, project: Project, pairs: list[Pair]) -> None:
    ben, cyd = make_person(project, "ben"), make_person(project, "cyd")
    kai = make_person(project, "kai", origin=Origin.SIMULATED)
    for number, pair in enumerate(pairs[:12]):
        make_preference(pair, ben, "a", seconds=10.0)
        make_preference(pair, cyd, "b" if number < 3 else "a", seconds=30.0)
    make_preference(pairs[20], kai, "a")
    page = ada.get(HERE)
    rows = {rater.name: row for rater, row, _, _ in page.context["rows"]}
    assert rows["ben"]["answers"] == 12
    assert rows["cyd"]["median_seconds"] == 30.0
    assert rows["ben"]["agreement_with_others"]["value"] == pytest.approx(0.75)
    assert "too few (0)" in page.text
    assert 'kai <span class="chip">simulated</span>' in page.text


def test_people_show_how_steady_they_are_or_too_few(ada: Client, project: Project, pairs: list[Pair]) -> None:
    for number, pair in enumerate(pairs[:12]):
        first = make_answer(pair, "ben", "a", shown_order="ab", reading_seconds=8.0, deciding_seconds=4.0, confidence=2)
        make_answer(pair, "ben", "b" if number < 3 else "a", shown_order="ba", repeats=first)
    page = ada.get(HERE)
    everybody = page.context["steadiness"]["everybody"]
    assert (everybody["repeats"], everybody["two_way"]["value"], everybody["same_place"]) == (12, 0.75, 3)
    text = " ".join(page.text.split())
    assert "Chose what was shown first" in text
    # Twelve answers, not 24: repeats are paid and no further answers of a person.
    assert '<td class="num">12</td><td class="num">0</td>' in text
    assert "12 hidden repeats" in ada.get("/projects/helpfulness/money/").text


def test_spending_counts_paid_answers_and_tells_the_rest_apart(
    ada: Client, project: Project, pairs: list[Pair]
) -> None:
    make_answer(pairs[0], "ben")
    make_preference(pairs[0], make_person(project, "kai", origin=Origin.SIMULATED))
    make_preference(pairs[0], "from the file")
    page = ada.get("/projects/helpfulness/money/")
    assert page.context["money"].people_usd == Decimal("0.30")
    assert "$0.30" in page.text
    assert page.context["report"]["people"]["answers"] == {"live": 1, "recorded": 1, "simulated": 1}
