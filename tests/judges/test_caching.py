import itertools
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from annotation.ids import new_id
from annotation.models import Preference, Project
from judges.caching import expiry, find_keys, forget, from_cache, keep, request_key
from judges.clients import Reply
from judges.defining import add_judge
from judges.models import CachedReply, JudgeRun, JudgeVersion
from judges.options import Options
from judges.questions import Answer, Question
from judges.reading import answer_of
from judges.running import retry_failed, start_run, work_off
from tests.builders import make_pair, make_project, make_prompt
from tests.judge_server import Call, JudgeServer, Served, failure, prefer_longer, verdict

pytestmark = pytest.mark.django_db

JUDGE: dict[str, Any] = {"kind": "openai", "base_url": "http://127.0.0.1:8000/v1", "model": "m"}
PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}
REPLY = Reply(
    text='{"rationale": "It is longer.", "choice": "first", "confidence": 80}',
    finish_reason="stop",
    refusal="",
    model="m-1",
    prompt_tokens=100,
    completion_tokens=20,
    logprobs=[],
    seconds=1.5,
)


def judge(project: Project | None = None, name: str = "stub", **overrides: Any) -> JudgeVersion:
    return add_judge(project or make_project(with_people=False), name, **{**JUDGE, **overrides})


def question(**overrides: Any) -> Question:
    prompt = [{"role": "user", "content": "Which colour?"}]
    return Question(
        **{"verdict_id": new_id(), "prompt": prompt, "first": "Blue.", "second": "Red.", "order": "ab", **overrides}
    )


def find(
    version: JudgeVersion, questions: Sequence[Question], *, fresh_in: UUID | None = None
) -> dict[UUID | None, list[Reply]]:
    """Return the replies kept for these questions, by verdict."""
    keys = {one.verdict_id: request_key(version, one, fresh_in=fresh_in) for one in questions}
    kept = find_keys(set(keys.values()))
    return {verdict_id: kept[key] for verdict_id, key in keys.items() if key in kept}


def answered(version: JudgeVersion, asked: Question, *replies: Reply) -> Answer:
    replies = replies or (REPLY,)
    answer = answer_of(version, asked, replies)
    return answer._replace(request_key=request_key(version, asked), replies=[one.as_json() for one in replies])


def test_key_is_the_same_for_all_that_does_not_change_the_answer() -> None:
    version, asked = judge(), question()
    key = request_key(version, asked)
    assert len(key) == 64
    elsewhere = make_project("elsewhere", with_people=False)
    for other in (
        judge(elsewhere, "another name", **PRICES),
        judge(elsewhere, "by file", kind="batch"),
        judge(elsewhere, "read otherwise", options=Options(tie_band=0.2, aggregation="likelihood")),
    ):
        assert other.content_hash != version.content_hash or other.judge != version.judge
        assert request_key(other, asked) == key
    assert request_key(version, asked._replace(verdict_id=None, attempt=4, group="another")) == key


def test_pair_stored_the_other_way_round_asks_the_same_request() -> None:
    version = judge()
    assert request_key(version, question(order="ba")) == request_key(version, question(order="ab"))
    swapped = question(first="Red.", second="Blue.")
    assert request_key(version, swapped) != request_key(version, question())


@pytest.mark.parametrize(
    "overrides",
    [
        {"model": "another"},
        {"base_url": "http://127.0.0.1:9000/v1"},
        {"sampling": {"temperature": 0.7}},
        {"sampling": {"max_tokens": 77}},
        {"options": Options(samples=5)},
        {"options": Options(tie=False)},
        {"protocol": "letter"},
        {"protocol": "rating"},
        {"kind": "decisions"},
    ],
)
def test_key_differs_with_what_changes_the_answer(overrides: dict[str, Any]) -> None:
    project, asked = make_project(with_people=False), question()
    assert request_key(judge(project, "other", **overrides), asked) != request_key(judge(project), asked)


