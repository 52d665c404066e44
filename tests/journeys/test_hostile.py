"""Hostile texts on the annotation screen, in a real browser: they are read, and nothing of them happens."""

import re

import pytest
from django.db.models import QuerySet
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.assigning import Opening, open_tasks
from annotation.creating import create_project
from annotation.models import Membership, Pair, Preference, Project, Rater, Response, Role, Tier
from annotation.models.pairs import content_hash
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt, make_user
from tests.hostile import HOSTILE, in_code, in_latex, in_markdown, storable, token
from tests.journeys.steps import sign_in
from tests.journeys.watching import Watch, assert_harmless

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HERE = "/annotate/helpfulness/"
# As in static/js/annotating/main.js.
DOUBLE_CLICK_MS = 500
SHORT = [name for name, text in HOSTILE.items() if len(text) < 5_000]
# Those that a server shows at once; what the others cost it is tested where they are rendered.
LONG = ["deep-quotes", "deep-elements", "deep-braces", "backticks", "long-word", "blank-lines", "past-the-limit"]


def hostile_pair(project: Project, *, prompt: list[str], first: list[str], second: list[str]) -> Pair:
    """Return a pair whose every field is hostile: a text is a message, so that none hides behind another."""
    system, turns = prompt[: len(prompt) // 4], prompt[len(prompt) // 4 :]
    messages = [{"role": "system", "content": storable(text)} for text in system]
    messages += [
        {"role": ("assistant", "user")[(len(turns) - number) % 2], "content": storable(text)}
        for number, text in enumerate(turns)
    ]
    row = make_prompt(project, messages=messages, context=storable("\n\n".join(prompt[:10])))
    sides = []
    for texts in (first, second):
        side = [{"role": "assistant", "content": storable(text)} for text in texts]
        sides.append(Response.objects.create(prompt=row, messages=side, content_hash=content_hash(side)))
    return Pair.objects.create(
        project=project, prompt=row, response_a=sides[0], response_b=sides[1], external_id=f"hostile-{row.pk}"
    )


@pytest.fixture
def hostile_study(transactional_db: None) -> Project:
    project = make_project()
    short = [HOSTILE[name] for name in SHORT]
    pairs = [
        hostile_pair(project, prompt=short, first=short, second=[in_markdown(text) for text in short]),
        hostile_pair(
            project,
            prompt=[in_code(text) for text in short],
            first=[in_latex(text) for text in short],
            second=[in_code(text) for text in short],
        ),
        hostile_pair(
            project,
            prompt=["A question"] * 20,
            first=[HOSTILE[name] for name in LONG[::2]],
            second=[HOSTILE[name] for name in LONG[1::2]],
        ),
    ]
    openings = [Opening(pair.pk, float(-number)) for number, pair in enumerate(pairs)]
    open_tasks(project, openings, votes_wanted=1, tier=Tier.CROWD)
    return project


def test_hostile_pairs_are_read_and_answered_and_nothing_of_them_happens(
    page: Page, live_server: LiveServer, hostile_study: Project
) -> None:
    watch = Watch(page, live_server.url)
    sign_in(page, "ben", HERE)
    clicked = -DOUBLE_CLICK_MS
    for number, names in enumerate([SHORT, SHORT, LONG]):
        expect(page.locator("#task-status")).to_contain_text(f"{number} of 3")
        page.evaluate("for (const part of document.querySelectorAll('[data-task] details')) part.open = true")
        shown = page.locator("[data-task] .markdown").all_text_contents()
        assert [name for name in names if not any(token(name) in text for text in shown)] == []
        # Focus and pointer go over everything that a payload may have left to trip over.
        for key in ("Tab", "Tab", "Tab"):
            page.keyboard.press(key)
        page.mouse.move(300, 400)
        page.mouse.wheel(0, 2_000)
        assert_harmless(watch)
        page.locator("body").press("2")
        # The screen takes a click this soon after the last for the second half of a double one.
        page.evaluate(
            f"async then => {{ while (performance.now() - then <= {DOUBLE_CLICK_MS})"
            " await new Promise(requestAnimationFrame); }",
            clicked,
        )
        # The click is refused where something lies over the button.
        page.get_by_role("button", name="Submit").click()
        clicked = page.evaluate("performance.now()")
    expect(page.get_by_role("heading", name="That was the last one")).to_be_visible()
    assert_harmless(watch)
    assert Preference.objects.count() == 3


@pytest.mark.parametrize(
    "payload",
    [
        "<script>window.__pwned = 1</script>",
        "<img src='https://evil.example/pixel'>",
        "<p style='position:fixed'>x</p>",
        "<iframe src='https://evil.example/'></iframe>",
        "<a href='javascript:alert(1)'>x</a>",
        "<p hx-get='/sign-out/'>x</p>",
    ],
)
def test_the_watch_sees_what_gets_through(page: Page, live_server: LiveServer, study: Project, payload: str) -> None:
    watch = Watch(page, live_server.url)
    sign_in(page, "ben", HERE)
    assert_harmless(watch)
    page.evaluate(
        "(html) => document.querySelector('.markdown').append(document.createRange().createContextualFragment(html))",
        payload,
    )
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    with pytest.raises(AssertionError):
        assert_harmless(watch)


def test_hostile_words_of_a_manager_are_read_and_nothing_of_them_happens(
    page: Page, live_server: LiveServer, transactional_db: None
) -> None:
    """Guidelines, practice, questions, criteria, reasons, flags and wording: a manager may paste them from anywhere."""
    short = [storable(HOSTILE[name]).strip() or "." for name in SHORT]
    chips = [one[:60] for one in dict.fromkeys(one.replace("\n", " ")[:60].strip() for one in short) if one][:16]
    project = create_project(
        slug="helpfulness",
        title=short[0][:200],
        guidelines="\n\n".join(short),
        criteria={f"{number} {one[:60]}": one[:500] for number, one in enumerate(short[:6])},
        screen={
            "by_criterion": True,
            "reasons": chips,
            "content_flags": chips[::-1],
            "confidence": True,
            "words": {"question": short[1][:300], "tie": short[2][:300], "rationale": short[3][:300]},
        },
        training={
            "practice": [
                {"prompt": one, "response_a": one, "response_b": "B", "answer": ["a"], "why": one} for one in short[:3]
            ],
            "gate": {
                "questions": [{"question": one, "options": [one, "No"], "correct": 1, "why": one} for one in short[:3]]
            },
        },
    )
    Membership.objects.create(project=project, user=make_user("ben"), role=Role.ANNOTATOR)
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    watch = Watch(page, live_server.url)
    sign_in(page, "ben", "/annotate/")
    assert_harmless(watch)
    page.goto(HERE)
    expect(page).to_have_url(re.compile("guidelines/$"))
    assert_harmless(watch)
    rater_of(project).update(guidelines_read=1)
    page.goto(HERE)
    expect(page).to_have_url(re.compile("practice/$"))
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page).to_have_title(re.compile("^Right|^Not what"))
    assert_harmless(watch)
    rater_of(project).update(practice_done=3)
    page.goto(HERE)
    expect(page).to_have_url(re.compile("gate/$"))
    assert_harmless(watch)
    rater_of(project).update(gate_passed_at=timezone.now())
    page.goto(HERE)
    expect(page.locator("[data-task]")).to_be_visible()
    page.keyboard.press("g")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert_harmless(watch)


def rater_of(project: Project) -> "QuerySet[Rater]":
    return Rater.objects.filter(project=project, user__username="ben")


def test_hostile_words_of_people_are_read_by_their_manager_and_nothing_of_them_happens(
    page: Page, live_server: LiveServer, study: Project
) -> None:
    ben = make_person(study)
    pair = study.pairs.all()[0]
    texts = "\n\n".join(
        form(storable(HOSTILE[name])) for name in SHORT for form in (str, in_markdown, in_latex, in_code)
    )
    make_preference(pair, ben, "a", rationale=texts[:20_000])
    watch = Watch(page, live_server.url)
    sign_in(page, "ada", f"/projects/helpfulness/pairs/{pair.pk}/")
    expect(page.get_by_text(token(SHORT[0])).first).to_be_visible()
    assert_harmless(watch)
