"""Votes become a frame, and a frame becomes one human answer a pair."""

import math
from typing import Any

import pandas as pd
import pytest

from annotation.aggregating import CONSENSUS_COLUMNS, VOTE_COLUMNS, consensus, reading, vote_frame
from annotation.models import Origin, Rater, RaterKind
from tests.builders import make_pair, make_person, make_preference, make_project


def votes(**choices: str) -> pd.DataFrame:
    """Return votes from `pair="a a:3 tie"`: a word a vote, with its strength behind the colon."""
    rows: list[dict[str, Any]] = []
    for pair, words in choices.items():
        for number, word in enumerate(words.split()):
            choice, _, strength = word.partition(":")
            rows.append(
                {
                    "pair_id": pair,
                    "rater_id": f"rater-{number}",
                    "choice": choice,
                    "strength": float(strength) if strength else math.nan,
                }
            )
    return pd.DataFrame(rows, columns=["pair_id", "rater_id", "choice", "strength"])


def test_strict_plurality_wins_without_a_majority() -> None:
    row = consensus(votes(p="a a b tie both_bad")).loc["p"]
    assert (row["choice"], row["n_votes"], row["agreement"]) == ("a", 5, 0.4)


def test_shared_first_place_leaves_the_pair_open() -> None:
    row = consensus(votes(p="a b")).loc["p"]
    assert (row["choice"], row["agreement"], row["prob_a"]) == ("", 0.5, 0.5)
    assert consensus(votes(p="a b"))["strength"].isna().tolist() == [True]


@pytest.mark.parametrize("words", ["tie a b", "a b tie both_bad", "tie tie a a both_bad"])
def test_no_order_of_choices_breaks_a_shared_first_place(words: str) -> None:
    forwards = consensus(votes(p=words))
    backwards = consensus(votes(p=" ".join(reversed(words.split()))))
    assert forwards["choice"].tolist() == backwards["choice"].tolist() == [""]


def test_tie_and_both_bad_can_win_and_are_not_added_up() -> None:
    result = consensus(votes(ties="tie tie a", bads="both_bad both_bad tie", split="a a tie both_bad"))
    assert result["choice"].to_dict() == {"ties": "tie", "bads": "both_bad", "split": "a"}


def test_prob_a_counts_an_undecided_vote_half() -> None:
    result = consensus(votes(p="a a b", q="a tie", r="b both_bad both_bad both_bad"))
    assert result["prob_a"].to_dict() == pytest.approx({"p": 2 / 3, "q": 0.75, "r": 0.375})


def test_unsure_decides_nothing() -> None:
    result = consensus(votes(p="b unsure unsure", nobody_knows="unsure unsure"))
    assert list(result.index) == ["p"]
    assert result[["choice", "n_votes", "agreement"]].to_numpy().tolist() == [["b", 1, 1.0]]


def test_strength_is_the_mean_of_those_who_chose_the_winner() -> None:
    result = consensus(votes(p="a:1 a:2 b:3", q="b b:3 b:2", r="a a", s="a:3 b:1"))
    assert result["strength"].dropna().to_dict() == {"p": 1.5, "q": 2.5}


def test_swapping_sides_mirrors_the_answer() -> None:
    given = votes(p="a a b tie", q="b:2 b:3 both_bad", r="a b")
    swapped = given.assign(choice=given["choice"].map({"a": "b", "b": "a"}).fillna(given["choice"]))
    one, two = consensus(given), consensus(swapped)
    assert two["choice"].map({"a": "b", "b": "a"}).fillna(two["choice"]).to_dict() == one["choice"].to_dict()
    assert (1 - two["prob_a"]).to_dict() == pytest.approx(one["prob_a"].to_dict())
    assert two["agreement"].to_dict() == one["agreement"].to_dict()


def test_no_votes_keep_their_columns_and_types() -> None:
    result = consensus(votes())
    assert (tuple(result.columns), len(result), result.index.name) == (CONSENSUS_COLUMNS, 0, "pair_id")
    full = consensus(votes(p="a"))
    assert [kind.kind for kind in result.dtypes] == [kind.kind for kind in full.dtypes]
    assert (tuple(full.columns), full.index.name) == (CONSENSUS_COLUMNS, "pair_id")


@pytest.mark.django_db
def test_vote_frame_of_a_project_without_votes_keeps_its_columns() -> None:
    frame = vote_frame(make_project())
    assert (tuple(frame.columns), len(frame)) == (VOTE_COLUMNS, 0)
    assert frame["strength"].dtype == float
    assert consensus(frame).empty


@pytest.mark.django_db
def test_vote_frame_holds_what_people_said_and_nothing_else() -> None:
    project = make_project()
    pair = make_pair(project)
    ben = make_person(project, "ben")
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="gpt")
    make_preference(pair, ben, "a", strength=2, seconds=31.5)
    make_preference(pair, judge, "b")
    make_preference(pair, "recorded one", "tie")
    make_preference(pair, "too late", "b", is_extra=True)
    make_preference(pair, "changed", "b", is_current=False)
    make_preference(make_pair(make_project("other", with_people=False)), "elsewhere", "b")

    frame = vote_frame(project)

    assert sorted(zip(frame["rater"], frame["choice"], frame["origin"], strict=True)) == [
        ("ben", "a", "live"),
        ("recorded one", "tie", "recorded"),
    ]
    row = frame[frame["rater"] == "ben"].iloc[0]
    assert (row["pair_id"], row["rater_id"]) == (str(pair.id), str(ben.id))
    assert (row["group"], row["strength"], row["seconds"]) == (pair.prompt.group, 2.0, 31.5)


@pytest.mark.django_db
def test_vote_frame_narrows_to_pairs_and_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    pairs = [make_pair(project) for _ in range(5)]
    for pair in pairs:
        make_preference(pair, make_person(project, "ben"), "a")
        make_preference(pair, "recorded", "b")
    monkeypatch.setattr(reading, "IDS_PER_QUERY", 2)

    some = vote_frame(project, [pair.id for pair in pairs[:3]])
    live = vote_frame(project, [str(pair.id) for pair in pairs[:3]], origins=[Origin.LIVE])

    assert some["pair_id"].tolist() == sorted(str(pair.id) for pair in pairs[:3] for _ in range(2))
    assert live["rater"].tolist() == ["ben"] * 3
    assert vote_frame(project, []).empty
