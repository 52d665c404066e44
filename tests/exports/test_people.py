"""What reports say of people's work: paid once, timed, revised, repeated, and compared with the right answers."""

from typing import Any

import pytest
from django.utils import timezone

from annotation.answering import Answer
from annotation.assigning import Opening, next_assignment, open_tasks, revise, submit
from annotation.models import Basis, Criterion, Membership, Origin, Pair, Preference, Project, Rating
from dashboard.listing import page_of_pairs
from dashboard.summarising import answers_by_day, flow_of, money_of
from exports.contrasting import contrast_people
from exports.reporting import people_report, spending_report, steadiness_report
from routing.labels.resolving import resolve_labels
from routing.plans.budgeting import pairs_with_people, promised_usd
from tests.builders import make_answer, make_pair, make_person, make_preference, make_project, make_prompt
from tests.exports.rows import rows_of as dpo_rows

pytestmark = pytest.mark.django_db


def ranked(responses: int = 4, *, people: int = 1, rationale: str = "") -> Project:
    """Return a project whose one slate was ordered by so many people."""
    project = make_project("orders", template="ranking", with_people=False)
    prompt = make_prompt(project, "Why?")
    for number in range(1, responses):
        make_pair(project, prompt=prompt, response_a="Answer 0", response_b=f"Answer {number}", model_b="model-one")
    openings = [Opening(pair.pk) for pair in Pair.objects.filter(project=project)]
    open_tasks(project, openings, votes_wanted=people)
    for number in range(people):
        rater = make_person(project, f"person-{number}")
        assert rater.user is not None
        Membership.objects.create(project=project, user=rater.user, role="annotator")
        held = next_assignment(project, rater, now=timezone.now()).assignment
        assert held is not None
        ranks = tuple(range(1, responses + 1))
        answer = Answer(
            ranks=ranks, basis=Basis.RANKING, seconds=60.0, reading_seconds=40.0, rationale=rationale, confidence=2
        )
        submit(held.pk, rater, answer, now=timezone.now())
    return project


def test_an_order_of_four_responses_is_one_paid_answer_though_it_decides_six_pairs() -> None:
    project = ranked(4)
    assert Preference.objects.count() == 6
    report = spending_report(project)["people"]
    assert (report["answers"], report["usd"]) == ({"live": 1}, "0.3")
    assert money_of(project).paid_answers == 1
    assert promised_usd(project, None) == project.pay_per_answer_usd
    assert [day["answers"] for day in answers_by_day(project)] == [1]


def test_hidden_repeats_and_late_answers_are_paid_once_each(project: Project) -> None:
    first = make_answer(make_pair(project))
    make_answer(first.task.pair, repeats=first)
    make_answer(first.task.pair, "cyd", is_extra=True)
    report = spending_report(project)["people"]
    assert (report["answers"], report["extra"], report["repeats"], report["usd"]) == ({"live": 3}, 1, 1, "0.9")
    assert money_of(project).people_usd == 3 * project.pay_per_answer_usd
    # One vote of the task, and the two beside it.
    assert promised_usd(project, None) == 3 * project.pay_per_answer_usd


def test_a_changed_answer_is_paid_once(project: Project) -> None:
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    ben = make_person(project)
    held = next_assignment(project, ben, now=timezone.now()).assignment
    assert held is not None
    submit(held.pk, ben, Answer("a", seconds=20.0), now=timezone.now())
    revise(held.pk, ben, Answer("b", seconds=5.0), now=timezone.now())
    assert Preference.objects.count() == 2
    assert spending_report(project)["people"]["usd"] == "0.3"
    (row,) = people_report(project)["people"]
    assert (row["answers"], row["revised"], row["median_seconds"]) == (1, 1, 25.0)


def test_simulated_and_recorded_answers_are_counted_and_not_paid(project: Project) -> None:
    pair = make_pair(project)
    make_answer(pair, "ben")
    make_answer(pair, make_person(project, "kai", origin=Origin.SIMULATED))
    make_preference(pair, "from the file")
    report = spending_report(project)["people"]
    assert (report["answers"], report["usd"]) == ({"live": 1, "recorded": 1, "simulated": 1}, "0.3")


def test_people_have_their_reading_and_deciding_time_and_their_confidence(project: Project) -> None:
    for reading, sure in ((10.0, 1), (20.0, None), (60.0, 3)):
        make_answer(
            make_pair(project), confidence=sure, seconds=reading + 5, reading_seconds=reading, deciding_seconds=5.0
        )
    make_answer(make_pair(project), "cyd", "unsure")
    ben, cyd = people_report(project)["people"]
    assert (ben["median_reading_seconds"], ben["median_deciding_seconds"], ben["median_seconds"]) == (20.0, 5.0, 25.0)
    assert (ben["with_confidence"], ben["mean_confidence"], ben["revised"]) == (2, 2.0, 0)
    assert (cyd["median_reading_seconds"], cyd["mean_confidence"], cyd["unsure"]) == (None, None, 1)


