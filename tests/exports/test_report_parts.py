"""The parts of reports that stand alone: leaderboard, suspected flips, citations, and whom labels follow."""

import numpy as np
import pandas as pd
import pytest

from annotation.agreeing.satisfying import gini, groups_of, satisfaction
from exports.quoting import cited_side, occurs, quotes_of
from exports.ranking import leaderboard
from exports.suspecting import suspected_flips

STRENGTHS = np.array([1.0, 0.3, -0.5, -0.8])
NU = 0.6


def games(n: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Return games of four models with Davidson's ties, three a prompt group."""
    rng = np.random.default_rng(seed)
    rows, pi = [], np.exp(STRENGTHS)
    for number in range(n):
        i, j = rng.choice(4, 2, replace=False)
        weights = np.array([pi[i], pi[j], NU * np.sqrt(pi[i] * pi[j])])
        side = ("a", "b", "tie")[rng.choice(3, p=weights / weights.sum())]
        rows.append((f"g{number // 3}", f"m{i}", f"m{j}", side))
    return pd.DataFrame(rows, columns=["group", "model_a", "model_b", "side"])


def test_leaderboard_finds_the_strengths_and_how_readily_ties_come() -> None:
    found = leaderboard(games(), resamples=60)
    assert [one.model for one in found.standings] == ["m0", "m1", "m2", "m3"]
    logits = [(one.score.value or 0.0) * np.log(10) / 400 for one in found.standings]
    assert np.array(logits) - np.mean(logits) == pytest.approx(STRENGTHS - STRENGTHS.mean(), abs=0.2)
    assert found.ties == pytest.approx(NU, abs=0.15)
    assert np.mean([one.score.value or 0.0 for one in found.standings]) == pytest.approx(1000)
    first = found.standings[0]
    assert (first.place, first.place_low, first.place_high) == (1, 1, 1)
    assert first.score.interval is not None
    assert first.score.interval.low < (first.score.value or 0.0) < first.score.interval.high


def test_leaderboard_is_the_same_in_any_order_of_rows() -> None:
    some = games(300)
    one, other = leaderboard(some, resamples=20), leaderboard(some.sample(frac=1.0, random_state=1), resamples=20)
    assert [(s.model, round(s.score.value or 0.0, 5)) for s in one.standings] == [
        (s.model, round(s.score.value or 0.0, 5)) for s in other.standings
    ]


def test_models_that_nothing_connects_have_no_scores_but_a_reason() -> None:
    some = games(400)
    strong = {"m0", "m1"}
    apart = some[some["model_a"].isin(strong) == some["model_b"].isin(strong)]
    found = leaderboard(apart)
    assert found.standings == []
    assert "2 parts: m0; m1 | m2; m3" in found.reason
    # Somebody who only ever wins has no finite score either.
    always = pd.DataFrame([(f"g{n}", "best", "other", "a") for n in range(20)], columns=list(some.columns))
    assert "no common scale" in leaderboard(always).reason
    one_tie = pd.concat([always, pd.DataFrame([("g0", "best", "other", "tie")], columns=list(some.columns))])
    assert [one.model for one in leaderboard(one_tie, resamples=20).standings] == ["best", "other"]


def test_models_with_few_pairs_or_no_name_are_left_out() -> None:
    few = pd.DataFrame(
        [(f"g{n}", "m0", "rare", "a") for n in range(3)], columns=["group", "model_a", "model_b", "side"]
    )
    unnamed = few.assign(model_b="")
    found = leaderboard(pd.concat([games(300), few, unnamed]), resamples=10)
    assert found.left_out == ["rare"]
    assert found.comparisons == 300
    assert leaderboard(few).reason == "too few models with 10 labelled pairs (0 of 2)"


def test_labels_that_two_judges_oppose_are_suspected_and_one_judge_is_one_voice() -> None:
    labels = pd.DataFrame({"pair_id": [f"p{n}" for n in range(12)], "group": [f"g{n}" for n in range(12)]})
    labels = labels.assign(side="a", name=labels["pair_id"])
    rows = []
    for n in range(12):
        margin = -0.8 if n < 3 else 0.05 if n < 5 else 0.9
        rows += [(f"p{n}", "one", margin), (f"p{n}", "other", margin - 0.1)]
    # Three more answers of a judge that is there already outvote nobody.
    rows += [("p11", "one", 0.9)] * 3
    found = suspected_flips(labels, pd.DataFrame(rows, columns=["pair_id", "judge", "margin"]))
    assert found.suspected.value == pytest.approx(3 / 12)
    assert found.ambiguous.value == pytest.approx(2 / 12)
    assert [one["pair"] for one in found.pairs] == ["p0", "p1", "p2"]
    assert found.pairs[0]["strength"] == pytest.approx(-0.85)
    assert found.strength.value == pytest.approx((3 * -0.85 + 2 * 0.0 + 7 * 0.85) / 12)
    alone = pd.DataFrame(rows, columns=["pair_id", "judge", "margin"]).query("judge == 'one'")
    assert suspected_flips(labels, alone).suspected.value is None


def test_quotes_are_told_from_words_set_apart_and_found_word_for_word() -> None:
    why = 'It says "the moon is\nmade of rock", which is “right enough, I think”, and «pas du tout la même» but "no".'
    assert quotes_of(why) == ["the moon is\nmade of rock", "right enough, I think", "pas du tout la même"]
    assert occurs("the moon is\nmade of rock.", "They say the moon  is made of rock!")
    assert not occurs("the moon is cheese", "The moon is made of rock.")
    assert not occurs("  ", "anything")
    assert cited_side({"side": "b", "text": "of rock"}, "of cheese", "of rock") is True
    assert cited_side({"side": "a", "text": "of rock"}, "of cheese", "of rock") is False
    assert cited_side({"side": 2, "text": "of rock"}, "of cheese", "of rock") is None


def test_gini_is_nought_where_all_are_followed_alike() -> None:
    assert gini(np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 1.0]])) == pytest.approx([0.0, 2 / 3])
    shares = np.random.default_rng(0).random((1, 7))
    apart = np.abs(shares[0][:, None] - shares[0][None, :]).sum()
    assert gini(shares)[0] == pytest.approx(apart / (2 * 49 * shares.mean()))


