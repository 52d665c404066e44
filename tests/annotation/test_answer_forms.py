"""What each template's form sends, and what is stored of it in the order of the file."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.http import QueryDict

from annotation.answering import Rated, Reason, Span
from annotation.assigning import Opening, next_assignment, open_tasks, progress_of, submit
from annotation.configuring import configure, questionnaire_of
from annotation.errors import QuestionnaireInvalid
from annotation.forms import AnswerForm, DraftForm
from annotation.models import Assignment, Criterion, Preference, Project, Rater, Rating
from annotation.showing import asked_of, screen_of
from tests.builders import make_pair, make_person, make_project

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 9, 5, tzinfo=UTC)


def study(template: str = "pairwise", **screen: Any) -> tuple[Project, Rater, Assignment]:
    """Return a project with criteria, ben, and a pair that he sees with b on the left."""
    project = make_project()
    Criterion.objects.create(project=project, name="overall", position=0)
    Criterion.objects.create(project=project, name="tone", position=1)
    configure(project, template=template, settings=screen)
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    ben = make_person(project)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    Assignment.objects.update(shown_order="ba")
    held.shown_order = "ba"
    return project, ben, held


def form_of(project: Project, held: Assignment, kind: Any = AnswerForm, **sent: Any) -> Any:
    data = QueryDict(mutable=True)
    for name, value in sent.items():
        data.setlist(name.replace("__", "-"), value if isinstance(value, list) else [value])
    return kind(data, asked=asked_of(held, questionnaire_of(project)))


def test_a_choice_with_all_that_comes_with_it() -> None:
    project, ben, held = study(
        reasons=["correct", "clear"], confidence=True, content_flags=["harmful", "private"], spans=True
    )
    spans = json.dumps([{"side": "B", "start": 0, "end": 6, "text": "Answer"}])
    form = form_of(
        project,
        held,
        answer="first3",
        rationale="Says\r\nwhy.",
        reason=["A:0", "B:1"],
        confidence="3",
        content_flag=["1"],
        spans=spans,
        reading_seconds="4",
        deciding_seconds="2.5",
        seconds="6.5",
    )
    assert form.is_valid(), form.errors
    answer = form.answer_for(held, now=LATER)
    assert (answer.choice, answer.strength, answer.rationale, answer.confidence) == ("b", 3, "Says\nwhy.", 3)
    assert answer.reasons == (Reason("b", "correct"), Reason("a", "clear"))
    assert answer.spans == (Span("a", 0, 6, "Answer"),)
    assert answer.content_flags == ("private",)
    stored = submit(held.pk, ben, answer, now=NOW, sent=form.sent())
    assert isinstance(stored, Preference)
    stored.refresh_from_db()
    assert stored.reasons == [{"side": "b", "reason": "correct"}, {"side": "a", "reason": "clear"}]
    assert stored.rationale_spans == [{"side": "a", "start": 0, "end": 6, "text": "Answer"}]
    assert (stored.reading_seconds, stored.deciding_seconds, stored.seconds) == (4.0, 2.5, 6.5)
    # What was sent is shown again, as it was, to whoever changes it.
    shown = screen_of(
        Assignment.objects.select_related("task__pair").get(),
        questionnaire_of(project),
        progress_of(project, ben),
        now=NOW,
    )
    assert (shown.draft["answer"], shown.draft["reason"]) == ("first3", ["A:0", "B:1"])
    # And sent again it is the same answer.
    assert submit(held.pk, ben, answer, now=NOW) == stored


def test_choices_by_criterion_are_turned_to_the_stored_order() -> None:
    project, ben, held = study(by_criterion=True, points=3)
    form = form_of(project, held, choice__0="second2", answer="tie")
    assert form.is_valid(), form.errors
    submit(held.pk, ben, form.answer_for(held, now=LATER), now=NOW)
    assert set(Preference.objects.values_list("criterion__name", "choice", "strength", "shown_order")) == {
        (None, "tie", None, "ba"),
        ("tone", "a", 2, "ba"),
    }


def test_ratings_alone_say_which_response_is_better() -> None:
    project, ben, held = study("ratings", by_criterion=True)
    sent = {"rating__A__0": "2", "rating__A__1": "4", "rating__B__0": "5", "rating__B__1": "3"}
    form = form_of(project, held, **sent)
    assert form.is_valid(), form.errors
    answer = form.answer_for(held, now=LATER)
    names = {one.pk: one.name for one in Criterion.objects.all()}
    assert {(names[one.criterion_id], one.side): one.value for one in answer.ratings} == {
        ("tone", "b"): 2.0,
        ("overall", "b"): 4.0,
        ("tone", "a"): 5.0,
        ("overall", "a"): 3.0,
    }
    stored = submit(held.pk, ben, answer, now=NOW)
    assert isinstance(stored, Preference)
    assert (stored.choice, stored.strength, stored.basis) == ("b", None, "ratings")
    assert Rating.objects.count() == 4
    assert set(Criterion.objects.values_list("scale_min", "scale_max")) == {(1.0, 5.0)}


def test_equal_ratings_are_a_tie() -> None:
    project, _ben, held = study("ratings")
    form = form_of(project, held, rating__A__0="3", rating__B__0="3")
    assert form.is_valid(), form.errors
    assert form.answer_for(held, now=LATER).choice == "tie"


def test_ratings_and_a_choice_may_contradict_each_other() -> None:
    project, ben, held = study("pairwise_ratings")
    form = form_of(project, held, rating__A__0="5", rating__B__0="1", answer="second1")
    assert form.is_valid(), form.errors
    answer = form.answer_for(held, now=LATER)
    assert (answer.choice, answer.basis) == ("a", "choice")
    assert {type(one) for one in answer.ratings} == {Rated}
    stored = submit(held.pk, ben, answer, now=NOW)
    assert isinstance(stored, Preference)
    assert stored.basis == "choice"


def test_who_cannot_judge_is_asked_nothing_else() -> None:
    project, ben, held = study("pairwise_ratings", by_criterion=True, confidence=True)
    form = form_of(project, held, answer="unsure", choice__0="first2")
    assert form.is_valid(), form.errors
    stored = submit(held.pk, ben, form.answer_for(held, now=LATER), now=NOW)
    assert isinstance(stored, Preference)
    assert (stored.choice, stored.confidence) == ("unsure", None)
    assert set(Preference.objects.values_list("criterion__name", "choice")) == {(None, "unsure"), ("tone", "b")}
    assert not Rating.objects.exists()


@pytest.mark.parametrize(
    ("screen", "sent", "line"),
    [
        ({}, {}, "Nothing is chosen yet"),
        ({}, {"answer": "a"}, "not on this screen"),
        ({"points": 2}, {"answer": "tie"}, "not on this screen"),
        ({"both_bad": False}, {"answer": "both_bad"}, "not on this screen"),
        ({"confidence": True}, {"answer": "tie"}, "how sure you are"),
        ({"confidence": True}, {"answer": "tie", "confidence": "4"}, "not on this screen"),
        ({"reasons": ["clear"], "reasons_required": True}, {"answer": "first2"}, "a reason from the list"),
        ({"reasons": ["clear"]}, {"answer": "first2", "reason": ["A:1"]}, "not on this screen"),
        ({"reasons": ["clear"]}, {"answer": "first2", "reason": ["C:0"]}, "not on this screen"),
        ({"content_flags": ["harmful"]}, {"answer": "first2", "content_flag": ["-1"]}, "not on this screen"),
        ({"spans": True}, {"answer": "first2", "spans": "{"}, "cannot be read"),
        (
            {"spans": True},
            {"answer": "first2", "spans": '[{"side": "C", "start": 0, "end": 1, "text": "x"}]'},
            "cannot",
        ),
        (
            {"spans": True},
            {"answer": "first2", "spans": '[{"side": "A", "start": 3, "end": 1, "text": "x"}]'},
            "cannot",
        ),
        ({"spans": True}, {"answer": "first2", "spans": "[" * 900 + "]" * 900}, "cannot be read"),
        ({"by_criterion": True}, {"answer": "first2"}, "“tone” is still open"),
        ({}, {"answer": "first2", "seconds": "-1"}, "greater than or equal to 0"),
        ({}, {"answer": "first2", "seconds": "nan"}, "Enter a number"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(screen: dict[str, Any], sent: dict[str, Any], line: str) -> None:
    project, _ben, held = study(**screen)
    form = form_of(project, held, **sent)
    assert not form.is_valid()
    assert line in form.error_line()


def test_a_draft_may_hold_any_part() -> None:
    project, _ben, held = study("pairwise_ratings", reasons=["clear"], confidence=True)
    form = form_of(project, held, DraftForm, rating__A__0="4", rationale="So f", reason=["B:0"], reading_seconds="3")
    assert form.is_valid(), form.errors
    assert form.sent() == {
        "rating-A-0": "4",
        "rationale": "So f",
        "reason": ["B:0"],
        "reading_seconds": 3.0,
    }


def test_the_template_stays_once_tasks_are_open() -> None:
    project, _ben, _held = study()
    with pytest.raises(QuestionnaireInvalid, match="stays 'pairwise'"):
        configure(project, template="ratings", settings={})
    assert configure(project, settings={"points": 5}).points == 5


def test_a_suggestion_names_a_judge_of_the_project() -> None:
    project = make_project()
    with pytest.raises(QuestionnaireInvalid, match="no judge of this project"):
        configure(project, settings={"suggestion": "small v1"})
