"""A project's screen: chosen when it is made, changed on its page, looked at before anything is stored."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotation.assigning import Opening, open_tasks
from annotation.configuring import ScreenFile, configure, questionnaire_of, read_screen, settings_of
from annotation.creating import create_project
from annotation.criteria import CriterionRow
from annotation.errors import QuestionnaireInvalid
from annotation.models import (
    Assignment,
    Criterion,
    Pair,
    Preference,
    Project,
    Ranking,
    Rater,
    RaterKind,
    Slate,
    Task,
    Template,
)
from annotation.questionnaires import Questionnaire, read_questionnaire
from dashboard.previewing import pack, preview_of, texts_for, unpack
from dashboard.screen_forms import CARDS, ScreenForm
from tests.builders import make_answer, make_pair, make_preference, make_prompt

HERE = "/projects/helpfulness/screen/"
PREVIEW = f"{HERE}preview/"
HTMX = {"HX-Request": "true"}


def fields_of(project: Project, **changes: Any) -> dict[str, Any]:
    """Return what a browser sends of the page as it is, with changes; a box that is off is not sent."""
    values = {**ScreenForm.initial_of(settings_of(project)), **changes}
    sent = {
        name: value for name, value in values.items() if isinstance(value, str | int | float) and value is not False
    }
    return {**rows(*[(one.pk, one.name, one.description) for one in project.criteria.exclude(position=0)]), **sent}


def rows(*criteria: tuple[Any, str, str], remove: tuple[int, ...] = (), order: tuple[int, ...] = ()) -> dict[str, Any]:
    sent: dict[str, Any] = {"criteria-TOTAL_FORMS": len(criteria) + 2, "criteria-INITIAL_FORMS": 0}
    sent["criteria-INITIAL_FORMS"] = sum(one[0] is not None for one in criteria)
    for number, (pk, name, description) in enumerate(criteria):
        one = {"id": pk or "", "name": name, "description": description}
        one["ORDER"] = order[number] if order else number + 1
        sent |= {f"criteria-{number}-{field}": value for field, value in one.items()}
    return sent | {f"criteria-{number}-DELETE": "on" for number in remove}


# --- A new project --------------------------------------------------------------------------------------------------

NEW = {"title": "Poems", "votes_wanted": 3, "pay_per_answer_usd": "0.30"}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_makes_its_project(ada: Client, card: Any) -> None:
    sent = {**NEW, "start": card.name, "points": 5, "criteria": "tone = Is it friendly?"}
    assert ada.post("/new-project/", sent).status_code == 302
    project = Project.objects.get(slug="poems")
    asked = questionnaire_of(project)
    assert asked.template == card.template
    assert asked.points == (5 if asked.asks_choice else 7)
    by_criterion = card.name in ("criteria", "ratings", "pairwise_ratings")
    assert asked.by_criterion is by_criterion
    assert project.criteria.filter(name="tone").exists() is by_criterion


@pytest.mark.parametrize("points", [2, 3, 5, 7])
def test_every_scale_of_a_choice_makes_its_project(ada: Client, points: int) -> None:
    ada.post("/new-project/", {**NEW, "start": "pairwise", "points": points})
    assert questionnaire_of(Project.objects.get(slug="poems")).points == points


@pytest.mark.parametrize(
    ("sent", "field", "sentence"),
    [
        ({"start": "criteria"}, "criteria", "Name at least one criterion."),
        ({"start": "criteria", "criteria": "overall"}, "criteria", "cannot be a criterion"),
        ({"start": "criteria", "criteria": "tone\ntone=?"}, "criteria", "“tone” is there twice."),
        ({"start": "essay"}, "start", "Select a valid choice."),
        ({"points": 4}, "points", "Select a valid choice."),
    ],
)
def test_a_start_that_cannot_be_says_so_at_its_field_and_makes_nothing(
    ada: Client, sent: dict[str, Any], field: str, sentence: str
) -> None:
    response = ada.post("/new-project/", {**NEW, "start": "pairwise", "points": 7, **sent})
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert not Project.objects.filter(slug="poems").exists()


def test_cards_cover_every_template() -> None:
    assert {card.template for card in CARDS} == set(Template)


# --- Changing it ----------------------------------------------------------------------------------------------------

EVERY = {
    "points": 5,
    "both_bad": False,
    "unsure": False,
    "by_criterion": True,
    "rating_points": 10,
    "rationale": True,
    "reasons": ["clear", "made up"],
    "reasons_required": True,
    "spans": True,
    "confidence": True,
    "content_flags": ["private"],
    "show_context": False,
    "show_reference": True,
    "response_format": "plain",
    "images": True,
    "mask_models": False,
    "repeat_percent": 10.0,
    "leases_ahead": 0,
    "suggestion": "gpt v1",
    "words": {"tie": "Same", "question": "Which one?"},
    "keys": {"skip": "z"},
}


def test_every_setting_goes_through_the_page_and_back(ada: Client, project: Project) -> None:
    Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="gpt v1")
    tone = Criterion.objects.create(project=project, name="tone", position=1)
    wanted = read_questionnaire("pairwise_ratings", EVERY)
    configure(project, template="pairwise_ratings", settings=EVERY, rationale_required=True)
    sent = fields_of(project)
    configure(project, template="pairwise", settings={}, rationale_required=False)
    response = ada.post(HERE, sent)
    assert response.status_code == 302, response.context["form"].errors
    project.refresh_from_db()
    assert questionnaire_of(project) == wanted
    assert project.rationale_required
    assert list(project.criteria.values_list("pk", "name")) == [(tone.pk, "tone")]
    # What the page shows then is what was sent.
    assert fields_of(project) == sent
    assert set(EVERY) | {"rank_ties"} == set(Questionnaire().values())


def test_a_setting_of_another_template_falls_back_when_the_template_changes(ada: Client, project: Project) -> None:
    Criterion.objects.create(project=project, name="tone", position=1)
    configure(project, settings={"points": 5, "by_criterion": True, "confidence": True})
    assert ada.post(HERE, fields_of(project, template="ranking")).status_code == 302
    project.refresh_from_db()
    assert (project.template, project.questionnaire) == ("ranking", {"confidence": True})


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"spans": True, "rationale": False}, "spans", "are cited in the reason, which is switched off"),
        ({"rationale_required": True, "rationale": False}, "rationale", "every answer needs a reason"),
        ({"reasons_required": True}, "reasons_required", "there are no reasons to choose from"),
        ({"reasons": "a\nA"}, "reasons", "hold one text twice"),
        ({"by_criterion": True}, "by_criterion", "no criteria beside the whole"),
        ({"repeat_percent": 60}, "repeat_percent", "less than or equal to 50"),
        ({"key-skip": "x"}, "__all__", "give 'x' to both"),
        ({"points": 4}, "points", "Select a valid choice"),
        ({"suggestion": "nobody"}, "suggestion", "Select a valid choice"),
    ],
)
def test_a_setting_that_cannot_be_says_so_at_its_field_and_keeps_what_was(
    ada: Client, project: Project, changes: dict[str, Any], field: str, sentence: str
) -> None:
    configure(project, settings={"confidence": True})
    response = ada.post(HERE, fields_of(project, **changes))
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    project.refresh_from_db()
    assert project.questionnaire == {"confidence": True}


def test_criteria_are_added_renamed_ordered_and_removed_on_the_page(ada: Client, project: Project) -> None:
    tone, truth = (
        Criterion.objects.create(project=project, name=name, position=position)
        for position, name in enumerate(("tone", "truth"), start=1)
    )
    listed = rows(
        (tone.pk, "style", "How is it?"), (truth.pk, "truth", ""), (None, "depth", ""), order=(3, 2, 1), remove=(1,)
    )
    assert ada.post(HERE, {**fields_of(project), **listed}).status_code == 302
    assert list(project.criteria.values_list("name", "description")) == [("depth", ""), ("style", "How is it?")]
    assert project.criteria.get(name="style").pk == tone.pk


def test_a_criterion_with_answers_cannot_be_removed_on_the_page(
    ada: Client, project: Project, pairs: list[Pair]
) -> None:
    tone = Criterion.objects.create(project=project, name="tone", position=1)
    make_preference(pairs[0], "from the file", criterion=tone)
    page = ada.get(HERE)
    assert page.context["criteria"].forms[0].fields["DELETE"].disabled
    assert "Has answers, so it stays." in page.text
    # Even a request made by hand does not remove it.
    ada.post(HERE, {**fields_of(project), **rows((tone.pk, "tone", ""), remove=(0,))})
    assert project.criteria.filter(name="tone").exists()


def test_the_template_stays_once_people_were_asked(ada: Client, project: Project, pairs: list[Pair]) -> None:
    make_answer(pairs[0])
    assert "Stays: people were asked by it." in ada.get(HERE).text
    ada.post(HERE, fields_of(project, template="ranking", points=3))
    project.refresh_from_db()
    assert (project.template, project.questionnaire) == ("pairwise", {"points": 3})


def test_the_settings_leave_as_the_file_that_makes_them_again(ada: Client, project: Project) -> None:
    configure(
        project,
        settings={"points": 3, "words": {"tie": "Same"}, "by_criterion": True},
        criteria=[CriterionRow("tone", "?")],
    )
    response = ada.get(f"{HERE}screen.json")
    assert response["Content-Disposition"] == 'attachment; filename="helpfulness-screen.json"'
    other = create_project(slug="other", screen=json.loads(response.text))
    assert settings_of(other) == settings_of(project) == {**json.loads(response.text)}
    assert read_screen(json.loads(response.text)).criteria == [CriterionRow("tone", "?")]


# --- Looking at it --------------------------------------------------------------------------------------------------


def count_rows() -> list[int]:
    return [model.objects.count() for model in (Assignment, Task, Preference, Ranking, Slate, Criterion, Pair)]


@pytest.mark.parametrize("template", Template.values)
def test_every_template_is_previewed_by_the_annotators_own_page_and_nothing_is_stored(
    ada: Client, project: Project, template: str
) -> None:
    before = count_rows()
    page = ada.post(PREVIEW, fields_of(project, template=template, confidence=True))
    assert page.status_code == 200
    assert "annotation/annotate.html" in [used.name for used in page.templates]
    assert page.text.count("data-response=") == (4 if Template(template) in ("ranking", "best_worst") else 2)
    assert 'name="confidence"' in page.text
    assert count_rows() == before
    project.refresh_from_db()
    assert (project.template, project.questionnaire) == ("pairwise", {})
    # Every way out of it leads to what stores nothing.
    assert 'action="/annotate/' not in page.text
    assert 'href="/annotate/' not in page.text
    assert PREVIEW in page.text


def test_a_preview_shows_a_pair_of_the_project_and_what_is_not_stored(ada: Client, project: Project) -> None:
    sent = fields_of(project, reasons="clear\nmade up", by_criterion=True, rationale_required=True)
    page = ada.post(PREVIEW, {**sent, **rows((None, "tone", "Is it friendly?")), "word-question": "Which one helps?"})
    for text in ("Question number 0?", "made up", "Is it friendly?", "Which one helps?", "Why, in a sentence"):
        assert text in page.text, text
    assert not project.criteria.exists()


def test_a_preview_without_settings_shows_those_stored(ada: Client, project: Project) -> None:
    configure(project, settings={"words": {"tie": "No difference"}})
    assert "No difference" in ada.get(PREVIEW).text


def test_a_project_without_pairs_is_previewed_with_a_sample(ada: Client, project: Project) -> None:
    Pair.objects.all().delete()
    page = ada.post(PREVIEW, fields_of(project, show_reference=True))
    assert "How do I undo the last commit" in page.text
    assert "git reset --soft" in page.text


def test_a_slate_is_previewed_with_the_responses_of_one_prompt(project: Project) -> None:
    Pair.objects.all().delete()
    prompt = make_prompt(project, "Why?")
    for number in (1, 2, 3, 4):
        make_pair(project, prompt=prompt, response_a="Answer 0", response_b=f"Answer {number}", model_b="model-one")
    _prompt, responses = texts_for(project, Questionnaire(template="ranking"))
    assert [one.text for one in responses] == ["Answer 0", "Answer 1", "Answer 2", "Answer 3"]


def test_settings_that_cannot_be_are_said_in_the_preview(ada: Client, project: Project) -> None:
    page = ada.post(PREVIEW, fields_of(project, spans=True, rationale=False))
    assert page.status_code == 422
    assert "This cannot be shown" in page.text
    assert "spans are cited in the reason, which is switched off" in page.text


def act(project: Project, name: str, said: ScreenFile) -> str:
    preview = preview_of(project, said)
    responses = 4 if preview.questionnaire.is_slate else 2
    return reverse("preview_answer", args=[project.slug, pack(preview, responses), name])


def test_an_answer_to_a_preview_is_checked_and_not_stored(ada: Client, project: Project) -> None:
    before = count_rows()
    url = act(project, "submit", ScreenFile({"confidence": True}, "pairwise"))
    nothing = ada.post(url, headers=HTMX)
    assert nothing.status_code == 422
    assert nothing.json()["message"].startswith("Nothing is chosen yet.")
    unsure = ada.post(url, {"answer": "first2"}, headers=HTMX)
    assert unsure.json()["message"] == "Say how sure you are, then submit."
    whole = ada.post(url, {"answer": "first2", "confidence": 3}, headers=HTMX)
    assert whole.json()["message"] == "This is a preview: nothing is stored."
    # Without scripts the same is said on the screen itself.
    page = ada.post(url, {"answer": "first2", "confidence": 3})
    assert "This is a preview: nothing is stored." in page.text
    assert count_rows() == before


def test_an_order_is_checked_in_a_preview(ada: Client, project: Project) -> None:
    url = act(project, "submit", ScreenFile({}, "best_worst"))
    same = ada.post(url, {"best": "A", "worst": "A"}, headers=HTMX).json()
    assert same["message"] == "One response cannot be both the best and the worst. Choose two."
    assert ada.post(url, {"best": "A", "worst": "D"}, headers=HTMX).json()["message"].startswith("This is a preview")


def test_passing_on_renewing_and_leaving_a_preview_store_nothing(ada: Client, project: Project) -> None:
    before = count_rows()
    said = ScreenFile({})
    assert ada.post(act(project, "draft", said), headers=HTMX).status_code == 204
    assert ada.post(act(project, "renew", said), headers=HTMX).json() == {"seconds_left": project.lease_seconds}
    assert ada.post(act(project, "skip", said), headers=HTMX).json()["message"].startswith("This is a preview")
    for path in ("/screen-preview/", "/screen-preview/helpfulness/"):
        assert "This is a preview: nothing is stored." in ada.get(path).text
        assert ada.post(path, {"theme": "dark"}, headers=HTMX).status_code == 409
    assert count_rows() == before


@pytest.mark.parametrize("packed", ["x", "eJwDAAAAAAE", "AAAA", "%00"])
def test_an_address_that_no_preview_made_says_so(ada: Client, project: Project, packed: str) -> None:
    response = ada.post(f"{PREVIEW}{packed}/submit/", {"answer": "first2"})
    assert response.status_code == 422
    assert "Open the preview again" in response.text


def test_what_a_preview_carries_is_short_and_comes_back(project: Project) -> None:
    many = {"reasons": [f"reason number {number}" for number in range(16)], "words": {"tie": "x" * 300}}
    preview = preview_of(project, ScreenFile(many, "pairwise", [CriterionRow("tone", "d" * 5000)], True))
    packed = pack(preview, 2)
    assert len(packed) < 400
    again, responses = unpack(project, packed)
    assert (again.questionnaire.reasons, again.rationale_required, responses) == (tuple(many["reasons"]), True, 2)
    assert [one.name for one in again.criteria] == ["overall", "tone"]


def test_only_previews_may_stand_in_a_frame_of_this_site(ada: Client, project: Project) -> None:
    configure(project, settings={"images": True})
    framed = [ada.get(PREVIEW), ada.get("/screen-preview/"), ada.get(act(project, "submit", ScreenFile({})))]
    for response in framed:
        assert response["X-Frame-Options"] == "SAMEORIGIN"
        assert "frame-ancestors 'self'" in response["Content-Security-Policy"]
    assert "https:" in framed[0]["Content-Security-Policy"]
    for path in (HERE, "/", "/projects/helpfulness/", "/annotate/helpfulness/", "/new-project/", f"{HERE}screen.json"):
        response = ada.get(path)
        assert response["X-Frame-Options"] == "DENY", path
        assert "frame-ancestors 'none'" in response["Content-Security-Policy"], path


@pytest.mark.parametrize("first", ["preview", "work"])
def test_answers_of_people_and_of_previews_go_to_addresses_of_their_own(
    ada: Client, ben: Client, project: Project, pairs: list[Pair], first: str
) -> None:
    # The form of an answer is drawn once and kept: whichever is drawn first, the other is not served with it.
    open_tasks(project, [Opening(pairs[0].pk)], votes_wanted=1)
    if first == "preview":
        preview, work = ada.get(PREVIEW), ben.get("/annotate/helpfulness/")
    else:
        work, preview = ben.get("/annotate/helpfulness/"), ada.get(PREVIEW)
    held = Assignment.objects.get()
    assert re.findall(r'action="([^"]+/submit/)"', work.text) == [f"/annotate/helpfulness/{held.pk}/submit/"]
    (sent_to,) = re.findall(r'action="([^"]+/submit/)"', preview.text)
    assert sent_to.startswith(PREVIEW)
    assert reverse("annotate", args=["helpfulness"]) == "/annotate/helpfulness/"


def test_by_criterion_without_criteria_cannot_be_previewed(project: Project) -> None:
    with pytest.raises(QuestionnaireInvalid, match="by_criterion is on"):
        preview_of(project, ScreenFile({"by_criterion": True}))
