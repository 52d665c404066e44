"""The gate: thresholds dismiss on evidence, refuse nonsense, and are stored with the judge."""

from typing import Any

import pytest

from annotation.agreeing import Agreement, Figure, Interval
from annotation.models import OutboxEvent, Project
from judges.auditing import JudgeCard, judge_card
from judges.auditing.probes import Probe
from judges.auditing.replacing import AltTest
from judges.errors import JudgeError
from judges.gating import DEFAULT, MEANINGS, Gate, gate_of, read_gate, set_gate, verdict
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

NONE = Figure(None, 0, too_few="too few labels (0 of 10)")
NOBODY = Agreement(0, 0, NONE, NONE, NONE, NONE, NONE)


def figure(value: float, n: int = 200, half: float = 0.05) -> Figure:
    return Figure(value, n, Interval(value - half, value + half))


def card(**values: Any) -> JudgeCard:
    """Return the card of a judge without a fault, with other values where given."""
    good = {
        "failed": figure(0.0, half=0.0),
        "first_shown": figure(0.5),
        "flips": figure(0.1),
        "cycles": figure(0.05),
        "preference_two_way": figure(0.8),
        "length_rule": figure(0.6),
        "beats_length_rule": figure(0.2),
        "calibration_error": figure(0.1),
    }
    missing = dict.fromkeys(set(JudgeCard._fields) - set(good), NONE)
    fixed = {"n_pairs": 200, "probes": [], "alt_test": None, "people": NOBODY, "trusted": True, "notes": []}
    return JudgeCard(**{**missing, **good, **fixed, **values})


def alternative(passed: bool | None) -> AltTest:
    few = "too few people with 30 shared pairs (1 of 3)"
    if passed is None:
        return AltTest(0.15, 1, None, None, None, [], few)
    return AltTest(0.15, 3, passed, 1.0 if passed else 0.33, 0.8, [])


def test_judge_without_a_fault_passes_the_default_gate() -> None:
    assert verdict(card()) == (True, [], [])


@pytest.mark.parametrize(
    ("values", "gate", "reason"),
    [
        ({"n_pairs": 0}, Gate(), "no preferences"),
        ({"failed": Figure(0.6, 100)}, Gate(), "failures: 60% of its 100 calls brought no answer"),
        ({"failed": Figure(0.06, 100)}, Gate(failed_max=0.05), "failures: 6% of its 100 calls brought no answer"),
        ({"first_shown": figure(0.82)}, Gate(), "position bias: picks the response shown first in 82% of calls"),
        ({"first_shown": figure(0.18)}, Gate(), "position bias: picks the response shown second in 82% of calls"),
        ({"first_shown": figure(0.58)}, Gate(position_max=0.02), "position bias: picks the response shown first in"),
        ({"flips": figure(0.4)}, Gate(flips_max=0.3), "flips: changes its side with the order 40%"),
        ({"cycles": figure(0.3)}, Gate(cycles_max=0.2), "cycles: contradicts itself in triples of responses 30%"),
        ({"calibration_error": figure(0.2)}, Gate(calibration_error_max=0.1), "calibration: its confidence is off by"),
        ({"preference_two_way": figure(0.54)}, Gate(), "no better than a coin: agrees with people on 54% of 200"),
        ({"preference_two_way": figure(0.72)}, Gate(accuracy_min=0.7), "not above 70%: agrees with people on 72%"),
        ({"preference_two_way": NONE}, Gate(labels_needed=True), "agreement with people is not tested: too few"),
        ({"alt_test": alternative(False)}, Gate(alt_test_needed=True), "alternative-annotator test: stands in for 33%"),
        ({"alt_test": alternative(None)}, Gate(alt_test_needed=True), "the alternative-annotator test is not possible"),
        (
            {"probes": [Probe("length", figure(0.3), 0.05, 0.0, 0.0, True)]},
            Gate(flags_dismiss=True),
            "bias: prefers the longer response 30 points more often than people do",
        ),
    ],
)
def test_threshold_dismisses_and_says_why(values: dict[str, Any], gate: Gate, reason: str) -> None:
    ruling = verdict(card(**values), gate)
    assert not ruling.trusted
    assert len(ruling.reasons) == 1
    assert ruling.reasons[0].startswith(reason)


@pytest.mark.parametrize(
    ("values", "gate"),
    [
        # The value lies beyond the limit, its interval does not.
        ({"first_shown": figure(0.78)}, Gate()),
        ({"flips": figure(0.32)}, Gate(flips_max=0.3)),
        ({"calibration_error": figure(0.12)}, Gate(calibration_error_max=0.1)),
        ({"cycles": NONE}, Gate(cycles_max=0.0)),
        ({"first_shown": figure(0.99)}, Gate(position_max=None)),
        ({"failed": Figure(1.0, 100)}, Gate(failed_max=None)),
        ({"preference_two_way": figure(0.5)}, Gate(accuracy_min=None)),
        # Too few labels are a note.
        ({"preference_two_way": figure(0.2, n=20)}, Gate()),
        ({"alt_test": alternative(True)}, Gate(alt_test_needed=True)),
        # A bias that was found is a note unless the gate says otherwise.
        ({"probes": [Probe("length", figure(0.3), 0.05, 0.0, 0.0, True)]}, Gate()),
        ({"beats_length_rule": figure(-0.2)}, Gate()),
    ],
)
def test_what_is_not_evidence_dismisses_nobody(values: dict[str, Any], gate: Gate) -> None:
    assert verdict(card(**values), gate).trusted