def followed(shares: dict[str, float], answers: int = 20) -> pd.DataFrame:
    rows = [
        (f"g{number}", rater, float(number < share * answers))
        for rater, share in shares.items()
        for number in range(answers)
    ]
    return pd.DataFrame(rows, columns=["group", "rater", "hit"])


def test_labels_follow_people_as_counted_and_the_worst_group_is_named() -> None:
    shares = {f"r{n}": 0.9 for n in range(5)} | {f"s{n}": 0.4 for n in range(5)}
    rows = followed(shares)
    found = satisfaction(rows, repeats=50)
    assert found.mean.value == pytest.approx(0.65)
    assert found.lowest_fifth.value == pytest.approx(0.4)
    assert found.gini.value == pytest.approx(gini(np.array([list(shares.values())]))[0])
    of = pd.Series({rater: "north" if rater[0] == "r" else "south" for rater in shares})
    groups = groups_of(rows, of, repeats=50)
    assert [(one.name, one.people) for one in groups.groups] == [("north", 5), ("south", 5)]
    assert [one.followed.value for one in groups.groups] == pytest.approx([0.9, 0.4])
    assert groups.worst == "south"
    assert groups.worst_followed.value == pytest.approx(0.4)


def test_a_group_of_fewer_than_five_people_is_never_shown() -> None:
    shares = {f"r{n}": 0.9 for n in range(6)} | {"s0": 0.1, "s1": 0.2}
    of = pd.Series({rater: "many" if rater[0] == "r" else "few" for rater in shares})
    groups = groups_of(followed(shares), of, repeats=20)
    assert [one.name for one in groups.groups] == ["many"]
    assert groups.people_in_small_groups == 2
    assert groups.worst_followed.value is None
    assert groups.worst_followed.too_few == "too few groups of 5 people (1 of 2)"
    few = satisfaction(followed({"r0": 0.5, "r1": 0.5}), repeats=20)
    assert few.gini.too_few.startswith("too few people with 10 answers")
