"""Who gets no pairs, and is told why: paused people and pairs, a share that is done, skills that are missing."""

import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from annotation.assigning import Answer, Next, Opening, Waiting, next_assignment, open_tasks, revise, save_draft, submit
from annotation.checking import check_invariants
from annotation.errors import AnnotationError, PersonPaused
from annotation.limiting import set_limits
from annotation.models import Assignment, AssignmentState, Project, Rater, RaterKind, Task, TaskState
from annotation.pausing import pause_person, pause_task, resume_person, resume_task
from annotation.skilling import known_skills, set_needs, set_skills
from tests.annotation.test_assigning_races import at_once, broken, people
from tests.annotation.test_screen_races import until_somebody_waits_for_a_lock
from tests.builders import make_pair, make_person, make_project, make_prompt

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)


@pytest.fixture(autouse=True)
def _forget() -> None:
    cache.clear()


def study(pairs: int = 6, *, votes: int = 1, **settings: Any) -> tuple[Project, Rater]:
    project = make_project(lease_seconds=600, **settings)
    openings = [Opening(make_pair(project).pk, float(-number)) for number in range(pairs)]
    open_tasks(project, openings, votes_wanted=votes)
    return project, make_person(project)


def get(project: Project, rater: Rater, *, ahead: int = 0, now: datetime = NOW) -> Next:
    return next_assignment(project, rater, now=now, ahead=ahead)


def at_work(project: Project, rater: Rater) -> Rater:
    """Load somebody as a request does."""
    assert rater.user_id is not None
    return Rater.objects.at_work(rater.user_id, project.slug).get()


def answer(project: Project, rater: Rater, number: int, *, now: datetime = NOW, choice: str = "a") -> None:
    for _ in range(number):
        held = get(project, rater, now=now).assignment
        assert held is not None
        submit(held.pk, rater, Answer(choice), now=now)


# --- Pausing a person -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_paused_person_gives_back_what_they_hold_and_gets_nothing() -> None:
    project, ben = study()
    held = get(project, ben, ahead=2).held
    save_draft(held[0].pk, ben, {"rationale": "Half a thought"}, now=NOW)
    assert pause_person(ben, reason=" Please read the guidelines again. ", now=NOW) == 3
    assert get(project, ben).waiting is Waiting.PERSON_PAUSED
    stored = Rater.objects.get(pk=ben.pk)
    assert (stored.paused_at, stored.paused_reason) == (NOW, "Please read the guidelines again.")
    assert Task.objects.filter(taken__gt=0).count() == 0
    assert broken(NOW) == []
    assert resume_person(ben)
    assert not resume_person(ben)
    again = get(project, ben).assignment
    assert again is not None
    assert again.draft["rationale"] == "Half a thought"


@pytest.mark.django_db
def test_a_paused_person_gives_no_answer_and_changes_none() -> None:
    project, ben = study()
    answer(project, ben, 1)
    given = Assignment.objects.get()
    held = get(project, ben).assignment
    assert held is not None
    pause_person(ben, reason="Too fast.", now=NOW)
    for call in (partial(submit, held.pk), partial(revise, given.pk)):
        with pytest.raises(PersonPaused, match="paused in this project"):
            call(ben, Answer("b"), now=NOW)
    # What was stored is still answered when a tab sends it again.
    assert submit(given.pk, ben, Answer("a"), now=NOW) == given.preference


