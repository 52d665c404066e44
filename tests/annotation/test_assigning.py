"""Assignment: who gets which pair, what becomes of a lease, and that an answer is stored once."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import connection

from annotation.assigning import (
    Answer,
    Opening,
    Progress,
    Waiting,
    _free_for,
    drawn_order,
    expire_leases,
    next_assignment,
    open_tasks,
    progress_of,
    rater_for,
    renew,
    save_draft,
    skip,
    stored_choice,
    submit,
)
from annotation.checking import check_invariants
from annotation.errors import (
    AlreadyAnswered,
    AnnotationError,
    AnswerInvalid,
    LeaseLost,
    LeaseNotYours,
    NotAMember,
    RationaleMissing,
)
from annotation.models import (
    Assignment,
    AssignmentState,
    Choice,
    Membership,
    Origin,
    OutboxEvent,
    Pair,
    Preference,
    Project,
    Rater,
    RaterKind,
    Role,
    Task,
    TaskState,
    Tier,
    User,
)
from annotation.skilling import Skills
from tests.builders import make_pair, make_person, make_preference, make_project, make_user

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def user(name: str) -> User:
    return User.objects.get(username=name)


def opened(project: Project, pairs: int = 1, *, votes_wanted: int = 1, tier: Tier = Tier.CROWD) -> list[Pair]:
    """Open new pairs, the first one with the highest priority."""
    made = [make_pair(project) for _ in range(pairs)]
    openings = [Opening(pair.id, float(pairs - number)) for number, pair in enumerate(made)]
    open_tasks(project, openings, votes_wanted=votes_wanted, tier=tier)
    return made


def lease(project: Project, rater: Rater, now: datetime = NOW) -> Assignment:
    """Return the person's next lease; there must be one."""
    assignment = next_assignment(project, rater, now=now).assignment
    assert assignment is not None
    return assignment


def waiting(project: Project, rater: Rater, now: datetime = NOW) -> str | None:
    found = next_assignment(project, rater, now=now)
    assert found.assignment is None
    return found.waiting


@pytest.fixture
def study() -> SimpleNamespace:
    project = make_project(lease_seconds=600)
    return SimpleNamespace(
        project=project, ben=rater_for(project, user("ben")), cyd=rater_for(project, user("cyd")), ada=user("ada")
    )


# --- People ---------------------------------------------------------------------------------------------------------


def test_member_gets_one_rater_for_good(study: SimpleNamespace) -> None:
    again = rater_for(study.project, user("ben"))
    assert (again, again.kind, again.origin, again.name) == (study.ben, RaterKind.PERSON, Origin.LIVE, "ben")


def test_outsider_gets_no_rater(study: SimpleNamespace) -> None:
    with pytest.raises(NotAMember, match="eve is not a member of helpfulness"):
        rater_for(study.project, user("eve"))
    assert not Rater.objects.filter(user__username="eve").exists()


def test_recorded_rater_of_the_same_name_stays_somebody_else(study: SimpleNamespace) -> None:
    recorded = Rater.objects.create(project=study.project, kind=RaterKind.PERSON, name="ada", origin=Origin.RECORDED)
    ada = rater_for(study.project, study.ada)
    assert (ada.pk != recorded.pk, ada.name) == (True, "ada (2)")


def test_member_who_left_gets_no_more_pairs(study: SimpleNamespace) -> None:
    opened(study.project)
    Membership.objects.filter(user__username="ben").delete()
    with pytest.raises(NotAMember, match="no longer a member"):
        next_assignment(study.project, study.ben, now=NOW)


def test_rater_of_another_project_and_judge_get_no_pair(study: SimpleNamespace) -> None:
    other = make_project("other", with_people=False)
    judge = Rater.objects.create(project=study.project, kind=RaterKind.JUDGE, name="gpt")
    for project, rater in ((other, study.ben), (study.project, judge)):
        with pytest.raises(NotAMember):
            next_assignment(project, rater, now=NOW)


# --- Opening --------------------------------------------------------------------------------------------------------