def test_an_order_is_one_answer_of_a_person_and_agrees_pair_by_pair() -> None:
    rows = people_report(ranked(5, people=2))["people"]
    assert [(row["answers"], row["median_seconds"], row["median_reading_seconds"]) for row in rows] == [(1, 60, 40)] * 2
    assert [row["agreement_with_others"]["n"] for row in rows] == [10, 10]
    assert [row["agreement_with_others"]["value"] for row in rows] == [1.0, 1.0]


def test_hidden_repeats_count_for_nothing_but_steadiness(project: Project) -> None:
    for number in range(12):
        first = make_answer(make_pair(project), "ben", "a", shown_order="ab")
        make_answer(first.task.pair, "ben", "b" if number < 3 else "a", shown_order="ba", repeats=first)
    resolve_labels(project)
    report = steadiness_report(project, name_of=str.upper)
    (ben,) = report["people"]
    assert (ben["person"], ben["repeats"], ben["three_way"]["value"], ben["same_place"]) == ("BEN", 12, 0.75, 3)
    # All twelve answers that stand were for the side shown first; the repeats are not among them.
    assert (ben["first_shown"]["n"], ben["first_shown"]["value"]) == (12, 1.0)
    assert report["everybody"] == {name: value for name, value in ben.items() if name not in ("person", "origin")}
    assert people_report(project)["votes"] == 12


def test_a_repeat_is_held_against_the_answer_that_stood_when_it_was_asked(project: Project) -> None:
    first = make_answer(make_pair(project), "ben", "a")
    earlier = first.preference
    assert earlier is not None
    make_answer(first.task.pair, "ben", "a", repeats=first, shown_order="ba")
    Preference.objects.filter(pk=earlier.pk).update(is_current=False)
    make_preference(first.task.pair, first.rater, "b", replaces=earlier)
    (ben,) = steadiness_report(project)["people"]
    assert (ben["repeats"], ben["same_place"]) == (1, 0)


@pytest.mark.parametrize(("basis", "rows"), [(Basis.CHOICE, 1), (Basis.RATINGS, 0), (Basis.RANKING, 0)])
def test_a_choice_that_follows_from_ratings_is_not_compared_with_them(
    project: Project, basis: Basis, rows: int
) -> None:
    pair, ben = make_pair(project), make_person(project)
    overall, _ = Criterion.objects.get_or_create(project=project, name="overall")
    for response, value in ((pair.response_a, 5), (pair.response_b, 2)):
        Rating.objects.create(rater=ben, response=response, criterion=overall, pair=pair, value=value)
    make_preference(pair, ben, "a", basis=basis)
    assert len(contrast_people(project).within) == rows


def test_every_pair_of_a_slate_that_people_have_is_with_people() -> None:
    project = ranked(4)
    every = {str(pair.pk) for pair in Pair.objects.filter(project=project)}
    assert len(every) == 6
    assert pairs_with_people(project, None) == every


def test_a_pair_of_an_open_slate_waits_for_people() -> None:
    project = ranked(3, people=1)
    project.tasks.update(state="open", votes_wanted=2)
    assert len(page_of_pairs(project, state="waiting").pairs) == 3
    project.tasks.update(state="done")
    assert page_of_pairs(project, state="waiting").pairs == []
    assert flow_of(project).imported == 3


def rows_of(project: Project) -> list[dict[str, Any]]:
    return dpo_rows(project)[0]


def test_the_reason_of_an_order_reaches_the_pairs_it_decides() -> None:
    rows = rows_of(ranked(3, rationale="The first says why."))
    assert [row["rationale"] for row in rows] == ["The first says why."] * 3
    assert [row["basis"] for row in rows] == [["ranking"]] * 3
    # The minute for the order is shared by its three pairs.
    assert [(row["seconds"], row["confidence"]) for row in rows] == [(20.0, 2.0)] * 3


def test_an_exported_row_has_what_people_said_beside_their_choice(project: Project) -> None:
    pair = make_pair(project)
    reasons = [{"side": "a", "reason": "clear"}, {"side": "b", "reason": "wrong"}]
    make_answer(pair, "ben", seconds=20.0, confidence=3, reasons=reasons, content_flags=["spam"])
    make_answer(pair, "cyd", seconds=40.0, confidence=2, reasons=reasons[:1], content_flags=["spam", "private"])
    (row,) = rows_of(project)
    assert (row["reasons_chosen"], row["reasons_rejected"]) == (["clear"], ["wrong"])
    assert row["content_flags"] == ["private", "spam"]
    assert (row["seconds"], row["confidence"], row["basis"]) == (30.0, 2.5, ["choice", "choice"])
