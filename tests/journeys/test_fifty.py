"""Fifty pairs without a mouse: every answer is there once, and is the one that was given."""

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Assignment, AssignmentState, Preference
from annotation.questions import SCALES
from tests.journeys.steps import all_sent, make_study, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAIRS = 50


def test_fifty_pairs_are_answered_by_keyboard_alone(page: Page, transactional_db: None) -> None:
    """All steps of the scale and both outside of it, reasons, skips, and one answer taken back and changed."""
    study = make_study(PAIRS + 4)
    sign_in(page, "ben", f"/annotate/{study.slug}/")
    task = page.locator("[data-task]")
    given: dict[str, str] = {}
    for number in range(PAIRS):
        held = task.get_attribute("data-task") or ""
        assert held not in given
        if number % 15 == 7:
            page.keyboard.press("n")
            expect(page.get_by_role("dialog")).to_be_visible()
            page.keyboard.press("Enter")
            expect(page.locator(f'[data-task]:not([data-task="{held}"])')).to_be_visible()
            held = task.get_attribute("data-task") or ""
        key = "1234567xc"[number % 9]
        page.keyboard.press(key)
        if number % 4 == 1:
            page.keyboard.press("r")
            page.keyboard.type(f"Reason {number}")
            page.keyboard.press("Control+Enter")
        else:
            page.keyboard.press("Enter")
        given[held] = key
        expect(page.locator(f'[data-task]:not([data-task="{held}"])')).to_be_visible()
    # The last one is taken back and answered otherwise.
    page.keyboard.press("u")
    expect(page.locator(f'[data-task="{held}"]')).to_be_visible()
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    given[held] = "4"
    expect(page.locator("[data-progress]")).to_have_attribute("data-done", str(PAIRS))
    all_sent(page)

    answered = Assignment.objects.filter(state=AssignmentState.SUBMITTED)
    assert {str(one.pk): shown(one) for one in answered.select_related("preference")} == {
        held: {"x": "both_bad", "c": "unsure"}.get(key) or SCALES[7][int(key) - 1] for held, key in given.items()
    }
    current = Preference.objects.current()
    assert (current.count(), current.values("pair").distinct().count()) == (PAIRS, PAIRS)
    assert Assignment.objects.filter(state=AssignmentState.SKIPPED).count() == 3


def shown(assignment: Assignment) -> str:
    """Return an answer as the screen sent it, from what is stored."""
    stored = assignment.preference
    assert stored is not None
    if stored.choice not in ("a", "b"):
        return stored.choice
    side = "first" if stored.choice == assignment.shown_order[0] else "second"
    return f"{side}{stored.strength}"