@pytest.mark.parametrize(
    "change",
    [
        lambda asked: asked._replace(first="Green."),
        lambda asked: asked._replace(second="Green."),
        lambda asked: asked._replace(context="It is night."),
        lambda asked: asked._replace(reference="Blue."),
        lambda asked: asked._replace(prompt=[{"role": "user", "content": "Which?"}]),
        lambda asked: asked._replace(order="why", choice="a"),
    ],
)
def test_key_differs_with_the_question(change: Callable[[Question], Question]) -> None:
    version, asked = judge(), question()
    assert request_key(version, change(asked)) != request_key(version, asked)


def test_guidelines_are_part_of_what_is_asked() -> None:
    strict = make_project("strict", with_people=False, guidelines="Prefer short answers.")
    assert request_key(judge(strict), question()) != request_key(judge(), question())


def test_response_alone_is_one_request_in_all_its_pairs() -> None:
    version = judge(protocol="rating")
    alone = {"first": "Blue.", "second": ""}
    assert request_key(version, question(order="a", **alone)) == request_key(version, question(order="b", **alone))


def test_run_that_wants_fresh_answers_finds_its_own_only() -> None:
    version, asked, run = judge(), question(), new_id()
    keep([answered(version, asked)])
    assert find(version, [asked], fresh_in=run) == {}
    keep([answered(version, asked)._replace(request_key=request_key(version, asked, fresh_in=run))])
    assert asked.verdict_id in find(version, [asked], fresh_in=run)
    assert find(version, [asked], fresh_in=new_id()) == {}


def test_many_questions_are_looked_up_in_one_query() -> None:
    version = judge()
    asked = [question(first=f"Answer {number}") for number in range(300)]
    keep([answered(version, one) for one in asked[::2]])
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = find(version, asked)
    assert len(queries) == 1
    assert set(found) == {one.verdict_id for one in asked[::2]}
    assert all(replies == [REPLY] for replies in found.values())


def test_known_answer_reads_like_the_first_and_costs_nothing() -> None:
    version = judge(**PRICES)
    first = answered(version, question())
    assert first.cost_usd == Decimal("0.00014")
    keep([first])
    again = question(order="ba")
    known = from_cache(version, again, find(version, [again])[again.verdict_id or new_id()])
    assert known is not None
    assert (first.choice, known.choice) == ("a", "b")
    assert known.prob_a == pytest.approx(0.1)
    assert (known.rationale, known.raw, known.answered_by) == (first.rationale, first.raw, "m-1")
    assert (known.from_cache, known.cost_usd) == (True, Decimal(0))
    assert (known.prompt_tokens, known.completion_tokens, known.cached_tokens) == (None, None, None)
    assert (known.seconds, known.maybe_billed, known.replies) == (None, False, ())


@pytest.mark.parametrize(
    "spoiled", [{"error": "unreadable"}, {"request_key": ""}, {"replies": ()}, {"from_cache": True}]
)
def test_what_cannot_be_used_again_is_not_kept(spoiled: dict[str, Any]) -> None:
    keep([answered(judge(), question())._replace(**spoiled)])
    assert not CachedReply.objects.exists()


def test_reply_that_today_s_reader_cannot_read_is_asked_again() -> None:
    version, asked = judge(), question()
    assert from_cache(version, asked, [REPLY._replace(text="I like the first.")]) is None


def test_samples_are_kept_together() -> None:
    version = judge(options=Options(samples=2))
    asked = question()
    other = REPLY._replace(text=REPLY.text.replace("first", "second"))
    keep([answered(version, asked, REPLY, other)])
    assert find(version, [asked]) == {asked.verdict_id: [REPLY, other]}


def test_same_request_answered_twice_is_kept_once_and_the_newest_stays() -> None:
    version, asked = judge(), question()
    newer = REPLY._replace(model="m-2")
    keep([answered(version, asked), answered(version, asked)])
    keep([answered(version, asked, newer)])
    assert [one.model for one in find_keys({request_key(version, asked)})[request_key(version, asked)]] == ["m-2"]
    assert CachedReply.objects.count() == 1


def test_keeping_is_one_statement() -> None:
    version = judge()
    answers = [answered(version, question(first=f"Answer {number}")) for number in range(100)]
    with CaptureQueriesContext(connection) as queries:
        keep(answers)
    assert [one["sql"].split()[0] for one in queries if "SAVEPOINT" not in one["sql"]] == ["INSERT"]
    with CaptureQueriesContext(connection) as queries:
        keep([])
    assert len(queries) == 0


