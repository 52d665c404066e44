"""What each profile makes of a pair, and the rules of an export."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotation.gilding import read_answer, set_gold
from annotation.models import Choice, Criterion, GoldSource, Pair, Project, Rating
from exports.errors import ExportError
from exports.leaving_out import LEFT_OUT_IN_WORDS, LeftOut
from exports.profiles import PROFILES
from exports.profiles.rationales import NAMES_A_PLACE, Coin
from exports.settings import SnapshotSettings
from exports.snapshotting import take_snapshot
from judges.models import JudgeVersion
from tests.builders import make_pair, make_preference, make_prompt, make_response
from tests.exports.consuming import rows_in
from tests.exports.rows import rows_of
from tests.judged import judge_pairs

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
MakeJudge = Callable[..., JudgeVersion]
HELLO = [{"role": "user", "content": "Hello?"}]


def won(project: Project, choice: str = "a", **overrides: Any) -> Pair:
    """Return a pair that one person answered."""
    told = {name: overrides.pop(name) for name in ("strength", "rationale", "confidence") if name in overrides}
    pair = make_pair(project, **overrides)
    make_preference(pair, "dora", choice, **told)
    return pair


def rate(pair: Pair, name: str, a: float, b: float, *, rater: str = "dora") -> None:
    """Store what a person gave both responses on a criterion."""
    criterion, _ = Criterion.objects.get_or_create(project=pair.project, name=name)
    by = pair.preferences.get(rater__name=rater, criterion=None).rater
    for response, value in ((pair.response_a, a), (pair.response_b, b)):
        Rating.objects.create(rater=by, response=response, criterion=criterion, pair=pair, value=value)


def test_every_reason_has_words() -> None:
    assert set(LEFT_OUT_IN_WORDS) == set(LeftOut)


# --- Shapes ---------------------------------------------------------------------------------------------------------


def test_unpaired_rows_call_the_winner_good_and_both_bad_bad(project: Project) -> None:
    won(project, "b", prompt="One?", response_a="no", response_b="yes")
    won(project, "both_bad", prompt="Two?")
    rows, left = rows_of(project, "kto")
    assert left == []
    said = {(row["prompt"][0]["content"], row["completion"][0]["content"]): row for row in rows}
    assert {key[1]: row["label"] for key, row in said.items() if key[0] == "One?"} == {"yes": True, "no": False}
    assert [(row["label"], row["label_rule"]) for row in rows if row["prompt"][0]["content"] == "Two?"] == [
        (False, "both_bad"),
        (False, "both_bad"),
    ]


def test_tie_is_unpaired_by_scores_alone(project: Project) -> None:
    pair = won(project, "tie", response_a="good", response_b="poor")
    assert rows_of(project, "kto") == ([], [LeftOut.TIE])
    rate(pair, "clear", 4, 2)
    rows, _ = rows_of(project, "kto", good_from=3.0)
    assert {row["completion"][0]["content"]: (row["label"], row["label_rule"]) for row in rows} == {
        "good": (True, "score"),
        "poor": (False, "score"),
    }


def chain(project: Project, *wins: tuple[str, str]) -> None:
    """Make pairs of one prompt, each with its winner first."""
    prompt = make_prompt(project, "Which?")
    for number, (winner, loser) in enumerate(wins):
        pair = Pair.objects.create(
            project=project,
            prompt=prompt,
            response_a=make_response(prompt, winner),
            response_b=make_response(prompt, loser),
            external_id=f"chain-{number}",
        )
        make_preference(pair, "dora", "a")


@pytest.mark.parametrize(
    ("wins", "ranks"),
    [
        ([("a", "b"), ("b", "c"), ("c", "d")], {"a": 0, "b": 1, "c": 2, "d": 3}),
        ([("a", "b"), ("a", "c")], {"a": 0, "b": 1, "c": 1}),
        ([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")], {"a": 0, "b": 1, "c": 1, "d": 2}),
    ],
)
def test_ranks_follow_every_chain_of_wins(project: Project, wins: list[tuple[str, str]], ranks: dict[str, int]) -> None:
    chain(project, *wins)
    (row,), left = rows_of(project, "listwise")
    assert left == []
    assert {one["completion"][0]["content"]: one["rank"] for one in row["completions"]} == ranks
    assert row["context"] == [{"role": "user", "content": "Which?"}]
    assert row["pairwise_probs"][0][1] in (1.0, None)


def test_numbers_of_lists_have_digits_that_every_reader_takes_whole(project: Project) -> None:
    """Five to one is 0.8333333333333334: `datasets` read 0.833333333333333 from JSON lines."""
    pair = make_pair(project)
    for place, choice in enumerate("aaaaab"):
        make_preference(pair, f"person-{place}", choice)
    (row,), _ = rows_of(project, "listwise")
    assert row["pairwise_probs"] == [[None, 0.833333333333], [0.166666666667, None]]


def test_responses_that_no_pair_connects_are_rows_of_their_own_and_circles_are_none(project: Project) -> None:
    chain(project, ("a", "b"), ("c", "d"), ("x", "y"), ("y", "z"), ("z", "x"))
    rows, left = rows_of(project, "listwise")
    assert sorted(len(row["completions"]) for row in rows) == [2, 2]
    assert left == [LeftOut.IN_A_CYCLE] * 3


def test_pairs_of_a_prompt_go_from_easy_to_hard(project: Project) -> None:
    prompt = make_prompt(project, "Which?")
    for number, votes in enumerate((["a", "a", "b"], ["a", "a", "a"], ["b", "b", "b", "b", "a"])):
        pair = make_pair(project, prompt=prompt, external_id=str(number))
        for place, choice in enumerate(votes):
            make_preference(pair, f"p{place}", choice)
    rows, _ = rows_of(project, "curriculum")
    assert [(row["external_id"], row["curriculum_rank"]) for row in rows] == [("1", 1), ("2", 2), ("0", 3)]
    assert [round(row["difficulty"], 2) for row in rows] == [0.0, 0.4, 0.67]


def test_openai_style_row_is_exactly_that(project: Project) -> None:
    won(project, prompt="Hello?", response_a="Hi.", response_b="Go away.")
    (row,), _ = rows_of(project, "openai-style")
    assert row == {
        "input": {"messages": HELLO, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": "Hi."}],
        "non_preferred_output": [{"role": "assistant", "content": "Go away."}],
    }


def test_other_trainers_rows(project: Project) -> None:
    won(project, prompt="Hello?", response_a="Hi.", response_b="Go away.")
    (factory,), _ = rows_of(project, "llama-factory")
    assert (factory["messages"], factory["chosen"]) == (HELLO, {"role": "assistant", "content": "Hi."})
    (swift,), _ = rows_of(project, "ms-swift")
    assert swift == {
        "messages": [*HELLO, {"role": "assistant", "content": "Hi."}],
        "rejected_response": "Go away.",
    }
    (hh,), _ = rows_of(project, "dpo-legacy-hh")
    assert hh["chosen"] == "\n\nHuman: Hello?\n\nAssistant: Hi."
    (old,), _ = rows_of(project, "dpo-legacy-ultrafeedback")
    assert (old["prompt"], old["chosen"], old["messages"]) == ("Hello?", swift["messages"], swift["messages"])


@pytest.mark.parametrize(
    ("turns", "without"),
    [
        (["user", "assistant", "tool"], ["openai-style", "llama-factory", "ms-swift", "dpo-legacy-hh", "multipref"]),
        (["system", "user"], ["dpo-legacy-hh", "multipref"]),
        (["user", "user"], ["llama-factory", "multipref"]),
    ],
)
def test_turns_that_a_shape_has_no_place_for_are_counted(
    project: Project, turns: list[str], without: list[str]
) -> None:
    prompt = make_prompt(project, messages=[{"role": role, "content": role} for role in turns])
    won(project, prompt=prompt, strength=1)
    for name in ("openai-style", "llama-factory", "ms-swift", "dpo-legacy-hh", "multipref"):
        assert rows_of(project, name)[1] == ([LeftOut.SHAPE] if name in without else []), name


def test_each_persons_answer_is_a_row_whatever_became_of_the_label(project: Project, make_judge: MakeJudge) -> None:
    pair = won(project, "a", strength=3, rationale="Clear.")
    make_preference(pair, "emil", Choice.UNSURE)
    rate(pair, "clear", 4, 2)
    judge_pairs(make_judge(project), [pair], ["b"])
    rows, _ = rows_of(project, "annotations")
    told = [(row["annotator_type"], row["criterion"], row["choice"], row["value"], row["score_a"]) for row in rows]
    assert sorted(told, key=repr) == [
        ("human", "", "a", 3, None),
        ("human", "", "unsure", None, None),
        ("human", "clear", "", None, 4.0),
        ("judge", "", "b", None, None),
    ]
    calls, _ = rows_of(project, "judge_runs")
    assert [(call["order"], call["choice"], call["label"]) for call in calls] == [("ab", "b", "a"), ("ba", "b", "a")]


def test_public_shapes_take_what_people_said_and_count_who_said_no_strength(project: Project) -> None:
    pair = won(project, "b", strength=1, rationale="Kinder.", prompt="Hello?", confidence=2)
    make_preference(pair, "emil", "a", strength=3)
    make_preference(pair, "fay", "b")
    (row,), _ = rows_of(project, "helpsteer3")
    assert sorted(one["score"] for one in row["individual_preference"]) == [-3, 1]
    assert row["overall_preference"] == -1
    (multi,), _ = rows_of(project, "multipref")
    assert {one["overall_pref"] for one in multi["normal_worker_annotations"]} == {
        "B-is-slightly-better",
        "A-is-clearly-better",
    }
    pair.preferences.exclude(rater__name="fay").delete()
    assert rows_of(project, "helpsteer3") == ([], [LeftOut.NO_STRENGTH])


# --- Reasons --------------------------------------------------------------------------------------------------------


def test_reason_for_the_other_side_makes_no_row_and_is_told_from_none(project: Project) -> None:
    pair = won(project, "a")
    make_preference(pair, "emil", "a")
    make_preference(pair, "fay", "b", rationale="b is kinder")
    assert rows_of(project, "rationale") == ([], [LeftOut.OPPOSING_RATIONALE])
    pair.preferences.filter(choice="b").delete()
    assert rows_of(project, "rationale_sft") == ([], [LeftOut.NO_RATIONALE])


@pytest.mark.parametrize(
    "reason",
    [
        "Assistant 1 is better",
        "Response A is better",
        "The second response says why",
        "the former is right",
        "A is far more detailed than B.",
        "more detailed than A",
        "I prefer the left one",
        "Answer two is wrong",
        "Model (b) hallucinates",
    ],
)
def test_reason_that_names_a_place_is_known(reason: str) -> None:
    assert NAMES_A_PLACE.search(reason)


@pytest.mark.parametrize(
    "reason",
    ["It is clearer and says why.", "A clear and kind text", "First, it explains; second, it is short.", "a b"],
)
def test_reason_that_names_no_place_is_kept(reason: str) -> None:
    assert not NAMES_A_PLACE.search(reason)


def test_order_of_reasons_is_even_and_tells_nothing(project: Project) -> None:
    for seed in range(20):
        coin = Coin(seed)
        first = [coin.chosen_first(f"row-{number}") for number in range(1000)]
        assert 492 <= sum(first) <= 508
        # Neither does the order before: a run of tosses is as in an honest coin.
        repeats = sum(one == other for one, other in itertools.pairwise(first))
        assert 430 <= repeats <= 570


def test_row_for_a_judge_names_the_winner_where_it_stands(project: Project) -> None:
    for number in range(12):
        won(project, "ab"[number % 2], response_a="Yes.", response_b="No.", rationale="It says why.")
    rows, _ = rows_of(project, "rationale_sft")
    assert {row["order"] for row in rows} == {"chosen_first", "rejected_first"}
    for row in rows:
        question, answer = (message["content"] for message in row["messages"])
        place = {"A": "# Response A\n\n", "B": "# Response B\n\n"}[answer[-1]]
        assert answer.startswith("It says why.\n\nBetter response: ")
        assert question.split(place)[1].startswith(("Yes.", "No."))


# --- Rules ----------------------------------------------------------------------------------------------------------


def test_margin_is_in_every_row_or_in_none(project: Project, tmp_path: Path) -> None:
    won(project, strength=3)
    pair = won(project)
    rows, _ = rows_of(project, "reward")
    assert all("margin" not in row for row in rows)
    out = take_snapshot(project, out=tmp_path / "auto", profiles=["reward"], format="jsonl")
    assert out.counts["margin"] == ""
    asked = take_snapshot(project, out=tmp_path / "asked", profiles=["reward"], format="jsonl", margin="strength")
    assert asked.counts["profiles"]["reward"]["left_out"] == {"no_margin": 1}
    ((_, row),) = rows_in(tmp_path / "asked", "reward")
    assert row["margin"] == 3.0
    pair.preferences.update(strength=1)
    both = take_snapshot(project, out=tmp_path / "both", profiles=["reward"], format="jsonl")
    assert both.counts["margin"] == "strength"
    assert sorted(row["margin"] for _, row in rows_in(tmp_path / "both", "reward")) == [1.0, 3.0]


def test_tie_is_broken_by_judges_where_the_export_asks(project: Project, make_judge: MakeJudge) -> None:
    pair = won(project, "tie")
    assert rows_of(project)[1] == [LeftOut.TIE]
    assert rows_of(project, tie_rule="judges")[1] == [LeftOut.TIE]
    judge_pairs(make_judge(project), [pair], ["b"])
    (row,), _ = rows_of(project, tie_rule="judges")
    assert (row["chosen"], row["tie_broken"], row["prob"]) == (pair.response_b.messages, True, 0.5)
    assert row["label_source"] == "human"


def test_both_bad_can_be_a_tie(project: Project) -> None:
    won(project, "both_bad")
    assert rows_of(project, tie_rule="both")[1] == [LeftOut.BOTH_BAD]
    rows, _ = rows_of(project, tie_rule="both", both_bad_rule="tie")
    assert len(rows) == 2
    assert rows_of(project, both_bad_rule="tie")[1] == [LeftOut.BOTH_BAD]


def test_gold_and_examples_are_left_out_or_marked(project: Project, make_judge: MakeJudge) -> None:
    set_gold(won(project), read_answer(["a"], "known"), source=GoldSource.MANAGER)
    shown = won(project, prompt="What is the capital of France?", response_a="It is Paris.")
    make_judge(project, prompt_template="Example.\nQ: What is the capital of France?\nA: It is Paris.\nJudge alike.")
    assert sorted(rows_of(project)[1]) == [LeftOut.EXAMPLE, LeftOut.GOLD]
    rows, left = rows_of(project, gold_rule="mark")
    assert left == []
    assert sorted((row["is_gold"], row["is_example"]) for row in rows) == [(False, True), (True, False)]
    assert shown.external_id in {row["external_id"] for row in rows if row["is_example"]}


def test_few_votes_and_doubtful_labels_are_left_out_and_counted(project: Project) -> None:
    won(project)
    assert rows_of(project, min_votes=2)[1] == [LeftOut.FEW_VOTES]
    assert rows_of(project, min_p_correct=0.99)[1] == [LeftOut.LIKELY_WRONG]


def test_weights_of_criteria_make_labels_again_without_asking(project: Project) -> None:
    pair = won(project, "a")
    rate(pair, "clear", 5, 1)
    rate(pair, "kind", 1, 5)
    (clear,), _ = rows_of(project, criterion_weights={"clear": 1.0})
    (kind,), _ = rows_of(project, criterion_weights={"kind": 1.0})
    assert (clear["chosen"], kind["chosen"]) == (pair.response_a.messages, pair.response_b.messages)
    assert (kind["aggregation"], kind["label_source"], kind["agreement"]) == ("criterion_weights", "human", 1.0)
    assert rows_of(project, criterion_weights={"clear": 1.0, "kind": 1.0})[1] == [LeftOut.TIE]
    assert rows_of(project, criterion_weights={"absent": 1.0})[1] == [LeftOut.NO_CRITERIA]
    assert (clear["criteria"], clear["criteria_chosen"], clear["score_chosen"]) == (["clear", "kind"], [5.0, 1.0], 3.0)


def test_columns_say_what_the_imported_record_names(project: Project) -> None:
    won(project, meta={"community": "teachers", "license": "odc-by", "tools": [{"name": "look"}]})
    won(project)
    rows, _ = rows_of(project, has_tools=True, license="cc-by-4.0")
    assert sorted((row["community"], row["license"], row["tools"]) for row in rows if row["tools"]) == [
        ("teachers", "odc-by", '[{"name": "look"}]')
    ]
    assert [(row["community"], row["license"]) for row in rows if not row["tools"]] == [("", "cc-by-4.0")]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"gold_rule": "sell"}, "Unknown gold_rule 'sell'. Known: exclude, mark"),
        ({"margin": "big"}, "Known: auto, strength, scores, prob, none"),
        ({"min_votes": -1}, "min_votes is -1"),
        ({"gzip": "yes"}, "gzip is 'yes'"),
        ({"good_from": "3"}, "good_from is '3'"),
        ({"license": 3}, "The license is 3"),
        ({"criterion_weights": {"clear": "much"}}, "weight of the criterion 'clear' is 'much'"),
        ({"criterion_weights": {"clear": 0}}, "All criterion_weights are 0"),
        ({"criterion_weights": [1]}, "it takes a weight for each criterion"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_there_is(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError) as raised:
        SnapshotSettings.parse(wanted)
    assert message in str(raised.value)


def test_profiles_have_unique_columns_with_meanings() -> None:
    for profile in PROFILES.values():
        names = [column.name for column in profile.columns]
        assert len(names) == len(set(names)), profile.name
        assert all(column.meaning for column in profile.columns)
        assert profile.title
