"""What the router looks at: the table, the switches, and what they start."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from annotation.models import Origin, Pair, Project, User
from judges.defining import add_judge
from judges.models import JudgeRun, JudgeVersion, RunPurpose
from judges.running import work_off
from routing.models import SignalSettings
from routing.plans.planning import Budget, draw_plan
from routing.signals.extending import save_settings, settings_of
from routing.signals.likening import embed_responses
from tests.builders import make_pair, make_project
from tests.judge_server import JudgeServer
from tests.judged import answer_pairs, judge_pairs, make_judge
from tests.judges.test_tagging import PRICES, sort_or_judge
from tests.routing.test_embedding import EMBEDDINGS, by_length

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
PAIRS = 66


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def project() -> Project:
    """Return a project whose judge is wrong wherever it changed its answer with the order."""
    project = make_project()
    topics = ("art", "law", "tax")
    for number in range(PAIRS):
        meta = {"topic": topics[number % 3], "row": number, "difficulty": number % 7}
        make_pair(project, prompt=f"Question {number}?", response_a=f"One {number}", response_b="Two", meta=meta)
    pairs = list(Pair.objects.in_project(project))
    judge_pairs(make_judge(project, "gpt"), pairs, ["flip" if number % 3 == 0 else "a" for number in range(PAIRS)])
    answer_pairs(pairs[:60], ["b" if number % 3 == 0 else "a" for number in range(60)], origin=Origin.LIVE)
    return project


@pytest.fixture
def ada(project: Project) -> Client:
    client = Client()
    client.force_login(User.objects.get(username="ada"))
    return client


def address(project: Project, more: str = "") -> str:
    return f"/projects/{project.slug}/routing/signals/{more}"


def test_each_signal_is_shown_with_what_it_is_worth(ada: Client, project: Project) -> None:
    page = ada.get(address(project))
    text = page.content.decode()
    rows = {one.name: one for group in page.context["survey"].groups for _, one in group.rows}
    flipped = rows["flipped"]
    assert (flipped.auroc, flipped.n, flipped.high, flipped.known) == (1.0, 60, True, 1.0)
    assert flipped.suspicious
    assert "too good?" in text
    assert "Changed its answer with the order" in text
    assert "gpt changed its answer when the order was swapped" in text
    cosine = rows["cosine"]
    assert cosine.low <= cosine.auroc <= cosine.upper
    assert "on the 60 pairs that it and people both answered" in text


def test_without_enough_labels_no_number_is_shown(ada: Client, project: Project) -> None:
    other = make_project("other")
    for number in range(30):
        make_pair(other, prompt=f"Other {number}?")
    pairs = list(Pair.objects.in_project(other))
    judge_pairs(make_judge(other, "gpt"), pairs, ["a"] * 20 + ["flip"] * 10)
    answer_pairs(pairs[:10], ["a"] * 8 + ["b"] * 2)
    page = ada.get(address(other))
    rows = [one for group in page.context["survey"].groups for _, one in group.rows]
    assert rows
    assert {one.auroc for one in rows} == {None}
    assert "too few labels (2 of 20 where the judge is wrong)" in page.content.decode()


def test_before_there_is_a_judge_the_page_says_what_to_do(ada: Client) -> None:
    empty = make_project("empty")
    make_pair(empty)
    text = ada.get(address(empty)).content.decode()
    assert "No signals yet" in text
    assert "Add a judge and let it label the pairs." in text


def test_many_pairs_are_shown_from_the_plan(ada: Client, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.signalling.LIVE_PAIRS", 10)
    assert "With 66 pairs the signals are computed with a plan" in ada.get(address(project)).content.decode()
    draw_plan(project, budget=Budget.parse("50%"), judge="gpt")
    page = ada.get(address(project))
    assert "was drawn from them" in page.content.decode()
    rows = {one.name: one for group in page.context["survey"].groups for _, one in group.rows}
    assert (rows["flipped"].known, rows["flipped"].auroc) == (1.0, None)


# --- Switches ---------------------------------------------------------------------------------------------------------


def test_a_column_is_ticked_only_with_a_word_for_it(ada: Client, project: Project) -> None:
    page = ada.get(address(project))
    text = page.content.decode()
    assert "topic: art (22), law (22), tax (22); 100% of the pairs" in text
    assert "difficulty: 0 to 6; 100% of the pairs" in text
    assert "every pair has another whole number, as an identifier has" in text
    wanted = {"meaning": "local", "columns": ["topic", "difficulty"]}
    refused = ada.post(address(project), wanted)
    assert refused.status_code == 422
    assert "Say so, or untick the columns." in refused.content.decode()
    assert SignalSettings.objects.count() == 0
    stored = ada.post(address(project), {**wanted, "vouched": "on"}, follow=True)
    assert "Stored. The next plan uses these signals" in stored.content.decode()
    assert settings_of(project).columns == ["topic", "difficulty"]
    rows = [one.name for group in stored.context["survey"].groups for _, one in group.rows]
    assert "column topic=law" in rows
    assert "column difficulty" in rows
    assert ada.post(address(project), {"meaning": "local", "columns": ["row"], "vouched": "on"}).status_code == 422


def test_an_address_that_must_not_be_asked_is_refused_at_its_field(ada: Client, project: Project) -> None:
    wanted = {"meaning": "endpoint", "address": "https://elsewhere.example/v1", "model": "m"}
    page = ada.post(address(project), wanted)
    assert page.status_code == 422
    assert "TIEBREAK_JUDGE_HOSTS" in page.context["form"].errors["address"][0]
    page = ada.post(address(project), {"meaning": "endpoint"})
    assert set(page.context["form"].errors) == {"address", "model"}
    assert ada.post(address(project), {"meaning": "nonsense"}).status_code == 422
    assert SignalSettings.objects.count() == 0


def test_tags_are_started_after_their_price_was_shown(ada: Client, project: Project) -> None:
    with JudgeServer(sort_or_judge) as server:
        version = add_judge(project, "sorter", kind="openai", base_url=server.base_url, model="m", **PRICES)
        assert "No judge tags prompts" in ada.post(address(project, "tags/"), follow=True).content.decode()
        shown = ada.post(address(project), {"meaning": "local", "tagger": str(version.pk)}, follow=True)
        assert "sorter would be asked about 66 prompts, once each: about" in shown.content.decode()
        assert JudgeRun.objects.filter(purpose=RunPurpose.TAG).count() == 0
        wrong = ada.post(address(project, "tags/"), {"budget_usd": "much"}, follow=True)
        assert "Nothing was started: Enter a number." in wrong.content.decode()
        started = ada.post(address(project, "tags/"), {"budget_usd": "2"}, follow=True)
        assert "66 prompts queued for a worker." in started.content.decode()
        run = JudgeRun.objects.get(purpose=RunPurpose.TAG)
        assert run.budget_usd == Decimal(2)
        assert "to tag prompts" in started.content.decode()
        work_off(run)
    done = ada.get(address(project))
    assert "was asked about every prompt" in done.content.decode()
    rows = {one.name: one for group in done.context["survey"].groups for _, one in group.rows}
    assert rows["tag open_endedness"].known == 1.0
    assert "Tags of the prompt" in done.content.decode()


def test_vectors_are_fetched_by_a_worker_and_followed(
    ada: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def wake(_tasks: list[str], payload: dict[str, str]) -> bool:
        sent.append(payload["project_id"])
        return True

    monkeypatch.setattr("routing.signals.likening.wake", wake)
    with JudgeServer() as server:
        server.routes[EMBEDDINGS] = by_length
        wanted = {"meaning": "endpoint", "address": server.base_url, "model": "m"}
        page = ada.post(address(project), wanted, follow=True).content.decode()
        assert "132 texts will be sent to 127.0.0.1" in page
        assert "Fetch them" in page
        assert "A worker fetches the vectors" in ada.post(address(project, "embeddings/"), follow=True).content.decode()
        assert sent == [str(project.pk)]
        part = ada.get(address(project, "embeddings/progress/"), headers={"HX-Request": "true"}).content.decode()
        assert "asked for" in part
        assert "hx-trigger" in part
        SignalSettings.objects.update(embedding_asked_at=timezone.now() - timedelta(minutes=5))
        late = ada.get(address(project, "embeddings/progress/"), headers={"HX-Request": "true"}).content.decode()
        assert "No worker has begun since" in late
        assert embed_responses(project) == 132
    part = ada.get(address(project, "embeddings/progress/"), headers={"HX-Request": "true"}).content.decode()
    assert "132 of 132 responses" in part
    assert "complete" in part
    assert "hx-trigger" not in part
    assert ada.get(address(project, "embeddings/progress/")).status_code == 302


def test_a_broker_that_is_down_is_said(ada: Client, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing.signals.likening.wake", lambda tasks, payload: False)
    save_settings(project, columns=[], embedder="http://127.0.0.1:9/v1 m", tagger=None)
    page = ada.post(address(project, "embeddings/"), follow=True).content.decode()
    assert "the broker takes no messages" in page
    assert settings_of(project).embedding_asked_at is None


def test_only_models_that_write_are_offered(ada: Client, project: Project, db: None) -> None:
    add_judge(project, "length", kind="length")
    with JudgeServer() as server:
        version: JudgeVersion = add_judge(project, "sorter", kind="openai", base_url=server.base_url, model="m")
    form = ada.get(address(project)).context["form"]
    assert [one.pk for one in form.fields["tagger"].queryset] == [version.pk]


def test_nobody_but_a_manager_sees_or_starts_anything(client: Client, project: Project) -> None:
    wanted = {"meaning": "none"}
    for username in ("ben", "eve", None):
        if username:
            client.force_login(User.objects.get(username=username))
        answers = [
            client.get(address(project)),
            client.post(address(project), wanted),
            client.post(address(project, "tags/")),
            client.post(address(project, "embeddings/")),
            client.get(address(project, "embeddings/progress/")),
        ]
        assert {answer.status_code for answer in answers} == {404 if username else 302}
        client.logout()
    assert SignalSettings.objects.count() == 0


def test_what_starts_something_is_refused_by_get(ada: Client, project: Project) -> None:
    assert {ada.get(address(project, part)).status_code for part in ("tags/", "embeddings/")} == {405}
