"""What simulated people do is what their kind says, as often as it says, and follows from the seed alone."""

from collections import Counter
from itertools import pairwise
from math import log
from statistics import median

import pytest
from scipy.stats import binom

from annotation.errors import AnnotationError
from annotation.models import Choice
from annotation.simulating.behaving import (
    Item,
    Turn,
    accuracy_of,
    answer_of,
    ease_of,
    hours_until_back,
    model_answer,
    strength_of,
    times_of,
    turn_of,
)
from annotation.simulating.people import BAD, Habits, Kind, Mix, Person, draw_people, read_habits, read_kinds

A, B, TIE = Choice.A, Choice.B, Choice.TIE
PLAIN = Habits(ease_spread=0.0)
N = 2000
ITEMS = [Item(f"p{number}", A if number % 2 else B) for number in range(N)]


def is_share(times: int, share: float, n: int = N) -> bool:
    """Say whether so many of n are what a share makes: within all but one in 10,000, exactly."""
    low, high = binom.ppf([0.00005, 0.99995], n, share)
    return bool(low <= times <= high)


def answers(person: Person, items: list[Item] = ITEMS, habits: Habits = PLAIN, first: Choice = A) -> list[Choice]:
    return [answer_of(person, item, first, habits, seed=3) for item in items]


@pytest.mark.parametrize("skill", [0.6, 0.9, 0.99])
def test_who_reads_is_right_as_often_as_their_skill_on_usual_pairs(skill: float) -> None:
    given = answers(Person("x", skill=skill, tie=0.0, side=0.0))
    assert is_share(sum(said == item.better for said, item in zip(given, ITEMS, strict=True)), skill)
    assert set(given) == {A, B}


def test_ties_and_the_own_side_come_as_often_as_said() -> None:
    given = answers(Person("x", skill=0.999999, tie=0.2, side=0.25, first=False), habits=PLAIN)
    assert is_share(given.count(TIE), 0.2)
    # Of the others a quarter takes the second, here b, which is right on half of the pairs.
    assert is_share(given.count(B), 0.8 * (0.25 + 0.75 * 0.5))


def test_a_tie_that_is_true_is_known_and_missed_to_either_side() -> None:
    items = [item._replace(better=TIE) for item in ITEMS]
    given = Counter(answers(Person("x", skill=0.8, tie=0.0, side=0.0), items))
    assert is_share(given[TIE], 0.8)
    assert is_share(given[A], 0.1)


def test_easier_pairs_are_answered_better_and_gold_is_never_harder_than_usual() -> None:
    assert [round(accuracy_of(0.9, ease), 3) for ease in (0.0, 0.5, 1.0, 2.0)] == [0.5, 0.75, 0.9, 0.988]
    eases = [ease_of(item, Habits(ease_spread=0.5), seed=0) for item in ITEMS]
    assert is_share(sum(ease < 1 for ease in eases), 0.5)
    assert min(ease_of(item._replace(is_gold=True), Habits(ease_spread=0.5), seed=0) for item in ITEMS) == 1.0


def test_a_clicker_answers_at_random() -> None:
    given = Counter(answers(Person("x", Kind.CLICKER)))
    assert is_share(given[TIE], 0.1)
    assert is_share(given[A], 0.45)


@pytest.mark.parametrize(("first", "side"), [(True, A), (False, B)])
def test_a_one_sided_person_keeps_to_a_side_of_the_screen(first: bool, side: Choice) -> None:
    person = Person("x", Kind.ONE_SIDED, first=first)
    assert is_share(answers(person).count(side), 0.95)
    # Where the sides are swapped, so is their answer.
    assert is_share(answers(person, first=B).count(side), 0.05)


def test_a_spammer_says_tie_or_the_first_within_seconds() -> None:
    person = Person("x", Kind.SPAMMER)
    given = Counter(answers(person))
    assert is_share(given[TIE], 0.4)
    assert given[B] == 0
    assert median(times_of(person, item, PLAIN, seed=0).total for item in ITEMS) < 2


def test_people_who_ask_a_model_err_together_where_the_model_does() -> None:
    one, other = Person("x", Kind.MODEL), Person("y", Kind.MODEL)
    assert answers(one) == answers(other, first=B)
    right = [model_answer(item, PLAIN, seed=0) == item.better for item in ITEMS]
    gold = [model_answer(item._replace(is_gold=True), PLAIN, seed=0) == item.better for item in ITEMS]
    assert is_share(sum(right), 0.7)
    assert is_share(sum(gold), 0.5)


def test_a_model_says_what_the_judge_said() -> None:
    assert {model_answer(item._replace(judged=TIE), PLAIN, seed=0) for item in ITEMS} == {TIE}