def test_opening_twice_adds_nothing_and_moves_the_priority(study: SimpleNamespace) -> None:
    pairs = [make_pair(study.project) for _ in range(3)]
    assert open_tasks(study.project, [Opening(pair.id, 1.0) for pair in pairs[:2]], votes_wanted=2) == 2
    held = lease(study.project, study.ben)

    assert open_tasks(study.project, [Opening(pair.id, 5.0) for pair in pairs], votes_wanted=4) == 1

    tasks = Task.objects.in_bulk(field_name="id").values()
    assert sorted((task.priority, task.votes_wanted) for task in tasks) == [(5.0, 2), (5.0, 2), (5.0, 4)]
    assert next_assignment(study.project, study.ben, now=NOW).assignment == held
    assert Task.objects.get(pk=held.task_id).taken == 1


def test_same_pair_opens_once_for_the_crowd_and_once_for_experts(study: SimpleNamespace) -> None:
    pair = make_pair(study.project)
    assert open_tasks(study.project, [Opening(pair.id)] * 2, votes_wanted=1) == 1
    assert open_tasks(study.project, [Opening(pair.id)], votes_wanted=1, tier=Tier.EXPERT) == 1


@pytest.mark.parametrize(
    ("priority", "votes", "message"), [(float("nan"), 1, "not a number"), (1.0, 0, "at least 1 is needed")]
)
def test_opening_refuses_what_cannot_be_served(
    study: SimpleNamespace, priority: float, votes: int, message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        open_tasks(study.project, [Opening(make_pair(study.project).id, priority)], votes_wanted=votes)


def test_opening_a_stranger_opens_nothing(study: SimpleNamespace) -> None:
    mine, strange = make_pair(study.project), make_pair(make_project("other", with_people=False))
    with pytest.raises(AnnotationError, match=f"1 pairs are not in helpfulness, the first is {strange.id}"):
        open_tasks(study.project, [Opening(mine.id), Opening(strange.id)], votes_wanted=1)
    assert not Task.objects.exists()


# --- Serving --------------------------------------------------------------------------------------------------------


def test_best_pair_is_served_first_and_held_until_answered(study: SimpleNamespace) -> None:
    first, second = opened(study.project, 2)
    one = lease(study.project, study.ben)
    assert (one.task.pair, one.slot, one.lease_until) == (first, 0, NOW + timedelta(seconds=600))
    assert lease(study.project, study.ben, NOW + timedelta(minutes=5)) == one
    submit(one.id, study.ben, Answer("a"), now=NOW)
    assert lease(study.project, study.ben).task.pair == second


def test_slots_of_a_pair_go_to_different_people(study: SimpleNamespace) -> None:
    opened(study.project, votes_wanted=2)
    ben, cyd = lease(study.project, study.ben), lease(study.project, study.cyd)
    assert (ben.task_id, ben.slot, cyd.task_id, cyd.slot) == (cyd.task_id, 0, ben.task_id, 1)
    assert waiting(study.project, rater_for(study.project, study.ada)) == Waiting.NONE_FREE


def test_waiting_says_why(study: SimpleNamespace) -> None:
    assert waiting(study.project, study.ben) == "all_done"
    opened(study.project)
    held = lease(study.project, study.cyd)
    assert waiting(study.project, study.ben) == "none_free"
    submit(held.id, study.cyd, Answer("a"), now=NOW)
    assert waiting(study.project, study.ben) == "all_done"


def test_paused_project_gives_no_new_pair_but_lets_the_held_one_be_finished(study: SimpleNamespace) -> None:
    opened(study.project, 2)
    held = lease(study.project, study.ben)
    study.project.status = Project.Status.PAUSED
    study.project.save()
    assert lease(study.project, study.ben) == held
    submit(held.id, study.ben, Answer("a"), now=NOW)
    assert waiting(study.project, study.ben) == "paused"


def test_pair_a_person_has_answered_elsewhere_is_not_served(study: SimpleNamespace) -> None:
    (pair,) = opened(study.project)
    make_preference(pair, study.ben, "b")
    assert waiting(study.project, study.ben) == "all_done"
    assert lease(study.project, study.cyd).task.pair == pair


def test_answer_by_a_criterion_does_not_hide_the_pair(study: SimpleNamespace) -> None:
    (pair,) = opened(study.project)
    make_preference(pair, study.ben, "b", criterion=study.project.criteria.create(name="harmless"))
    assert lease(study.project, study.ben).task.pair == pair


def test_experts_get_expert_pairs_first_and_others_never(study: SimpleNamespace) -> None:
    (crowd,) = opened(study.project, votes_wanted=3)
    (hard,) = opened(study.project, tier=Tier.EXPERT)
    Membership.objects.create(project=study.project, user=make_user("xan"), role=Role.EXPERT)
    expert = rater_for(study.project, user("xan"))
    first = lease(study.project, expert)
    submit(first.id, expert, Answer("tie"), now=NOW)
    assert (first.task.pair, lease(study.project, expert).task.pair) == (hard, crowd)
    for person in (study.ben, rater_for(study.project, study.ada)):
        assert lease(study.project, person).task.pair == crowd


def test_expert_never_sees_the_same_pair_in_both_tiers(study: SimpleNamespace) -> None:
    (pair,) = opened(study.project)
    open_tasks(study.project, [Opening(pair.id)], votes_wanted=1, tier=Tier.EXPERT)
    Membership.objects.filter(user__username="ben").update(role=Role.EXPERT)
    held = lease(study.project, study.ben)
    assert held.task.tier == Tier.EXPERT
    expire_leases(now=LATER)
    Task.objects.filter(pk=held.task_id).update(state=TaskState.CLOSED)
    assert waiting(study.project, study.ben, LATER) == "all_done"


def test_order_shown_is_drawn_stored_and_drawn_alike_again(study: SimpleNamespace) -> None:
    (pair,) = opened(study.project)
    held = lease(study.project, study.ben)
    assert held.shown_order == drawn_order(study.project, pair, study.ben)
    submit(held.id, study.ben, Answer("a"), now=NOW)
    assert Preference.objects.get().shown_order == held.shown_order


def test_order_shown_is_balanced_and_depends_on_seed_pair_and_person() -> None:
    def draws(seed: int, name: str) -> list[str]:
        project = Project(seed=seed)
        return [drawn_order(project, Pair(external_id=f"p{number}"), Rater(name=name)) for number in range(2000)]

    shown = Counter(draws(0, "ben"))
    # Four standard deviations of a fair coin thrown 2,000 times are 90.
    assert abs(shown["ab"] - 1000) < 90
    assert draws(0, "ben") == draws(0, "ben")
    assert draws(1, "ben") != draws(0, "ben") != draws(0, "cyd")


def test_next_pair_is_read_from_the_queue_index(study: SimpleNamespace) -> None:
    opened(study.project, 30, votes_wanted=3)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")
            # Thirty rows fit a page, so that the planner would rightly read them all.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    plan = _free_for(study.project, study.ben, Skills(), Tier.CROWD)[:1].explain()
    assert "task_queue" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan
    if connection.vendor == "sqlite":
        # Walking through all a person ever did for every candidate made the queue quadratic.
        assert "assignment_by_rater" not in plan


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL chooses by rows that a test does not have")
@pytest.mark.either_database
def test_answers_of_a_person_are_counted_in_an_index_alone(study: SimpleNamespace) -> None:
    # At every request: two thousand rows looked up for it took as long as all else the database did.
    plan = Rater.objects.filter(pk=study.ben.pk).counted().explain()
    assert "USING COVERING INDEX assignment_by_rater" in plan


# --- Answering ------------------------------------------------------------------------------------------------------


def test_answer_is_stored_with_all_that_was_said(study: SimpleNamespace) -> None:
    (pair,) = opened(study.project)
    held = lease(study.project, study.ben)
    given = submit(held.id, study.ben, Answer("b", 2, "  It cites the source.\n", 41.5), now=NOW)
    stored = Preference.objects.get()
    assert stored == given
    assert (stored.pair, stored.rater, stored.choice, stored.strength) == (pair, study.ben, "b", 2)
    assert (stored.rationale, stored.seconds, stored.is_extra) == ("It cites the source.", 41.5, False)
    held.refresh_from_db()
    assert (held.state, held.preference, held.finished_at) == (AssignmentState.SUBMITTED, stored, NOW)
    task = Task.objects.get()
    assert (task.state, task.taken, task.answered) == (TaskState.DONE, 1, 1)
    assert [(event.topic, event.payload) for event in OutboxEvent.objects.all()] == [
        ("preference_submitted", {"pair_id": str(pair.id)})
    ]


def test_task_is_done_with_its_last_answer(study: SimpleNamespace) -> None:
    opened(study.project, votes_wanted=2)
    states = []
    for person in (study.ben, study.cyd):
        submit(lease(study.project, person).id, person, Answer("a"), now=NOW)
        states.append(Task.objects.get().state)
    assert states == [TaskState.OPEN, TaskState.DONE]


def test_same_answer_again_gives_the_stored_one(study: SimpleNamespace) -> None:
    opened(study.project, votes_wanted=2)
    held = lease(study.project, study.ben)
    first = submit(held.id, study.ben, Answer("a", 1, "Clearer.", 10), now=NOW)
    again = submit(held.id, study.ben, Answer("a", 1, "Clearer. ", 12), now=LATER)
    assert (again, Preference.objects.count(), OutboxEvent.objects.count()) == (first, 1, 1)
    assert Task.objects.get().answered == 1


@pytest.mark.parametrize("other", [Answer("b", 1, "Clearer."), Answer("a", 2, "Clearer."), Answer("a", 1, "Other.")])
def test_another_answer_after_the_first_is_refused(study: SimpleNamespace, other: Answer) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    submit(held.id, study.ben, Answer("a", 1, "Clearer."), now=NOW)
    with pytest.raises(AlreadyAnswered, match="already stored"):
        submit(held.id, study.ben, other, now=NOW)
    assert Preference.objects.get().choice == "a"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer("c"), "choice 'c' is not known"),
        (Answer("tie", 2), "goes with choosing one response"),
        (Answer("a", 0), "strength is 0"),
        (Answer("a", 4), "strength is 4"),
        (Answer("a", True), "strength is True"),
        (Answer("a", seconds=float("inf")), "seconds spent are inf"),
        (Answer("a", seconds=-1.0), "seconds spent are -1.0"),
        (Answer("a", rationale="zero\x00byte"), "reason contains a NUL"),
        (Answer("a", rationale="half \ud83d"), "lone surrogate"),
        (Answer("a", rationale="x" * 20_001), "has 20,001 characters; 20,000 fit"),
    ],
)
def test_answer_that_cannot_be_stored_is_refused_whole(study: SimpleNamespace, answer: Answer, message: str) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    with pytest.raises(AnswerInvalid, match=message):
        submit(held.id, study.ben, answer, now=NOW)
    assert not Preference.objects.exists()
    assert lease(study.project, study.ben) == held


