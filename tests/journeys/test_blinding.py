"""Thirty pairs in a real browser: nothing that it receives names a model, a verdict, a known answer or a score."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import APIResponse, Page, Route, expect

from annotation.answering import Answer
from annotation.assigning import Opening, next_assignment, open_tasks, submit
from annotation.models import Assignment, Gold, Pair, Preference, Project, Rater, RaterKind, Tier
from annotation.repeating import GAP
from tests.builders import make_gold, make_pair, make_person, make_preference, make_project, make_prompt
from tests.journeys.steps import sign_in

pytestmark = pytest.mark.browser

PAIRS = 30
MODELS = ("zephyr-secret-7b", "olmo-secret-13b")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture
def crawled(transactional_db: None) -> Project:
    """Return a project whose rows are full of what a person must not know, and in which ben has answered enough for
    hidden repeats to come.
    """
    project = make_project(questionnaire={"repeat_percent": 50}, standards={"gold_percent": 20.0}, seed=7)
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="judge-secret v1")
    openings = []
    for number in range(GAP + PAIRS + 4):
        prompt = make_prompt(
            project, f"Question {number}?", group=f"group-secret-{number}", reference="reference-secret"
        )
        says = f"I am {MODELS[number % 2]}, and I answer." if number % 5 == 0 else "An answer."
        pair = make_pair(
            project,
            prompt=prompt,
            response_a=f"{says} First of {number}.",
            response_b=f"Second of {number}.",
            model_a=MODELS[number % 2],
            model_b=MODELS[1 - number % 2],
            external_id=f"external-secret-{number}",
            source="source-secret.jsonl",
            meta={"better": "a", "gold": True, "why": "meta-secret"},
        )
        make_preference(pair, judge, "a", prob_a=0.8625, rationale="verdict-secret")
        openings.append(Opening(pair.pk, 0.8625 - number / 1000))
    open_tasks(project, openings, votes_wanted=2, tier=Tier.CROWD)
    for number in range(GAP + PAIRS):
        make_gold(project, external_id=f"external-secret-gold-{number}", source="source-secret.jsonl")
    Gold.objects.update(note="note-secret")
    ben, now = make_person(project), timezone.now() - timedelta(hours=1)
    for minute in range(GAP + 2):
        held = next_assignment(project, ben, now=now).assignment
        assert held is not None
        submit(held.pk, ben, Answer("a", 2), now=now + timedelta(seconds=minute))
    return project


def test_nothing_a_browser_receives_in_thirty_pairs_tells_what_must_not_be_known(page: Page, crawled: Project) -> None:
    received: list[str] = []

    def listen(route: Route) -> None:
        response = route.fetch(max_redirects=0)
        received.append(said(response))
        route.fulfill(response=response)

    page.route("**/*", listen)
    sign_in(page, "ben", "/annotate/helpfulness/")
    done = GAP + 2
    for number in range(PAIRS):
        expect(page.locator("[data-task]")).to_be_visible()
        if number % 10 == 3:
            page.keyboard.press("n")
            page.get_by_role("dialog").get_by_role("button", name="Skip it").click()
        else:
            page.keyboard.press(str(number % 7 + 1))
            page.keyboard.press("Enter")
            done += 1
        expect(page.locator("[data-progress]")).to_have_attribute("data-done", str(done))
    page.keyboard.press("h")
    expect(page.locator("#recent li").first).to_be_visible()
    page.goto("/annotate/")
    page.goto("/annotate/helpfulness/")
    page.wait_for_load_state("networkidle")

    # Some of what came were hidden repeats, and some gold.
    assert Assignment.objects.filter(gold__isnull=False, state="submitted").count() >= 7
    assert Assignment.objects.filter(repeats__isnull=False, state="submitted").count() >= 2
    assert len(received) > PAIRS
    for text in received:
        assert [secret for secret in secrets() if secret in text] == []
    # Ids are those of a person's own leases, which are random; none tells an order.
    ids = {one for text in received for one in UUID.findall(text)}
    assert ids <= {str(key) for key in Assignment.objects.values_list("pk", flat=True)}
    assert {one[14] for one in ids} == {"4"}


def test_a_name_that_a_response_gives_itself_is_hidden(page: Page, crawled: Project) -> None:
    sign_in(page, "ben", "/annotate/helpfulness/")
    task = Assignment.objects.get(state="leased", place=0).task
    Pair.objects.filter(pk=task.pair_id).update(response_b=task.pair.response_b)
    response = task.pair.response_a
    response.messages = [{"role": "assistant", "content": f"I am {response.model}, and I answer."}]
    response.save()
    page.reload()
    expect(page.locator("[data-task]").first).to_contain_text("I am MODEL-NAME-HIDDEN, and I answer.")


def secrets() -> list[str]:
    """Return every text that names a maker, a judge's word or a known answer, and every id but those of leases."""
    said = [*MODELS, "judge-secret", "verdict-secret", "meta-secret", "external-secret", "source-secret"]
    said += ["group-secret", "reference-secret", "note-secret", "0.8625", '"gold"']
    ids = [
        str(key)
        for model in (Gold, Pair, Preference, Rater)
        for key in model._base_manager.values_list("pk", flat=True)
    ]
    return said + ids


def said(response: APIResponse) -> str:
    """Return everything of a reply: address, headers and text."""
    headers = " ".join(f"{name}: {value}" for name, value in response.headers.items())
    kind = response.headers.get("content-type", "")
    body = response.text() if "text" in kind or "json" in kind or "javascript" in kind else ""
    return f"{response.url} {headers} {body}"
