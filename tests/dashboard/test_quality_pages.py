"""People's quality as a manager sees and steers it, and adjudication from the queue to the label."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotation.assigning import Answer, next_assignment, submit
from annotation.models import Exclusion, Gold, Membership, Pair, Project, Rater, Role, User
from annotation.ruling import look_at
from routing.labels.adjudicating import open_adjudication
from routing.labels.resolving import resolve_labels
from routing.models import Adjudication, Label
from tests.builders import make_answer, make_gold, make_person, make_user

pytestmark = pytest.mark.either_database

PEOPLE = "/projects/helpfulness/people/"
CHECKS = f"{PEOPLE}checks/"
ADJUDICATE = "/adjudicate/helpfulness/"
RULES = {
    "gold_percent": "12.5",
    "first_gold": "0",
    "pass_mark": "80",
    "tries": "2",
    "pause_on_gold": "on",
    "good_accuracy": "85",
    "bad_accuracy": "50",
    "wrong_pauses": "2",
    "least_gold": "5",
    "attention_fails": "2",
}


@pytest.fixture
def wrong(project: Project) -> Rater:
    """Return Ben, who is wrong on six gold pairs of eight and was paused for it."""
    project.standards = {"pause_on_gold": True}
    project.save()
    ben = make_person(project, "ben")
    for number in range(8):
        make_answer(make_gold(project).pair, ben, "b" if number < 6 else "a", seconds=20.0)
    look_at(Rater.objects.select_related("project").get(pk=ben.pk), now=timezone.now())
    return ben


def page_of(rater: Rater) -> str:
    return f"{PEOPLE}{rater.pk}/"


def flat(text: str) -> str:
    return " ".join(text.split())


# --- One person -----------------------------------------------------------------------------------------------------


def test_a_persons_page_says_how_they_fare_and_why_they_are_paused(ada: Client, wrong: Rater) -> None:
    page = ada.get(page_of(wrong))
    text = flat(page.text)
    assert "By the rule on gold: too many answers were other than the known ones." in text
    assert '<span title="n = 8, 95 % interval 5.6 to 59.2 %">25.0' in text
    gold = next(sign for sign in page.context["signs"] if sign.name == "Right on gold")
    assert (gold.value, gold.usual, gold.n, gold.is_flagged) == ("25 %", "85 %", 8, True)
    assert [mark.is_right for _, mark, _, _ in page.context["marks"]] == [True, True, *[False] * 6]
    listed = flat(ada.get(PEOPLE).text)
    assert f'<a href="{page_of(wrong)}">ben</a>' in listed


def test_a_manager_lets_somebody_go_on(ada: Client, wrong: Rater) -> None:
    assert "gets pairs again" in ada.post(f"{page_of(wrong)}resume/", follow=True).text
    assert Rater.objects.get(pk=wrong.pk).paused_at is None
    assert "Paused since" not in ada.get(page_of(wrong)).text


def test_a_manager_pauses_with_words_that_its_person_reads(ada: Client, ben: Client, project: Project) -> None:
    rater = make_person(project, "ben")
    ada.post(f"{page_of(rater)}pause/", {"reason": "Please read the new guidelines."})
    assert "Please read the new guidelines." in ben.get("/annotate/helpfulness/").text
    assert "Please read the new guidelines." in ada.get(page_of(rater)).text


def test_a_manager_excludes_and_counts_again(ada: Client, answered: Project) -> None:
    rater = make_person(answered, "ben")
    assert (
        "6 answers of ben do not count"
        in ada.post(f"{page_of(rater)}exclude/", {"reason": "Copied."}, follow=True).text
    )
    excluded = flat(ada.get(page_of(rater)).text)
    assert "ada: Copied." in excluded
    assert '<span class="chip chip--strong">excluded</span>' in flat(ada.get(PEOPLE).text)
    assert "6 answers of ben count again" in ada.post(f"{page_of(rater)}include/", follow=True).text
    assert Exclusion.objects.get().undone_by == User.objects.get(username="ada")
    assert "Excluded before" in ada.get(page_of(rater)).text


def test_an_unknown_action_changes_nothing(ada: Client, wrong: Rater) -> None:
    assert "There is no action" in ada.post(f"{page_of(wrong)}promote/", {"reason": "x"}, follow=True).text


# --- Gold and rules -------------------------------------------------------------------------------------------------


def test_rules_are_stored_and_shown_again(ada: Client, project: Project) -> None:
    assert ada.post(CHECKS, RULES).status_code == 302
    stored = Project.objects.get(pk=project.pk).standards
    assert stored == {"gold_percent": 12.5, "pause_on_gold": True, "attention_fails": 2}
    assert 'value="12.5"' in ada.get(CHECKS).text


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"gold_percent": "60"}, "gold_percent", "less than or equal to 25"),
        ({"first_gold": "3"}, "first_gold", "there are 0"),
        ({"bad_accuracy": "85"}, "bad_accuracy", "not below good_accuracy"),
        ({"wrong_pauses": ""}, "wrong_pauses", "required"),
    ],
)
def test_rules_that_cannot_be_say_why_at_the_field(
    ada: Client, project: Project, values: dict[str, str], field: str, sentence: str
) -> None:
    response = ada.post(CHECKS, {**RULES, **values})
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert Project.objects.get(pk=project.pk).standards == {}


def test_a_pair_is_set_as_gold_on_its_page_and_revoked_in_the_list(
    ada: Client, project: Project, pairs: list[Pair]
) -> None:
    pair = pairs[0]
    here = f"/projects/helpfulness/pairs/{pair.pk}/"
    assert "mark at least one answer" in ada.post(f"{here}gold/", {"kind": "known"}, follow=True).text
    ada.post(f"{here}gold/", {"accepted": ["a", "tie"], "kind": "known", "note": "It says why."})
    gold = Gold.objects.get()
    assert (gold.accepted, gold.source, gold.set_by) == (["a", "tie"], "manager", User.objects.get(username="ada"))
    assert "Right: A is better, Equally good." in flat(ada.get(here).text)
    again = ada.post(f"{here}gold/", {"accepted": ["b"], "kind": "known"}, follow=True)
    assert "is gold already" in again.text
    assert "It says why." in ada.get(CHECKS).text
    assert "say why" in ada.post(f"{CHECKS}{gold.pk}/revoke/", {}, follow=True).text
    ada.post(f"{CHECKS}{gold.pk}/revoke/", {"reason": "A tie at most."})
    assert Gold.objects.get().revoke_reason == "A tie at most."
    assert "No gold yet" in ada.get(CHECKS).text


# --- Adjudication ---------------------------------------------------------------------------------------------------


@pytest.fixture
def jo(project: Project) -> Client:
    """Return an adjudicator's browser."""
    client = Client()
    user = make_user("jo")
    Membership.objects.create(project=project, user=user, role=Role.ADJUDICATOR)
    client.force_login(user)
    return client