@pytest.mark.django_db
def test_a_pause_needs_a_reason_and_a_person() -> None:
    project, ben = study()
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="judge")
    with pytest.raises(AnnotationError, match="say why"):
        pause_person(ben, reason="  ", now=NOW)
    with pytest.raises(AnnotationError, match="is a judge"):
        pause_person(judge, reason="Why not", now=NOW)
    assert not Rater.objects.filter(paused_at__isnull=False).exists()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_whoever_is_paused_while_a_lease_is_under_way_holds_nothing_afterwards() -> None:
    """The lease is taken before the pause is stored and stored after it began: the pause waits, and takes it back."""
    project, ben = study()
    leased = threading.Event()

    def lease_slowly() -> None:
        with transaction.atomic():
            assert get(project, ben).assignment is not None
            leased.set()
            until_somebody_waits_for_a_lock()

    def pause() -> int:
        assert leased.wait(timeout=10)
        return pause_person(Rater.objects.get(pk=ben.pk), reason="Stop.", now=NOW)

    assert at_once([lease_slowly, pause])[1] == 1
    assert broken(NOW) == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_request_that_began_before_the_pause_leases_nothing_after_it() -> None:
    project, ben = study()
    paused = threading.Event()

    def pause_slowly() -> None:
        with transaction.atomic():
            pause_person(Rater.objects.get(pk=ben.pk), reason="Stop.", now=NOW)
            paused.set()
            until_somebody_waits_for_a_lock()

    def lease() -> Next:
        assert paused.wait(timeout=10)
        assert ben.paused_at is None
        return get(project, ben)

    assert at_once([pause_slowly, lease])[1].waiting is Waiting.PERSON_PAUSED
    assert ben.paused_reason == "Stop."
    assert broken(NOW) == []


# --- Pausing a pair -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_paused_pair_goes_to_nobody_new_and_who_holds_it_finishes() -> None:
    project, ben = study(2, votes=2)
    cyd = make_person(project, "cyd")
    held = get(project, ben).assignment
    assert held is not None
    task = held.task
    assert pause_task(task)
    assert not pause_task(task)
    assert get(project, cyd).assignment != held
    answer(project, cyd, 1)
    assert get(project, cyd).waiting is Waiting.ALL_DONE
    submit(held.pk, ben, Answer("a"), now=NOW)
    assert Task.objects.get(pk=task.pk).answered == 1
    assert resume_task(task)
    answer(project, cyd, 1)
    assert Task.objects.get(pk=task.pk).state == TaskState.DONE
    assert broken(NOW) == []


# --- A person's share -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_share_ends_a_persons_work_and_held_pairs_count() -> None:
    project, ben = study(most_answers=4)
    cyd = make_person(project, "cyd")
    assert len(get(project, ben, ahead=9).held) == 4
    answer(project, ben, 4)
    assert get(project, ben).waiting is Waiting.SHARE_DONE
    assert get(project, cyd).assignment is not None


@pytest.mark.django_db
def test_a_persons_own_limits_come_before_the_projects() -> None:
    project, ben = study(most_answers=1)
    set_limits(ben, {"most_answers": 2})
    answer(project, ben, 2)
    assert get(project, ben).waiting is Waiting.SHARE_DONE
    set_limits(ben, {"most_answers": None})
    set_limits(project, {"most_answers": 3})
    answer(project, ben, 1)
    assert get(project, ben).waiting is Waiting.SHARE_DONE


@pytest.mark.django_db
def test_a_days_share_comes_back_the_next_day() -> None:
    project, ben = study(most_answers_a_day=2, most_answers=5)
    last_second = NOW.replace(hour=23, minute=59, second=59)
    answer(project, ben, 2, now=last_second)
    assert get(project, ben, now=last_second).waiting is Waiting.DAY_DONE
    answer(project, ben, 2, now=last_second + timedelta(seconds=1))
    assert get(project, ben, now=TOMORROW).waiting is Waiting.DAY_DONE
    answer(project, ben, 1, now=TOMORROW + timedelta(days=1))
    assert get(project, ben, now=TOMORROW + timedelta(days=1)).waiting is Waiting.SHARE_DONE


@pytest.mark.django_db
@pytest.mark.parametrize("limits", [{"most_answers": 0}, {"most_answers_a_day": -1}, {"most_pairs": 3}])
def test_limits_that_cannot_be_are_refused(limits: dict[str, int]) -> None:
    project, ben = study()
    for target in (project, ben):
        with pytest.raises(AnnotationError):
            set_limits(target, limits)


@pytest.mark.django_db
def test_a_limit_that_is_far_away_costs_no_query() -> None:
    counted = []
    for slug, limits in (("free", {}), ("far", {"most_answers": 1000, "most_answers_a_day": 500})):
        project, _ = study(slug=slug, **limits)
        ben = at_work(project, make_person(project))
        assert ben.answered == 0
        with CaptureQueriesContext(connection) as queries:
            get(project, ben)
        counted.append(len(queries))
    assert counted[0] == counted[1]


