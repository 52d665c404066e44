import pytest

from annotation.models import Preference
from judges.defining import add_judge
from judges.models import JudgeVersion, Verdict, VerdictState
from judges.settling import TIE_BAND, settle_pair
from tests.builders import make_pair, make_project

pytestmark = pytest.mark.django_db


def make_version() -> JudgeVersion:
    return add_judge(make_project(), "stub", kind="openai", base_url="http://127.0.0.1:9/v1", model="m")


def settled(version: JudgeVersion, **probabilities: float) -> Preference | None:
    """Store a verdict an order (`ab=0.9` is P(a) as judged with a first) on a new pair and settle it."""
    pair = make_pair(version.judge.project)
    for order, prob_a in probabilities.items():
        choice = "tie" if prob_a == 0.5 else "a" if prob_a > 0.5 else "b"
        Verdict.objects.create(
            version=version,
            pair=pair,
            order=order,
            state=VerdictState.DONE,
            choice=choice,
            prob_a=prob_a,
            rationale=f"{choice} said in {order}",
            seconds=1.5,
        )
    return settle_pair(version, pair.pk)


def test_one_order_alone_is_no_preference() -> None:
    assert settled(make_version(), ab=0.9) is None


@pytest.mark.parametrize(
    ("ab", "ba", "choice", "consistent"),
    [
        (0.9, 0.8, "a", True),
        (0.1, 0.2, "b", True),
        (0.9, 0.3, "a", False),
        (0.6, 0.1, "b", False),
        (0.9, 0.1, "tie", False),
        (0.9, 0.18, "tie", False),
        (0.5, 0.5, "tie", True),
        (0.51, 0.53, "a", True),
    ],
)
def test_probabilities_are_averaged_before_the_choice_is_made(
    ab: float, ba: float, choice: str, consistent: bool
) -> None:
    preference = settled(make_version(), ab=ab, ba=ba)
    assert preference
    assert TIE_BAND == 0.05
    assert (preference.choice, preference.meta) == (choice, {"consistent": consistent})
    assert preference.prob_a == pytest.approx((ab + ba) / 2)
    assert preference.seconds == 3.0


def test_rationale_comes_from_an_order_that_agrees_with_the_choice() -> None:
    preference = settled(make_version(), ab=0.4, ba=0.9)
    assert preference
    assert (preference.choice, preference.rationale, preference.shown_order) == ("a", "a said in ba", "ba")


def test_orders_that_contradict_each_other_leave_no_rationale() -> None:
    preference = settled(make_version(), ab=1.0, ba=0.0)
    assert preference
    assert (preference.rationale, preference.shown_order, preference.rationale_timing) == ("", "", "")


def test_settling_twice_keeps_one_preference() -> None:
    version = make_version()
    first = settled(version, ab=0.9, ba=0.9)
    assert first
    assert settle_pair(version, first.pair_id) == first
    assert Preference.objects.count() == 1
