"""A manager's word on submissions, by Prolific's rules; what breaks one changes nothing here or there."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from annotation.crowd.errors import CrowdError, OutcomeUnclear
from annotation.crowd.reviewing import Rejection, approve, reject, screen_out
from annotation.crowd.studies import set_up_study
from annotation.models import CrowdStudy, Guest, Project, RaterKind, Submission
from tests.arrivals import make_crowd_study
from tests.prolific_server import ProlificServer

WHY = (
    "You answered every pair within a second, with the same side each time, which nobody who reads them can do. Sorry."
)
Arrived = Callable[..., Submission]


@pytest.fixture
def arrived(study: CrowdStudy, prolific: ProlificServer) -> Arrived:
    """Return a maker of submissions, known here and there."""

    def make(name: str, state: str = "AWAITING REVIEW", **changed: Any) -> Submission:
        rater = study.project.raters.create(kind=RaterKind.PERSON, name=f"guest-{name}")
        guest = Guest.objects.create(project=study.project, platform="prolific", external_id=f"p{name}", rater=rater)
        prolific.add_submission(f"s{name}", f"p{name}", state)
        long_ago = timezone.now().replace(year=2025)
        stored = {"external_id": f"s{name}", "checked_by": "signed", "arrived_at": long_ago, "state_at": long_ago}
        stored["state"] = state.lower().replace(" ", "_")
        return Submission.objects.create(study=study, guest=guest, **{**stored, **changed})

    return make


def both(prolific: ProlificServer) -> list[tuple[str, str]]:
    """Return each submission's state here and there."""
    here = dict(Submission.objects.values_list("external_id", "state"))
    return [(here[name], row["status"]) for name, row in sorted(prolific.submissions.items())]


def test_many_are_approved_by_one_call(study: CrowdStudy, arrived: Arrived, prolific: ProlificServer) -> None:
    assert approve(study, [arrived("1"), arrived("2")]) == 2
    assert both(prolific) == [("approved", "APPROVED")] * 2
    assert [one.path for one in prolific.asked if one.method == "POST"] == ["/api/v1/submissions/bulk-approve/"]


def test_one_in_another_state_refuses_all(study: CrowdStudy, arrived: Arrived, prolific: ProlificServer) -> None:
    chosen = [arrived("1"), arrived("2", "ACTIVE")]
    with pytest.raises(CrowdError, match="guest-2 is active; only what is awaiting review can be approved"):
        approve(study, chosen)
    with pytest.raises(CrowdError, match="at least one"):
        approve(study, [])
    assert both(prolific) == [("awaiting_review", "AWAITING REVIEW"), ("active", "ACTIVE")]


def test_a_rejection_says_why_at_length_and_by_category(
    study: CrowdStudy, arrived: Arrived, prolific: ProlificServer
) -> None:
    one = arrived("1")
    for rejection, said in (
        (Rejection("LOW_EFFORT", "Too quick."), "has 10 characters and needs at least 100"),
        (Rejection("LOW_EFFORT", " " * 200), "has 0 characters"),
        (Rejection("BORING", WHY), "Choose a category"),
        (Rejection("FAILED_CHECK", WHY, failed_checks=1), "after 2 failed; 1 is too few"),
    ):
        with pytest.raises(CrowdError, match=said):
            reject(study, [one], rejection)
    assert both(prolific) == [("awaiting_review", "AWAITING REVIEW")]
    assert reject(study, [one], Rejection("LOW_EFFORT", WHY)) == 1
    assert both(prolific) == [("rejected", "REJECTED")]
    assert prolific.asked[-1].body == {"action": "REJECT", "message": WHY, "rejection_category": "LOW_EFFORT"}


def test_a_short_study_rejects_after_one_failed_check(arrived: Arrived, study: CrowdStudy) -> None:
    one = arrived("1")
    study.settings["minutes"] = 5
    with pytest.raises(CrowdError, match="after 1 failed; 0 is too few"):
        reject(study, [one], Rejection("FAILED_CHECK", WHY))
    assert reject(study, [one], Rejection("FAILED_CHECK", WHY, failed_checks=1)) == 1


def test_who_failed_the_gate_is_never_rejected(study: CrowdStudy, arrived: Arrived) -> None:
    one = arrived("1", ended_as="screened_out", ended_at=timezone.now())
    with pytest.raises(CrowdError, match="never rejected"):
        reject(study, [one], Rejection("FAILED_INSTRUCTIONS", WHY))


def test_rejections_that_stop_halfway_say_how_far_they_came(
    study: CrowdStudy, arrived: Arrived, prolific: ProlificServer
) -> None:
    chosen = [arrived("1"), arrived("2"), arrived("3")]
    prolific.faults["/api/v1/submissions/s2/transition/"] = 500
    with pytest.raises(OutcomeUnclear, match="1 of 3 were done, then guest-2 was not"):
        reject(study, chosen, Rejection("LOW_EFFORT", WHY))
    # The second was done there, as its answer never came: the next look at the list brings it.
    assert both(prolific) == [
        ("rejected", "REJECTED"),
        ("awaiting_review", "REJECTED"),
        ("awaiting_review", "AWAITING REVIEW"),
    ]


def test_a_screen_out_needs_a_reward_for_it(
    project: Project, study: CrowdStudy, arrived: Arrived, prolific: ProlificServer
) -> None:
    one = arrived("1", "ACTIVE")
    with pytest.raises(CrowdError, match="has no reward for a screen-out"):
        screen_out(study, [one], add_places=True)
    study.settings["screen_out_reward"] = "0.20"
    assert screen_out(study, [one], add_places=True) == 1
    assert both(prolific) == [("screened_out", "SCREENED OUT")]
    assert prolific.asked[-1].body == {"submission_ids": ["s1"], "increase_places": True}
    with pytest.raises(CrowdError, match=r"at least 0\.14"):
        make_crowd_study(project, prolific, name="Cheap", screen_out_reward=Decimal("0.10"))
    with pytest.raises(CrowdError, match="less than the reward"):
        make_crowd_study(project, prolific, name="Dear", screen_out_reward=Decimal("1.50"))


def test_elsewhere_a_word_is_only_noted(project: Project, arrived: Arrived, prolific: ProlificServer) -> None:
    one = arrived("1")
    with pytest.raises(CrowdError, match="of another study"):
        approve(set_up_study(project, platform="mturk", name="Turk"), [one])
    turk = CrowdStudy.objects.get(name="Turk")
    Submission.objects.update(study=turk)
    one.refresh_from_db()
    asked = len(prolific.asked)
    assert approve(turk, [one]) == 1
    assert len(prolific.asked) == asked
