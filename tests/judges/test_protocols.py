"""Each protocol from the question to the preference, against a real HTTP server that answers in its form."""

import json
import math
from typing import Any

import pytest

from annotation.models import Criterion, Pair, Preference, Project, Rating, RationaleTiming
from judges.defining import add_judge
from judges.exemplifying import choose_examples
from judges.models import JudgeRun, JudgeVersion, Order
from judges.options import Options
from judges.running import start_explaining, start_run, work_off
from tests.builders import make_pair, make_preference, make_project
from tests.judge_server import Behaviour, Call, JudgeServer, Served, decided, verdict

pytestmark = pytest.mark.django_db


def make_pairs() -> tuple[Project, Pair]:
    project = make_project()
    Criterion.objects.create(project=project, name="truth", description="No false statement.")
    return project, make_pair(project, response_a="the longer answer", response_b="short")


def run_at(server: JudgeServer, project: Project, protocol: str, **options: Any) -> tuple[JudgeVersion, JudgeRun]:
    kind = "decisions" if protocol == "decisions" else "openai"
    version = add_judge(
        project,
        "stub",
        kind=kind,
        base_url=server.base_url,
        model="m",
        protocol=protocol,
        options=Options(**options),
    )
    run = start_run(version, send=False)
    report = work_off(run)
    assert (report.failed, report.pending) == (0, 0), list(run.verdicts.values_list("error", flat=True))
    return version, run


def entry(token: str, **shares: float) -> dict[str, Any]:
    listed = [{"token": one, "logprob": math.log(share)} for one, share in shares.items()]
    return {"token": token, "logprob": math.log(shares.get(token, 1.0)), "top_logprobs": listed}


def spell(*tokens: dict[str, Any]) -> Served:
    """Return a completion of these tokens with their log-probabilities."""
    served = json.loads(verdict(text="".join(one["token"] for one in tokens)).content)
    served["choices"][0]["logprobs"] = {"content": list(tokens)}
    return Served(content=json.dumps(served).encode())


def prefer_longer_softly(call: Call) -> Served:
    """Give the longer response 0.7, a tie 0.2; on truth, the other way round. Whatever stands first gets nothing."""
    longer, other = ("A", "B") if len(call.first) > len(call.second) else ("B", "A")
    whole, truth = {longer: 0.7, "C": 0.2, other: 0.1}, {other: 0.7, "C": 0.2, longer: 0.1}
    return spell(
        entry('{"choice": "'),
        entry(longer, **whole),
        entry('", "criteria": {"truth": "'),
        entry(other, **truth),
        entry('"}}'),
    )


def test_letters_of_both_orders_become_a_preference_on_the_whole_and_by_criterion() -> None:
    project, pair = make_pairs()
    with JudgeServer(prefer_longer_softly) as server:
        version, run = run_at(server, project, "letter", criteria=("truth",))
    whole = Preference.objects.get(rater=version.rater, criterion=None)
    assert (whole.pair, whole.choice) == (pair, "a")
    assert whole.prob_a == pytest.approx(0.8)
    assert whole.meta == {"consistent": True, "prob_tie": pytest.approx(0.2)}
    truth = Preference.objects.get(rater=version.rater, criterion__name="truth")
    assert truth.choice == "b"
    assert truth.prob_a == pytest.approx(0.2)
    for row in run.verdicts.all():
        assert row.distribution == pytest.approx({"a": 0.7, "tie": 0.2, "b": 0.1})
        assert row.label_mass == 1.0
        assert row.meta["prob_from"] == "logprobs"
    assert {call.body["top_logprobs"] for call in server.calls} == {20}


def score_by_length(call: Call) -> Served:
    likely, other = ("9", "8") if len(call.first) > 10 else ("3", "4")
    return spell(entry('{"score": '), entry(likely, **{likely: 0.5, other: 0.25, "11": 0.25}), entry("}"))


def test_scores_of_each_response_alone_become_ratings_and_a_preference() -> None:
    project, pair = make_pairs()
    with JudgeServer(score_by_length) as server:
        version, run = run_at(server, project, "rating")
    assert sorted((call.first, call.second) for call in server.calls) == [("short", ""), ("the longer answer", "")]
    assert dict(run.verdicts.values_list("order", "label_mass")) == {"a": 0.75, "b": 0.75}
    scores = dict(Rating.objects.filter(rater=version.rater).values_list("response_id", "value"))
    assert scores == pytest.approx({pair.response_a_id: 26 / 3, pair.response_b_id: 10 / 3})
    preference = Preference.objects.get(rater=version.rater)
    assert (preference.choice, preference.prob_a) == ("a", 1.0)