@pytest.mark.django_db(transaction=True)
def test_many_tabs_of_one_person_never_hold_and_answer_more_than_their_share(settings: Any) -> None:
    settings.OUTBOX_CONSUMERS = {}
    project, _ = study(30, most_answers=10, with_people=False)
    (ben,) = people(project, 1)
    seen: list[int] = []

    def tab() -> None:
        while True:
            rater = at_work(project, ben)
            found = get(project, rater, ahead=2)
            taking = ["leased", "submitted", "extra"]
            seen.append(Assignment.objects.filter(rater=ben, state__in=taking).count())
            if found.waiting is Waiting.SHARE_DONE:
                return
            for held in found.held:
                submit(held.pk, rater, Answer("a"), now=NOW)

    at_once([tab] * 6)
    assert max(seen) == Assignment.objects.answered().count() == 10
    assert broken(NOW) == []


# --- Skills ---------------------------------------------------------------------------------------------------------


def mixed() -> tuple[Project, Rater]:
    project = make_project(lease_seconds=600)
    for language, category in (("de", "medicine"), ("de", "law"), ("en", "medicine"), ("", "")):
        prompt = make_prompt(project, language=language, category=category)
        pair = make_pair(project, prompt=prompt, external_id=f"{language}-{category}")
        open_tasks(project, [Opening(pair.pk)], votes_wanted=9)
    return project, make_person(project)


def offered(project: Project, rater: Rater) -> set[str]:
    with transaction.atomic():
        names = {held.task.pair.external_id for held in get(project, rater, ahead=9).held}
        transaction.set_rollback(True)
    return names


@pytest.mark.django_db
def test_pairs_go_to_those_who_have_what_they_need() -> None:
    project, ben = mixed()
    assert len(offered(project, ben)) == 4
    set_needs(project, language=True, domain=False)
    assert offered(project, ben) == {"-"}
    set_skills(ben, languages=["de", " de ", ""], domains=[])
    assert ben.languages == ["de"]
    assert offered(project, ben) == {"-", "de-medicine", "de-law"}
    set_needs(project, language=True, domain=True)
    assert offered(project, ben) == {"-"}
    set_skills(ben, languages=["de", "en"], domains=["medicine"])
    assert offered(project, ben) == {"-", "de-medicine", "en-medicine"}
    set_needs(project, language=False, domain=False)
    assert len(offered(project, ben)) == 4


@pytest.mark.django_db
def test_pairs_opened_later_need_what_the_project_says() -> None:
    project, ben = mixed()
    set_needs(project, language=True, domain=False)
    pair = make_pair(project, prompt=make_prompt(project, language="ar"))
    open_tasks(project, [Opening(pair.pk)], votes_wanted=1)
    assert (Task.objects.get(pair=pair).language, Task.objects.get(pair=pair).domain) == ("ar", "")
    assert len(offered(project, ben)) == 1


@pytest.mark.django_db
def test_what_needs_another_skill_is_not_waited_for() -> None:
    project, ben = mixed()
    Task.objects.filter(pair__external_id="-").delete()
    set_needs(project, language=True, domain=False)
    assert get(project, ben).waiting is Waiting.ALL_DONE


@pytest.mark.django_db
def test_a_project_knows_its_skills_and_refuses_what_is_none() -> None:
    project, ben = mixed()
    assert known_skills(project) == (["de", "en"], ["medicine", "law"])
    with pytest.raises(AnnotationError, match="at most 16"):
        set_skills(ben, languages=["the language of my grandmother"], domains=[])
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="judge")
    with pytest.raises(AnnotationError, match="only people"):
        set_skills(judge, languages=["de"], domains=[])


# --- The states are told --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_recount_finds_somebody_who_holds_pairs_while_paused() -> None:
    project, ben = study()
    get(project, ben)
    Rater.objects.filter(pk=ben.pk).update(paused_at=NOW, paused_reason="By hand")
    assert [check.name for check in check_invariants(now=NOW) if check.broken] == ["paused_hold_nothing"]
    assert Assignment.objects.filter(state=AssignmentState.LEASED).count() == 1