def test_project_that_wants_reasons_gets_them_except_from_the_unsure(study: SimpleNamespace) -> None:
    Project.objects.update(rationale_required=True)
    project = Project.objects.get()
    ben = rater_for(project, user("ben"))
    opened(project)
    held = lease(project, ben)
    with pytest.raises(RationaleMissing, match="asks for a reason"):
        submit(held.id, ben, Answer("a", rationale=" \n"), now=NOW)
    submit(held.id, ben, Answer("unsure"), now=NOW)
    assert Preference.objects.get().choice == Choice.UNSURE


@pytest.mark.parametrize(
    ("shown", "order", "stored"),
    [
        ("first", "ab", "a"),
        ("second", "ab", "b"),
        ("first", "ba", "b"),
        ("second", "ba", "a"),
        ("tie", "ba", "tie"),
        ("both_bad", "ab", "both_bad"),
        ("unsure", "ba", "unsure"),
    ],
)
def test_side_on_the_screen_becomes_the_stored_side(shown: str, order: str, stored: str) -> None:
    assert stored_choice(shown, order) == stored


@pytest.mark.parametrize(("shown", "order"), [("a", "ab"), ("", "ab"), ("first", ""), ("first", "xx")])
def test_side_that_is_not_known_is_refused(shown: str, order: str) -> None:
    with pytest.raises(AnswerInvalid):
        stored_choice(shown, order)