def test_from_the_queue_to_the_label(ada: Client, jo: Client, answered: Project, pairs: list[Pair]) -> None:
    pair = pairs[5]
    queue = ada.get(f"{PEOPLE}adjudication/")
    assert [one.label.pair_id for one in queue.context["candidates"]] == [pair.pk]
    assert "1 pairs wait for an adjudicator." in ada.post(f"{PEOPLE}adjudication/", {"limit": "5"}, follow=True).text
    # Nothing of it is to be seen before a look.
    assert jo.get(f"{ADJUDICATE}{pair.pk}/").status_code == 404
    assert "Look at the next of 1" in jo.get(ADJUDICATE).text
    rater = make_person(answered, "jo")
    held = next_assignment(answered, rater, now=timezone.now()).assignment
    assert held is not None
    assert held.task.pair_id == pair.pk
    submit(held.pk, rater, Answer("b", 2), now=timezone.now() + timedelta(seconds=1))
    assert f'href="{ADJUDICATE}{pair.pk}/"' in jo.get(ADJUDICATE).text
    page = jo.get(f"{ADJUDICATE}{pair.pk}/")
    assert "It says more." in page.text
    secrets = (">ben", ">cyd", "model-one", "model-two")
    assert [secret for secret in secrets if secret in page.text] == []
    refused = jo.post(f"{ADJUDICATE}{pair.pk}/", {"choice": "a"})
    assert (refused.status_code, "Say why people differed" in refused.text) == (422, True)
    sent = {"choice": "a", "causes": ["close"], "comment": "<b>Longer</b> is not better."}
    assert "Decided." in jo.post(f"{ADJUDICATE}{pair.pk}/", sent, follow=True).text
    assert (Label.objects.get(pair=pair).source, Label.objects.get(pair=pair).choice) == ("adjudicated", "a")
    shown = flat(ada.get(f"/projects/helpfulness/pairs/{pair.pk}/").text)
    assert "Adjudicated: A is better" in shown
    assert "whose own look before the votes said: B is better" in shown
    assert "&lt;b&gt;Longer&lt;/b&gt; is not better." in shown
    # What was adjudicated can be gold from then on.
    assert 'value="a" id="id_accepted_0" checked' in shown
    ada.post(f"/projects/helpfulness/pairs/{pair.pk}/gold/", {"accepted": ["a"], "kind": "known"})
    assert Gold.objects.get().source == "label"
    assert "is set aside" in ada.post(f"/projects/helpfulness/pairs/{pair.pk}/set-aside/", follow=True).text
    assert not Adjudication.objects.filter(is_current=True).exists()


def test_letters_are_those_that_the_adjudicator_saw(jo: Client, answered: Project, pairs: list[Pair]) -> None:
    resolve_labels(answered)
    open_adjudication(answered, limit=1)
    rater = make_person(answered, "jo")
    held = next_assignment(answered, rater, now=timezone.now()).assignment
    assert held is not None
    submit(held.pk, rater, Answer("b"), now=timezone.now())
    page = jo.get(f"{ADJUDICATE}{pairs[5].pk}/")
    letter = "A" if held.shown_order == "ba" else "B"
    assert f"Your look before the votes: {letter} is better." in flat(page.text)
    texts = {"a": pairs[5].response_a.text, "b": pairs[5].response_b.text}
    assert page.context["sides"] == [("A", texts[held.shown_order[0]]), ("B", texts[held.shown_order[1]])]


def test_an_adjudicator_starts_from_home_and_nobody_else_gets_there(jo: Client, ada: Client, ben: Client) -> None:
    assert f'href="{ADJUDICATE}"' in jo.get("/").text
    assert ada.get(ADJUDICATE).status_code == 404
    assert ben.get(ADJUDICATE).status_code == 404
    assert ben.get("/")["Location"] == "/annotate/"