def test_replies_expire_after_the_days_the_operator_gave(settings: Settings) -> None:
    version, asked = judge(), question()
    keep([answered(version, asked)])
    now = timezone.now()
    CachedReply.objects.update(created_at=now - timedelta(days=40))
    assert expiry(now) is None
    assert forget(before=expiry(now)) == 0
    assert len(find(version, [asked])) == 1
    settings.JUDGE_CACHE_DAYS = 30
    assert find(version, [asked]) == {}
    keep([answered(version, asked)])
    assert len(find(version, [asked])) == 1
    CachedReply.objects.update(created_at=now - timedelta(days=40))
    assert forget(before=expiry(now)) == 1
    assert not CachedReply.objects.exists()


# --- With the engine ------------------------------------------------------------------------------------------------


def rate(call: Call) -> Served:
    return verdict(text=json.dumps({"score": 9 if "best" in call.body["messages"][1]["content"] else 4}))


def project_with(pairs: int = 3, slug: str = "helpfulness") -> Project:
    project = make_project(slug, with_people=False)
    for number in range(pairs):
        prompt = make_prompt(project, f"Question {number} of all?")
        make_pair(project, prompt=prompt, response_a=f"long answer {number}", response_b=f"short {number}")
    return project


def worked_off(version: JudgeVersion, **options: Any) -> JudgeRun:
    run = start_run(version, send=False, **options)
    work_off(run)
    run.refresh_from_db()
    return run


def test_what_one_project_paid_for_is_free_in_another() -> None:
    with JudgeServer(prefer_longer) as server:
        first = worked_off(judge(project_with(), base_url=server.base_url, **PRICES))
        version = judge(project_with(slug="copy"), "same", base_url=server.base_url, **PRICES)
        again = worked_off(version)
    assert len(server.calls) == 6
    assert (first.spent_usd, again.spent_usd, again.reserved_usd) == (6 * Decimal("0.00014"), Decimal(0), Decimal(0))
    assert set(again.verdicts.values_list("state", "from_cache", "cost_usd", "prompt_tokens")) == {
        ("done", True, Decimal(0), None)
    }
    assert {one.choice for one in Preference.objects.filter(rater=version.rater)} == {"a"}
    assert Preference.objects.filter(rater=version.rater).count() == 3


def test_run_for_fresh_answers_asks_again() -> None:
    with JudgeServer(prefer_longer) as server:
        worked_off(judge(project_with(), base_url=server.base_url))
        version = judge(project_with(slug="copy"), base_url=server.base_url)
        run = worked_off(version, fresh=True)
    assert len(server.calls) == 12
    assert not run.verdicts.filter(from_cache=True).exists()


def test_question_that_failed_is_asked_again_and_then_kept() -> None:
    with JudgeServer(lambda call: failure(418)) as server:
        run = worked_off(judge(project_with(1), base_url=server.base_url))
        assert not CachedReply.objects.exists()
        server.behave = prefer_longer
        retry_failed(run, send=False)
        work_off(run)
        assert len(server.calls) == 4
        worked_off(judge(project_with(1, slug="copy"), base_url=server.base_url))
    assert len(server.calls) == 4
    assert CachedReply.objects.count() == 2


def test_response_in_many_pairs_is_rated_once_even_though_its_questions_are_neighbours() -> None:
    project = make_project(with_people=False)
    prompt = make_prompt(project)
    for one, other in itertools.combinations(["the best", "another", "a third", "a fourth"], 2):
        make_pair(project, prompt=prompt, response_a=one, response_b=other)
    with JudgeServer(rate, latency=0.05) as server:
        run = worked_off(judge(project, base_url=server.base_url, protocol="rating", **PRICES))
    assert run.verdicts.filter(state="done").count() == 12
    assert len(server.calls) == 4
    assert run.spent_usd == 4 * Decimal("0.00014")
    assert run.verdicts.filter(from_cache=True).count() == 8
    best = Preference.objects.filter(rater=run.version.rater, pair__response_a__messages__0__content="the best")
    assert [one.choice for one in best] == ["a", "a", "a"]