def choose(longer_wins: bool) -> dict[str, Any]:
    shares = {"A": 0.6, "B": 0.1, "tie": 0.3} if longer_wins else {"A": 0.1, "B": 0.6, "tie": 0.3}
    stated = [{"value": value, "probability": share} for value, share in shares.items()]
    return {"type": "choice", "choice": "A" if longer_wins else "B", "confidence": 0.6, "probabilities": stated}


def test_decisions_become_preferences_without_a_word() -> None:
    project, _ = make_pairs()

    def decide(call: Call) -> Served:
        text = call.body["input"]
        first_is_longer = text.index("the longer answer") < text.index("short\n")
        return decided(choose(first_is_longer), choose(not first_is_longer))

    with JudgeServer() as server:
        server.routes["POST /v1/decisions"] = decide
        version, run = run_at(server, project, "decisions", criteria=("truth",))
    whole = Preference.objects.get(rater=version.rater, criterion=None)
    assert whole.choice == "a"
    assert whole.prob_a == pytest.approx(0.75)
    assert Preference.objects.get(rater=version.rater, criterion__name="truth").choice == "b"
    assert {row.meta["prob_from"] for row in run.verdicts.all()} == {"decisions"}
    assert [len(call.body["questions"]) for call in server.others] == [2, 2]


@pytest.mark.parametrize(
    ("argued", "rationale"), [("first", "It is longer."), ("second", "")], ids=["for the choice", "against it"]
)
def test_second_pass_gives_the_reasons_of_a_soft_verdict(argued: str, rationale: str) -> None:
    project, pair = make_pairs()
    with JudgeServer(prefer_longer_softly) as server:
        version, _ = run_at(server, project, "letter", criteria=("truth",))
        server.behave = lambda _call: verdict(text=json.dumps({"rationale": "It is longer.", "choice": argued}))
        run = start_explaining(version, [pair], send=False)
        work_off(run)
    row = run.verdicts.get()
    assert (row.order, row.choice, row.rationale) == (Order.WHY, "a", "It is longer.")
    preference = Preference.objects.get(rater=version.rater, criterion=None, is_current=True)
    assert (preference.choice, preference.rationale) == ("a", rationale)
    assert preference.rationale_timing == (RationaleTiming.AFTER if rationale else "")
    asked = server.calls[-1]
    assert (asked.first, asked.second) == ("the longer answer", "short")
    assert "the first response is better" in asked.body["messages"][1]["content"]
    assert asked.body.get("max_tokens", asked.body.get("max_completion_tokens")) == 512


def in_turn(*answers: str) -> Behaviour:
    """Answer the calls that show each response first with these choices in turn."""
    asked: dict[str, int] = {}

    def behave(call: Call) -> Served:
        place = asked.get(call.first, 0)
        asked[call.first] = place + 1
        return verdict(answers[place % len(answers)])

    return behave


def test_samples_make_a_probability_where_a_server_gives_none() -> None:
    project, _ = make_pairs()
    with JudgeServer(in_turn("first", "first", "first", "first", "second")) as server:
        version, run = run_at(server, project, "pairwise", samples=5)
    assert len(server.calls) == 10
    rows = {row.order: row for row in run.verdicts.all()}
    assert rows["ab"].distribution == pytest.approx({"a": 4.5 / 6.5, "tie": 0.5 / 6.5, "b": 1.5 / 6.5})
    assert rows["ba"].distribution == pytest.approx({"a": 1.5 / 6.5, "tie": 0.5 / 6.5, "b": 4.5 / 6.5})
    assert {(row.samples, row.meta["prob_from"]) for row in rows.values()} == {(5, "samples")}
    preference = Preference.objects.get(rater=version.rater)
    assert preference.choice == "tie"
    assert preference.prob_a == pytest.approx(0.5)


def test_pairs_shown_as_examples_are_not_judged() -> None:
    project, pair = make_pairs()
    shown = [make_pair(project) for _ in range(2)]
    for one, choice in zip(shown, ("a", "b"), strict=True):
        make_preference(one, "fay", choice)
        make_preference(one, "gus", choice)
    with JudgeServer() as server:
        _, run = run_at(server, project, "pairwise", examples=choose_examples(project, 2, seed=0))
    assert set(run.verdicts.values_list("pair_id", flat=True)) == {pair.pk}
    system = server.calls[0].body["messages"][0]["content"]
    assert all(one.response_a.text in system for one in shown)
    assert system == server.calls[1].body["messages"][0]["content"]