def test_notes_name_what_is_not_known_and_what_was_found() -> None:
    notes = verdict(
        card(
            first_shown=Figure(None, 6, too_few="too few verdicts (6 of 10)"),
            beats_length_rule=figure(-0.2),
            probes=[Probe("cycles", figure(0.3), 0.1, 0.0, 0.0, True)],
        )
    ).notes
    assert notes == [
        "position bias is not known: too few verdicts (6 of 10)",
        "bias: contradicts itself in 30% of triples of responses",
        "below the length rule: agrees with people on 80% of 200 pairs, the longer response on 60%",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flipz_max": 0.1}, "Unknown thresholds: flipz_max. Known: failed_max, position_max"),
        ({"flips_max": 1.5}, "flips_max is 1.5; it takes a number from 0 to 1, or nothing for no limit."),
        ({"position_max": 0.6}, "position_max is 0.6; it takes a number from 0 to 0.5"),
        ({"flips_max": "much"}, "flips_max is 'much'; it takes a number."),
        ({"flips_max": True}, "flips_max is True; it takes a number."),
        ({"flips_max": float("nan")}, "flips_max is nan; it takes a number from 0 to 1"),
        ({"labels_min": 5}, "labels_min is 5; it takes a whole number from 10 to 1,000,000."),
        ({"labels_min": 50.5}, "labels_min is 50.5; it takes a whole number"),
        ({"labels_min": None}, "labels_min is None; it takes a whole number"),
        ({"alt_test_epsilon": 0.3}, "alt_test_epsilon is 0.3; it takes 0.1, 0.15 or 0.2."),
        ({"flags_dismiss": 1}, "flags_dismiss is 1; it takes true or false."),
    ],
)
def test_bad_threshold_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(JudgeError) as refused:
        read_gate(values)
    assert str(refused.value).startswith(message)


def test_every_threshold_has_a_meaning_and_is_stored_whatever_the_default() -> None:
    assert tuple(MEANINGS) == tuple(DEFAULT.as_json()) == Gate._fields
    gate = Gate(flips_max=0.25, position_max=None)
    assert (gate.as_json()["flips_max"], gate.as_json()["position_max"]) == (0.25, None)
    assert read_gate(gate.as_json()) == gate


# --- With a judge ---------------------------------------------------------------------------------------------------


def judged_project() -> Project:
    project = make_project()
    pairs = [make_pair(project) for _ in range(60)]
    # Changes its side in a quarter of the pairs, agrees with people on the rest.
    judge_pairs(make_judge(project, "jo"), pairs, ["flip" if n % 4 == 0 else "a" for n in range(60)])
    answer_pairs(pairs, ["a"] * 60, people=3)
    return project


@pytest.mark.django_db
def test_gate_that_a_manager_sets_decides_whether_a_judge_is_trusted() -> None:
    judge = judged_project().judges.get()
    assert gate_of(judge) == DEFAULT
    assert judge_card(judge.latest()).trusted
    assert set_gate(judge, {"flips_max": 0.1}) == Gate(flips_max=0.1)
    judge.refresh_from_db()
    assert judge.gate == Gate(flips_max=0.1).as_json()
    facts = OutboxEvent.objects.filter(topic="labels_outdated")
    assert [fact.payload for fact in facts] == [{"project_id": str(judge.project_id)}]
    found = judge_card(judge.latest())
    assert not found.trusted
    assert found.reasons[0].startswith("flips: changes its side with the order 25% (n = 60")
    # Set to the usual thresholds is set; nothing at all is not.
    set_gate(judge, DEFAULT.as_json())
    assert judge.gate
    assert judge_card(judge.latest()).trusted
    set_gate(judge, {})
    assert judge.gate == {}


@pytest.mark.django_db
def test_alternative_annotator_test_is_on_the_card_only_where_the_gate_asks_for_it() -> None:
    judge = judged_project().judges.get()
    assert judge_card(judge.latest()).alt_test is None
    set_gate(judge, {"alt_test_needed": True, "alt_test_epsilon": 0.2})
    found = judge_card(judge.latest())
    assert found.alt_test is not None
    assert (found.alt_test.epsilon, found.alt_test.n_people) == (0.2, 3)
    # People agree with each other always, the judge only on three pairs of four.
    assert found.alt_test.passed is False
    assert found.reasons == ["alternative-annotator test: stands in for 0% of 3 people, it takes half (epsilon 0.2)"]


@pytest.mark.django_db
def test_bad_gate_leaves_the_old_one() -> None:
    judge = judged_project().judges.get()
    set_gate(judge, {"flips_max": 0.1})
    with pytest.raises(JudgeError):
        set_gate(judge, {"flips_max": 2})
    judge.refresh_from_db()
    assert judge.gate == Gate(flips_max=0.1).as_json()
