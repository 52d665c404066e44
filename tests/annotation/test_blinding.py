"""A person's page, its pieces and its headers name no model, verdict, score, plan, id of the data or known answer."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.assigning import Opening, next_assignment, open_tasks
from annotation.models import Assignment, Membership, Pair, Project, Role, Task, Tier, User
from routing.plans.applying import apply_plan
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt, make_user
from tests.judged import judge_pairs, make_judge

pytestmark = pytest.mark.django_db

SECRET_MODELS = ("zephyr-secret-7b", "olmo-secret-13b")
SECRETS = (
    *SECRET_MODELS,
    "external-secret-id",
    "source-secret.jsonl",
    "because-secret-better",
    "group-secret",
    "reference-secret-answer",
    "category-secret",
    "0.8625",
    "judge-secret",
    "meta-secret",
    "file-rater-secret",
)


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def pair(project: Project) -> Pair:
    prompt = make_prompt(
        project, "Why?", group="group-secret", category="category-secret", reference="reference-secret-answer"
    )
    pair = make_pair(
        project,
        prompt=prompt,
        model_a=SECRET_MODELS[0],
        model_b=SECRET_MODELS[1],
        external_id="external-secret-id",
        source="source-secret.jsonl",
        meta={"better": "because-secret-better", "gold": True, "meta-secret": 1},
    )
    make_preference(pair, "file-rater-secret", rationale="judge-secret", prob_a=0.8625)
    open_tasks(project, [Opening(pair.pk, 0.8625)], votes_wanted=2, tier=Tier.CROWD)
    return pair


@pytest.fixture
def replies(client: Client, project: Project, pair: Pair) -> Iterator[Any]:
    """Every kind of reply a person's browser gets about one pair."""
    client.force_login(User.objects.get(username="ben"))
    assignment = next_assignment(project, make_person(project, "ben"), now=timezone.now()).assignment
    assert assignment is not None

    def post(name: str, **data: str) -> Any:
        where = reverse(name, args=[project.slug, assignment.pk])
        return client.post(where, data, headers={"HX-Request": "true"})

    return iter(
        [
            client.get("/annotate/"),
            client.get("/annotate/helpfulness/"),
            client.get("/annotate/helpfulness/", headers={"HX-Request": "true"}),
            post("renew_lease"),
            post("keep_draft", answer="tie"),
            post("submit_answer"),
            post("submit_answer", answer="first2"),
        ]
    )


def said(reply: Any) -> str:
    cookies = " ".join(str(cookie) for cookie in reply.cookies.values())
    return f"{reply.headers} {cookies} {reply.content.decode()}"


def test_no_reply_names_what_a_person_must_not_know(replies: Iterator[Any], pair: Pair) -> None:
    ids = [pair.pk, pair.prompt_id, pair.response_a_id, pair.response_b_id, pair.project_id]
    hashes = [pair.prompt.content_hash, pair.response_a.content_hash, pair.response_b.content_hash]
    hidden = [*SECRETS, *map(str, ids), *(one.hex for one in ids), *hashes]
    for reply in replies:
        text = said(reply)
        assert [secret for secret in hidden if secret in text] == []


def test_the_only_id_on_the_page_is_the_assignments_random_one(replies: Iterator[Any]) -> None:
    uuids = set()
    for reply in replies:
        uuids |= set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", said(reply)))
    assert uuids == {str(key) for key in Assignment.objects.values_list("pk", flat=True)}
    assert {one[14] for one in uuids} == {"4"}  # version 4: random, so that it tells no order


def test_no_validator_tells_one_response_from_another(replies: Iterator[Any]) -> None:
    for reply in replies:
        assert not {"ETag", "Last-Modified", "Server-Timing"} & set(reply.headers)


def test_both_sides_have_the_same_markup(client: Client, project: Project, pair: Pair) -> None:
    client.force_login(User.objects.get(username="ben"))
    html = client.get("/annotate/helpfulness/").content.decode()
    first, second = re.findall(r'<section class="response.*?</section>', html, flags=re.S)

    def skeleton(section: str, name: str) -> str:
        section = section.replace(" response--shown", "")
        without_link = re.sub(r"<button[^>]*data-act=.*?</button>", "", section, flags=re.S)
        without_texts = re.sub(r"Answer \d+ [ab]", "TEXT", without_link)
        return re.sub(
            rf"(?<![A-Za-z]){name}(?![A-Za-z])", "SIDE", re.sub(rf"-{name.lower()}\b", "-side", without_texts)
        )

    assert "".join(skeleton(first, "A").split()) == "".join(skeleton(second, "B").split())


def test_a_pair_that_comes_again_because_people_differ_looks_like_any_other(client: Client, project: Project) -> None:
    Project.objects.update(questionnaire={"leases_ahead": 0})
    project.refresh_from_db()
    pairs = [make_pair(project, prompt=f"What {one}?", response_a="Yes.", response_b="No.") for one in range(8)]
    judge_pairs(make_judge(project, "judge-secret"), pairs, ["a", "flip", "b", "tie"] * 2)
    options = PlanOptions(votes="adaptive", group_cap=7, guarantee_alpha=0.2)
    plan = draw_plan(project, budget=Budget.parse("100%"), judge="judge-secret", audit_share=0.25, options=options)
    apply_plan(plan)
    split = Task.objects.order_by("-priority", "id")[0]
    for name, side in (("ben", "a"), ("cyd", "b")):
        client.force_login(User.objects.get(username=name))
        client.get("/annotate/helpfulness/")
        held = Assignment.objects.get(rater__name=name)
        assert held.task_id == split.pk
        answer = "first2" if held.shown_order[0] == side else "second2"
        where = reverse("submit_answer", args=[project.slug, held.pk])
        client.post(where, {"answer": answer}, headers={"HX-Request": "true"})
        # What they were served next goes back, so that only this pair is begun.
        Assignment.objects.filter(state="leased").delete()
        Task.objects.exclude(pk=split.pk).update(taken=0)
    split.refresh_from_db()
    assert (split.votes_wanted, split.answered, split.state) == (3, 2, "open")
    pages = {}
    for name in ("third-one", "fresh-one"):
        Membership.objects.create(project=project, user=make_user(name), role=Role.ANNOTATOR)
        client.force_login(User.objects.get(username=name))
        reply = client.get("/annotate/helpfulness/")
        pages[Assignment.objects.get(rater__name=name).task_id == split.pk] = seen(reply, name)
        hidden = [str(plan.pk), *map(str, plan.routes.values_list("pk", flat=True)), "judge-secret", "adaptive"]
        assert [secret for secret in hidden if secret in said(reply)] == []
    # The third person's page of the pair that two differed on, and somebody's first page of another pair.
    assert pages[True] == pages[False]


def seen(reply: Any, name: str) -> str:
    """Return a reply without what differs by right: names, tokens, ids, texts, clocks, how many are left."""
    text = said(reply).replace(name, "NAME")
    for varies in (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"(csrfmiddlewaretoken\" value=\"|csrftoken=|sessionid=|X-CSRFToken[^\w]+)\w+",
        r"(?i)expires=[^;]+;|'Expires': '[^']+'",
        r"'Content-Length': '\d+'|seconds-left=\"\d+\"|\b(Yes|No)\.|What \d\?",
        r"\b\d of \d\b|(max|data-total)=\"\d\"",
    ):
        text = re.sub(varies, "", text)
    return " ".join(text.split())
