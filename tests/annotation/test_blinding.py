"""A person's page, its pieces and its headers name no model, verdict, score, plan, id of the data or known answer."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.assigning import Opening, next_assignment, open_tasks
from annotation.models import Assignment, Pair, Project, Tier, User
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt

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
    assert uuids == {str(Assignment.objects.get().pk)}
    assert {one[14] for one in uuids} == {"4"}  # version 4: random, so that it tells no order


def test_no_validator_tells_one_response_from_another(replies: Iterator[Any]) -> None:
    for reply in replies:
        assert not {"ETag", "Last-Modified", "Server-Timing"} & set(reply.headers)


def test_both_sides_have_the_same_markup(client: Client, project: Project, pair: Pair) -> None:
    client.force_login(User.objects.get(username="ben"))
    html = client.get("/annotate/helpfulness/").content.decode()
    first, second = re.findall(r'<section class="response.*?</section>', html, flags=re.S)

    def skeleton(section: str, name: str) -> str:
        without_link = re.sub(r"<button[^>]*data-scroll-link.*?</button>", "", section, flags=re.S)
        without_texts = re.sub(r"Answer \d+ [ab]", "TEXT", without_link)
        return re.sub(
            rf"(?<![A-Za-z]){name}(?![A-Za-z])", "SIDE", re.sub(rf"-{name.lower()}\b", "-side", without_texts)
        )

    assert "".join(skeleton(first, "A").split()) == "".join(skeleton(second, "B").split())