def test_somebody_elses_lease_is_as_unknown_as_none(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.cyd)
    calls: list[Callable[..., object]] = [
        lambda key: submit(key, study.ben, Answer("a"), now=NOW),
        lambda key: skip(key, study.ben, reason="unclear", now=NOW),
        lambda key: renew(key, study.ben, now=NOW),
        lambda key: save_draft(key, study.ben, {}, now=NOW),
    ]
    for call in calls:
        messages = set()
        for key in (held.id, uuid4()):
            with pytest.raises(LeaseNotYours) as caught:
                call(key)
            messages.add(str(caught.value))
        assert len(messages) == 1


# --- Leases ---------------------------------------------------------------------------------------------------------


def test_expired_lease_returns_pair_to_queue(study: SimpleNamespace) -> None:
    (pair,) = opened(study.project)
    held = lease(study.project, study.ben)
    assert expire_leases(now=held.lease_until - timedelta(seconds=1)) == 0
    assert expire_leases(now=held.lease_until) == 1
    assert expire_leases(now=LATER) == 0
    held.refresh_from_db()
    assert (held.state, held.slot) == (AssignmentState.EXPIRED, None)
    assert lease(study.project, study.cyd, LATER).task.pair == pair


def test_lease_that_ran_out_is_given_on_before_the_reaper_comes(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    other = lease(study.project, study.cyd, LATER)
    assert (other.task_id, other.slot) == (held.task_id, 1)  # a number is never used again


def test_person_whose_lease_ran_out_gets_the_same_pair_again(study: SimpleNamespace) -> None:
    opened(study.project, 2)
    held = lease(study.project, study.ben)
    before_reaper = lease(study.project, study.ben, LATER)
    assert (before_reaper, before_reaper.lease_until) == (held, LATER + timedelta(seconds=600))

    even_later = LATER + timedelta(hours=1)
    expire_leases(now=even_later)
    after_reaper = lease(study.project, study.ben, even_later)
    assert (after_reaper, after_reaper.shown_order) == (held, held.shown_order)
    assert Assignment.objects.count() == 1


def test_late_answer_takes_its_slot_again_while_it_is_free(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    expire_leases(now=LATER)
    assert submit(held.id, study.ben, Answer("a"), now=LATER).is_extra is False
    task = Task.objects.get()
    assert (task.state, task.taken, task.answered) == (TaskState.DONE, 1, 1)


def test_late_answer_without_a_slot_is_kept_as_extra(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    expire_leases(now=LATER)
    other = lease(study.project, study.cyd, LATER)

    late = submit(held.id, study.ben, Answer("b"), now=LATER)
    submit(other.id, study.cyd, Answer("a"), now=LATER)

    assert late.is_extra is True
    assert submit(held.id, study.ben, Answer("b"), now=LATER) == late
    assert list(Preference.objects.counted().values_list("rater__name", flat=True)) == ["cyd"]
    task = Task.objects.get()
    assert (task.state, task.taken, task.answered) == (TaskState.DONE, 1, 1)
    assert progress_of(study.project, study.ben) == Progress(done=1, available=0, earned_usd=Decimal("0.30"))


def test_answer_that_came_from_elsewhere_in_the_meantime_stands(study: SimpleNamespace) -> None:
    (pair,) = opened(study.project)
    held = lease(study.project, study.ben)
    make_preference(pair, study.ben, "b")
    with pytest.raises(AlreadyAnswered, match="another task"):
        submit(held.id, study.ben, Answer("a"), now=NOW)


def test_skipped_pair_goes_to_others_at_once_and_never_back(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    for _ in range(2):
        skip(held.id, study.ben, reason="language", note=" Swahili ", now=NOW)
    held.refresh_from_db()
    assert (held.state, held.slot, held.skip_reason, held.note) == ("skipped", None, "language", "Swahili")
    assert waiting(study.project, study.ben) == "all_done"
    assert lease(study.project, study.cyd).task_id == held.task_id
    assert Task.objects.get().taken == 1
    with pytest.raises(LeaseLost, match="passed this pair on"):
        submit(held.id, study.ben, Answer("a"), now=NOW)


def test_skip_needs_a_known_reason_and_a_held_pair(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    with pytest.raises(AnswerInvalid, match="reason 'bored' is not known"):
        skip(held.id, study.ben, reason="bored", now=NOW)
    with pytest.raises(AnswerInvalid, match="note contains a NUL"):
        skip(held.id, study.ben, reason="broken", note="\x00", now=NOW)
    submit(held.id, study.ben, Answer("a"), now=NOW)
    with pytest.raises(AlreadyAnswered):
        skip(held.id, study.ben, reason="broken", now=NOW)
    assert Task.objects.get().answered == 1


def test_renewed_lease_outlives_the_reaper(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    later = NOW + timedelta(seconds=500)
    assert renew(held.id, study.ben, now=later).lease_until == later + timedelta(seconds=600)
    assert expire_leases(now=held.lease_until) == 0


def test_lost_lease_is_not_renewed(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    expire_leases(now=LATER)
    with pytest.raises(LeaseLost, match="ran out"):
        renew(held.id, study.ben, now=LATER)
    submit(held.id, study.ben, Answer("a"), now=LATER)
    with pytest.raises(AlreadyAnswered):
        renew(held.id, study.ben, now=LATER)


def test_draft_survives_the_end_of_the_lease_and_goes_with_the_answer(study: SimpleNamespace) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    draft = {"choice": "first", "strength": 2, "rationale": "So far"}
    save_draft(held.id, study.ben, draft, now=NOW)
    expire_leases(now=LATER)
    again = lease(study.project, study.ben, LATER)
    assert again.draft == {**draft, "saved_at": NOW.isoformat()}
    submit(again.id, study.ben, Answer("a"), now=LATER)
    again.refresh_from_db()
    assert again.draft == {}
    with pytest.raises(AlreadyAnswered):
        save_draft(held.id, study.ben, draft, now=LATER)


@pytest.mark.parametrize(
    "draft", [{"rationale": "\x00"}, {"rationale": "\udc00"}, {"x": float("nan")}, {"x": {}}, {"x": ["y" * 200_001]}]
)
def test_draft_that_one_database_could_not_store_is_refused_by_both(
    study: SimpleNamespace, draft: dict[str, object]
) -> None:
    opened(study.project)
    held = lease(study.project, study.ben)
    with pytest.raises(AnswerInvalid):
        save_draft(held.id, study.ben, draft, now=NOW)


def test_progress_counts_answers_what_is_left_and_pay(study: SimpleNamespace) -> None:
    opened(study.project, 4)
    submit(lease(study.project, study.ben).id, study.ben, Answer("a"), now=NOW)
    lease(study.project, study.ben)
    lease(study.project, study.cyd)
    assert progress_of(study.project, study.ben) == Progress(done=1, available=2, earned_usd=Decimal("0.30"))
    assert progress_of(study.project, make_person(study.project, "ada")).available == 1


def test_counters_are_true_after_all_of_this(study: SimpleNamespace) -> None:
    opened(study.project, 3, votes_wanted=2)
    skip(lease(study.project, study.ben).id, study.ben, reason="broken", now=NOW)
    submit(lease(study.project, study.ben).id, study.ben, Answer("a"), now=NOW)
    lease(study.project, study.cyd)
    expire_leases(now=LATER)
    assert [check.name for check in check_invariants(study.project, now=LATER) if check.broken] == []
