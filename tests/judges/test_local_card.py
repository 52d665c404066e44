"""The shipped tiny model is a plumbing fixture: its card must say so, for real."""

import pytest

from judges.auditing import judge_audit
from judges.defining import add_judge
from judges.running import start_run, work_off
from routing.plans.trusting import choose_judge
from tests.builders import make_pair, make_project

pytestmark = [pytest.mark.local_judge, pytest.mark.django_db]

SUMS = [(one, two) for one in range(2, 7) for two in range(3, 5)]


def test_local_model_is_flagged_for_position_bias_and_refused_as_a_sole_labeller() -> None:
    project = make_project()
    for number, (one, two) in enumerate(SUMS):
        answers = f"It is {one + two}.", f"It is {one * two + 9}."
        a, b = answers if number % 2 else answers[::-1]
        make_pair(project, prompt=f"What is {one} plus {two}?", response_a=a, response_b=b)
    version = add_judge(project, "SmolLM2", kind="local")
    work_off(start_run(version, send=False))
    audit = judge_audit(version)
    card = audit.card
    assert (card.n_pairs, card.n_both_orders) == (len(SUMS), len(SUMS))
    position = next(one for one in card.probes if one.name == "position")
    assert position.flagged
    assert position.effect.interval is not None
    assert position.effect.interval.low > 0.25
    assert card.trusted is False
    assert card.reasons[0].startswith("position bias: picks the response shown first in ")
    assert audit.order_test.to_first >= 9 * max(audit.order_test.to_second, 1)
    choice = choose_judge(project)
    assert (choice.version, choice.trusted, choice.labels) == (version, False, False)
