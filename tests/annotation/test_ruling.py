"""Rules that pause: their error however often they look, what they do, and what their person may read."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from scipy.stats import binom

from annotation.assigning import Answer, Opening, Waiting, next_assignment, open_tasks, skip, submit
from annotation.checking import check_invariants
from annotation.errors import AnnotationError
from annotation.excluding import exclude_answers
from annotation.gilding import revoke_gold
from annotation.models import Assignment, Exclusion, Gold, Preference, Project, Rater
from annotation.pausing import pause_person
from annotation.ruling import let_go_on, look_again, look_at, reason_for
from annotation.scoring import Rule, alarm_at, jeffreys
from annotation.standards import Standards
from tests.builders import make_answer, make_gold, make_pair, make_person, make_project, make_user

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RULES = Standards(pause_on_gold=True)


# --- The test that may look after every answer ----------------------------------------------------------------------


def alarms(accuracy: float, *, people: int, gold: int, seed: int) -> "np.ndarray[Any, Any]":
    """Return after how many answers each of these simulated people is paused; 0 for never."""
    rng = np.random.default_rng(seed)
    marks = rng.random((people, gold)) < accuracy
    return np.array([alarm_at([bool(one) for one in row], RULES) or 0 for row in marks])


@pytest.mark.parametrize("accuracy", [0.85, 0.9, 0.95])
def test_the_good_are_paused_as_rarely_as_stated_in_a_hundred_looks(accuracy: float) -> None:
    paused = alarms(accuracy, people=2000, gold=100, seed=1)
    share = float((paused > 0).mean())
    sys.stdout.write(f"accuracy {accuracy:.0%}: {share:.2%} paused within 100 gold answers, looked at after each\n")
    assert share <= RULES.wrong_pauses


@pytest.mark.parametrize("accuracy", [0.5, 0.33, 0.1])
def test_the_bad_are_paused_soon(accuracy: float) -> None:
    paused = alarms(accuracy, people=1000, gold=200, seed=2)
    assert (paused > 0).mean() > 0.995
    mean = float(paused[paused > 0].mean())
    sys.stdout.write(f"accuracy {accuracy:.0%}: paused after {mean:.1f} gold answers on average\n")
    assert mean <= 15


def test_a_fixed_test_looked_at_each_time_would_break_what_it_says() -> None:
    # What the sequential test is for: an exact binomial test at 2 %, repeated, pauses several times as many.
    rng = np.random.default_rng(3)
    wrong = (rng.random((1000, 100)) >= 0.85).cumsum(axis=1)
    n = np.arange(1, 101)
    p = binom.sf(wrong - 1, n, 0.15)
    naive = float(((p <= 0.02) & (n >= RULES.least_gold)).any(axis=1).mean())
    sys.stdout.write(f"a fixed test at 2 %, looked at after each of 100: {naive:.1%}\n")
    assert naive > 3 * RULES.wrong_pauses


def test_a_rule_waits_for_its_least_number() -> None:
    assert alarm_at([False] * 10, RULES) == 5
    assert alarm_at([False] * 10, Standards(pause_on_gold=True, least_gold=8)) == 8
    # Four wrong at the start, by hand: 4 ln(0.5 / 0.15) = 4.82, over ln 50 = 3.91.
    assert alarm_at([False] * 4, Standards(pause_on_gold=True, least_gold=1)) == 4
    assert alarm_at([True] * 500, RULES) is None


def test_jeffreys_interval_is_that_of_the_literature() -> None:
    # Brown, Cai & DasGupta 2001, table 5 gives 95 % limits for small n.
    assert jeffreys(1, 7) == pytest.approx((0.016, 0.501), abs=6e-4)
    assert jeffreys(0, 7)[0] == 0.0
    assert jeffreys(7, 7)[1] == 1.0
    assert jeffreys(5, 10) == pytest.approx((0.224, 0.776), abs=6e-4)


# --- What a rule does -----------------------------------------------------------------------------------------------


@pytest.fixture
def project(db: None) -> Project:
    return make_project(standards={"gold_percent": 20.0, "pause_on_gold": True, "attention_fails": 2})


@pytest.fixture
def ben(project: Project) -> Rater:
    return make_person(project)


def answered(project: Project, rater: Rater, right: int, wrong: int, kind: str = "known") -> list[Gold]:
    gold = [make_gold(project, ["a"], kind=kind) for _ in range(right + wrong)]
    for number, one in enumerate(gold):
        make_answer(one.pair, rater, "b" if number < wrong else "a")
    return gold


def again(rater: Rater) -> Rater:
    return Rater.objects.select_related("project").get(pk=rater.pk)


def broken() -> list[Any]:
    return [check for check in check_invariants(now=NOW) if check.broken]


def test_somebody_who_keeps_being_wrong_is_paused_once(project: Project, ben: Rater) -> None:
    answered(project, ben, right=0, wrong=5)
    assert look_at(ben, now=NOW) is Rule.GOLD
    assert look_at(again(ben), now=NOW) is None
    assert ben.paused_reason == Rule.GOLD
    assert next_assignment(project, ben, now=NOW).waiting is Waiting.PERSON_PAUSED


def test_without_the_rule_nobody_is(project: Project, ben: Rater) -> None:
    answered(project, ben, right=0, wrong=9)
    project.standards = {"gold_percent": 20.0}
    project.save()
    assert look_at(again(ben), now=NOW) is None


def test_failed_attention_checks_pause_at_their_number(project: Project, ben: Rater) -> None:
    answered(project, ben, right=5, wrong=1, kind="attention")
    assert look_at(ben, now=NOW) is None
    answered(project, ben, right=0, wrong=1, kind="attention")
    assert look_at(ben, now=NOW) is Rule.ATTENTION


def test_pausing_gives_back_what_is_held(project: Project, ben: Rater) -> None:
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    assert pause_person(ben, reason="Please read the guidelines again.", now=NOW) == 1
    assert Assignment.objects.get(pk=held.pk).state == "expired"
    cyd = make_person(project, "cyd")
    assert next_assignment(project, cyd, now=NOW).assignment is not None
    assert broken() == []


def test_a_pause_needs_a_reason(ben: Rater) -> None:
    with pytest.raises(AnnotationError, match="say why"):
        pause_person(ben, reason="  ", now=NOW)


def test_a_managers_undo_starts_the_rule_afresh(project: Project, ben: Rater) -> None:
    answered(project, ben, right=0, wrong=5)
    look_at(ben, now=NOW)
    assert let_go_on(ben, now=timezone.now())
    assert not let_go_on(ben, now=timezone.now())
    # The old answers are not held against them again; new ones are.
    assert look_at(again(ben), now=NOW) is None
    answered(project, ben, right=0, wrong=4)
    assert look_at(again(ben), now=NOW) is None
    answered(project, ben, right=0, wrong=1)
    assert look_at(again(ben), now=NOW) is Rule.GOLD


def test_revoked_answers_take_the_pause_back_and_what_it_excluded(project: Project, ben: Rater) -> None:
    project.standards = {**project.standards, "exclude_on_pause": True}
    project.save()
    ordinary = make_answer(make_pair(project), ben, "a")
    gold = answered(project, ben, right=1, wrong=5)
    assert look_at(again(ben), now=NOW) is Rule.GOLD
    ordinary.refresh_from_db()
    assert (ordinary.state, ordinary.task.answered) == ("extra", 0)
    for one in gold[:2]:
        revoke_gold(one, reason="b is as good", by=None, now=NOW)
    assert look_again(project, now=NOW) == [ben]
    assert again(ben).paused_at is None
    ordinary.refresh_from_db()
    assert (ordinary.state, ordinary.task.answered, Exclusion.objects.get().undone_at) == ("submitted", 1, NOW)
    assert broken() == []


def test_what_a_manager_paused_or_excluded_stays_so(project: Project, ben: Rater) -> None:
    ada = make_user("ada-two")
    (gold, *_) = answered(project, ben, right=1, wrong=5)
    exclude_answers(ben, reason="copied", by=ada, now=NOW)
    pause_person(ben, reason="copied", now=NOW)
    revoke_gold(gold, reason="", by=None, now=NOW)
    assert look_again(project, now=NOW) == []
    assert Exclusion.objects.get().undone_at is None


# --- What the person reads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [True, False])
def test_the_page_says_why_in_numbers_and_never_which(
    client: Client, project: Project, ben: Rater, script: bool
) -> None:
    gold = answered(project, ben, right=2, wrong=6)
    look_at(ben, now=NOW)
    client.force_login(ben.user)  # type: ignore[arg-type]
    page = client.get("/annotate/helpfulness/", headers={"HX-Request": "true"} if script else {}).content.decode()
    assert "You are paused in this project" in page
    assert (
        "Of 8 such pairs, 2 of your answers were the known ones. People who read closely reach 85 of 100 or more."
        in page
    )
    assert "ask the manager" in page
    assert "rule:" not in page
    assert not any(str(one.pair_id) in page or one.pair.external_id in page for one in gold)


def test_a_managers_words_are_shown_as_they_are(client: Client, project: Project, ben: Rater) -> None:
    pause_person(ben, reason="Please <b>read</b> more slowly.", now=NOW)
    client.force_login(ben.user)  # type: ignore[arg-type]
    page = client.get("/annotate/helpfulness/").content.decode()
    assert "The manager says why:" in page
    assert "Please &lt;b&gt;read&lt;/b&gt; more slowly." in page


def test_nobody_who_works_is_told_anything(project: Project, ben: Rater) -> None:
    assert reason_for(ben) is None


# --- The first gold pairs -------------------------------------------------------------------------------------------


@pytest.fixture
def strict(db: None) -> Project:
    project = make_project(standards={"first_gold": 4, "pass_mark": 0.75, "tries": 2})
    open_tasks(project, [Opening(make_pair(project).pk) for _ in range(10)], votes_wanted=1)
    for _ in range(10):
        make_gold(project)
    return project


def work(project: Project, rater: Rater, choices: str, *, ahead: int = 2) -> list[bool]:
    """Answer with these choices and return which of the pairs were gold."""
    was_gold = []
    for choice in choices:
        now = NOW + timedelta(minutes=Assignment.objects.answered().count())
        one = next_assignment(project, rater, now=now, ahead=ahead).assignment
        assert one is not None
        was_gold.append(one.gold_id is not None)
        submit(one.pk, rater, Answer(choice), now=now)
    return was_gold


def test_who_passes_goes_on_to_the_pairs(strict: Project) -> None:
    ben = make_person(strict)
    assert work(strict, ben, "aaba") == [True] * 4
    assert work(strict, ben, "aaa") == [False] * 3
    assert again(ben).qualified_at is not None
    assert broken() == []


def test_who_fails_gets_the_second_try_and_then_reads_why(strict: Project) -> None:
    ben = make_person(strict)
    assert work(strict, ben, "abba") == [True] * 4
    assert work(strict, ben, "bbaa") == [True] * 4
    assert len({one.gold_id for one in Assignment.objects.all()}) == 8
    assert next_assignment(strict, ben, now=NOW + timedelta(days=1)).waiting is Waiting.PERSON_PAUSED
    assert again(ben).paused_reason == Rule.FIRST_GOLD
    reason = reason_for(again(ben))
    assert reason is not None
    assert "People who read closely reach 75 of 100 or more." in reason.rests_on
    # Nothing of theirs counts for a label.
    assert not Preference.objects.counted().exists()


def test_the_second_try_can_pass(strict: Project) -> None:
    ben = make_person(strict)
    work(strict, ben, "bbbb")
    work(strict, ben, "aaaa")
    assert work(strict, ben, "a") == [False]
    assert again(ben).qualification_tries == 2


def test_passing_everything_on_is_no_way_in(strict: Project) -> None:
    ben = make_person(strict)
    for number in range(10):
        one = next_assignment(strict, ben, now=NOW + timedelta(seconds=number)).assignment
        assert one is not None
        assert one.gold_id is not None
        skip(one.pk, ben, reason="unclear", now=NOW + timedelta(seconds=number))
    assert next_assignment(strict, ben, now=NOW + timedelta(days=1)).waiting is Waiting.PERSON_PAUSED


def test_a_manager_can_let_somebody_in(strict: Project) -> None:
    ben = make_person(strict)
    work(strict, ben, "bbbb")
    work(strict, ben, "bbbb")
    next_assignment(strict, ben, now=NOW + timedelta(days=1))
    let_go_on(ben, now=NOW + timedelta(days=1))
    assert work(strict, again(ben), "a") == [False]


def test_revoking_lets_in_whom_the_pair_had_kept_out(strict: Project) -> None:
    ben = make_person(strict)
    work(strict, ben, "bbbb")
    work(strict, ben, "aabb")
    next_assignment(strict, ben, now=NOW + timedelta(days=1))
    assert look_again(strict, now=NOW) == []
    # Two of the second try, which then had two of two right.
    last = Assignment.objects.filter(rater=ben, preference__choice="b").order_by("-finished_at")[:2]
    for one in Gold.objects.filter(assignments__in=[assignment.pk for assignment in last]):
        revoke_gold(one, reason="b is right", by=None, now=NOW)
    assert look_again(strict, now=NOW) == [ben]
    assert work(strict, again(ben), "a") == [False]