def test_times_are_log_normal_around_reading_the_text_and_deciding() -> None:
    long = [item._replace(characters=5000) for item in ITEMS]
    person = Person("x")
    logs = sorted(log(times_of(person, item, Habits(), seed=0).total) for item in long)
    # 5,000 characters at 25 a second, and 8 seconds to decide; a spread of 0.5 of the log.
    assert abs(logs[N // 2] - log(208)) < 0.06
    assert abs((logs[int(0.8413 * N)] - logs[int(0.1587 * N)]) / 2 - 0.5) < 0.05
    assert median(times_of(person, item, Habits(), seed=0).total for item in ITEMS) == pytest.approx(48, rel=0.05)


def test_turns_come_as_often_as_their_habit_says() -> None:
    habits = Habits(leaves=0.1, lapses=0.2, doubles=0.3)
    turns = Counter(turn_of(Person("x"), number, habits, seed=0) for number in range(N))
    for turn, share in ((Turn.LEAVE, 0.1), (Turn.LAPSE, 0.2), (Turn.DOUBLE, 0.3), (Turn.ANSWER, 0.4)):
        assert is_share(turns[turn], share)


def test_half_of_the_visits_are_not_the_last_one() -> None:
    back = [hours_until_back(Person(f"x{number}"), 1, Habits(), seed=0) for number in range(N)]
    assert is_share(sum(hours is not None for hours in back), 0.5)
    assert median(hours for hours in back if hours is not None) == pytest.approx(6, rel=0.1)


def test_only_a_side_has_a_strength_and_who_is_right_is_surer() -> None:
    item = ITEMS[1]
    assert strength_of(Person("x"), item, TIE, seed=0) is None
    assert {strength_of(Person(f"x{n}"), item, A, seed=0) for n in range(40)} == {2, 3}
    assert {strength_of(Person(f"x{n}"), item, B, seed=0) for n in range(40)} == {1, 2}


def test_the_seed_alone_decides() -> None:
    mix = Mix(people=20, bad_share=0.5, rate_per_hour=10)
    one, again, other = draw_people(mix, seed=1), draw_people(mix, seed=1), draw_people(mix, seed=2)
    assert one == again
    assert [person[1:] for person in one] != [person[1:] for person in other]
    person = one[0]
    assert answers(person) == answers(person)
    assert [answer_of(person, item, A, PLAIN, seed=4) for item in ITEMS] != answers(person)


def test_a_mix_has_as_many_of_each_kind_as_it_says() -> None:
    mix = Mix(people=20, bad_share=0.3, expert_share=0.1)
    assert mix.counts == {"careful": 12, "expert": 2, "clicker": 2, "one-sided": 2, "spammer": 1, "model": 1}
    people = draw_people(mix, seed=0)
    assert Counter(person.kind for person in people) == mix.counts
    assert len({person.name for person in people}) == 20
    assert all(person.skill >= 0.95 for person in people if person.kind is Kind.EXPERT)
    assert Mix(people=8, bad_share=0.5, bad_kinds=(Kind.MODEL,)).counts == {"careful": 4, "model": 4}


def test_people_arrive_at_the_rate_said_or_all_at_once() -> None:
    people = draw_people(Mix(people=2000, rate_per_hour=30), seed=0)
    gaps = [later.arrives_seconds - one.arrives_seconds for one, later in pairwise(people)]
    # Exponential with a mean of two minutes: the mean of 1,999 lies within four standard errors.
    assert abs(sum(gaps) / len(gaps) - 120) < 4 * 120 / len(gaps) ** 0.5
    assert is_share(sum(gap > 120 * log(2) for gap in gaps), 0.5, len(gaps))
    assert {person.arrives_seconds for person in draw_people(Mix(people=3), seed=0)} == {0.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: read_kinds(["clicker", "lazy"]), r"no bad kind 'lazy'\. The kinds are: clicker, one-sided"),
        (lambda: read_habits({"sleeps": 1}), r"no habit 'sleeps'\. The habits are: leaves, lapses"),
        (lambda: Habits(leaves=1.5), "leaves is 1.5; it takes 0 to 1"),
        (lambda: Habits(leaves=float("nan")), "leaves is nan"),
        (lambda: Habits(leaves=0.6, doubles=0.6), "together 1 at most"),
        (lambda: Mix(people=0), "1 to 10,000 people, not 0"),
        (lambda: Mix(bad_share=0.7, expert_share=0.7), "together 1 at most"),
        (lambda: Mix(bad_share=float("nan")), "together 1 at most"),
        (lambda: Mix(rate_per_hour=0), "at a rate above 0"),
        (lambda: Mix(skills=(0.4, 0.9)), "between 0.5 and 1"),
        (lambda: Mix(bad_kinds=(Kind.CAREFUL,)), f"The bad kinds are {', '.join(BAD)}"),
    ],
)
def test_what_cannot_be_is_refused_with_what_there_is(make: object, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        make()  # type: ignore[operator]
