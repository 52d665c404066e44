"""Models of people against another package's values, against planted crowds, and on votes that say too little."""

import math
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from annotation.aggregating import consensus
from annotation.aggregating.comparing import Comparers, _code, _loss, infer_comparers, preferences_of
from annotation.aggregating.competence import competence
from annotation.aggregating.deciding import DECIDED_COLUMNS, Learned, decide, learn
from annotation.aggregating.inferring import Crowd, Shape, infer_crowd, truths_of
from annotation.aggregating.voting import p_plurality, strength_weights, trust_weights, weighted_consensus
from annotation.models import Method

NAN = float("nan")
# Thirty pairs, five people, a letter an answer; the posteriors of crowd-kit 1.4.2 after 300 rounds of each (`tol` below
# zero, since it takes the first step down of its bound for the end).
CROWD = (
    "b-bab babaa abb-a babba bbbaa -baba -b-aa a--aa aa-ab b-bba -abbb aaabb --aaa abbaa bbbaa aabb- -bbbb b-bbb ababa"
    " bb-aa -aaab bbbab -abb- -aab- bb-ba b-bbb aaaba bbaaa babab bbaab"
)
CROWD_KIT: dict[Shape, dict[int, float]] = {
    "dawid_skene": {0: 0.0, 7: 0.185567},
    "one_coin": {0: 0.023133, 1: 0.028574, 2: 0.15906, 3: 0.073251, 4: 0.004108, 5: 0.339787, 6: 0.060715, 7: 0.477257},
}


def votes_of(words: str, **beside: Any) -> pd.DataFrame:
    """Return votes from words: a word a pair, a letter a person (a, b, t tie, n both bad, u unsure, - nothing)."""
    names = {"a": "a", "b": "b", "t": "tie", "n": "both_bad", "u": "unsure"}
    rows = [
        (f"p{pair:03}", f"r{rater}", names[letter])
        for pair, word in enumerate(words.split())
        for rater, letter in enumerate(word)
        if letter != "-"
    ]
    frame = pd.DataFrame(rows, columns=["pair_id", "rater_id", "choice"])
    return frame.assign(**{"group": frame["pair_id"], "strength": NAN, "shown_order": "ab", **beside})


def contenders_of(votes: pd.DataFrame) -> pd.DataFrame:
    """Return two responses of its own for every pair."""
    pairs = sorted(set(votes["pair_id"]))
    rows = [(pair, f"{pair} one", f"{pair} two", pair) for pair in pairs]
    return pd.DataFrame(rows, columns=["pair_id", "response_a", "response_b", "prompt_id"]).set_index("pair_id")


def decided(votes: pd.DataFrame, method: Method) -> pd.DataFrame:
    contenders = contenders_of(votes)
    return decide(votes, learn(method, votes, contenders), contenders)


class World:
    """Votes with a known truth: four careful people, two who favour a side, two who guess, one who answers reversed."""

    def __init__(self, seed: int, n: int = 200) -> None:
        rng = np.random.default_rng(seed)
        self.truth = pd.Series(rng.choice(["a", "b", "tie"], n, p=[0.45, 0.4, 0.15]), [f"p{i:03}" for i in range(n)])
        self.skill = [0.85 + 0.15 / 3] * 4 + [NAN, NAN, 1 / 3, 1 / 3, NAN]
        turned = {"a": "b", "b": "a", "tie": "tie"}
        rows = []
        for pair, true in self.truth.items():
            for person in rng.choice(9, 5, replace=False):
                guess = str(rng.choice(["a", "b", "tie"]))
                if person < 4:
                    said = true if rng.random() < 0.85 else guess
                elif person < 6:
                    said = "a" if rng.random() < 0.9 else true
                else:
                    said = guess if person < 8 else (turned[true] if rng.random() < 0.8 else true)
                rows.append((pair, f"r{person}", said))
        self.votes = pd.DataFrame(rows, columns=["pair_id", "rater_id", "choice"]).assign(strength=NAN)

    def right(self, choice: "pd.Series[Any]") -> float:
        return float((choice.reindex(self.truth.index) == self.truth).mean())


# --- Values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["dawid_skene", "one_coin"])
def test_posteriors_equal_those_of_crowd_kit(shape: Shape) -> None:
    votes = votes_of(CROWD)
    crowd = infer_crowd(votes, shape, smoothing=0.0, rounds=3000)
    assert crowd is not None
    found = truths_of(votes, crowd)
    assert found.sum(axis=1).to_numpy() == pytest.approx(1.0)
    for pair, value in CROWD_KIT[shape].items():
        assert found["a"].iloc[pair] == pytest.approx(value, abs=3e-6)


def test_no_guessing_crowd_nearby_is_likelier_than_the_one_found() -> None:
    votes = votes_of(CROWD)
    crowd = infer_crowd(votes, "mace", smoothing=0.0, rounds=3000)
    assert crowd is not None

    def likelihood(theta: dict[str, float], xi: dict[str, float], prior: float) -> float:
        total = 0.0
        for _, pair in votes.groupby("pair_id"):
            sides = {"a": prior, "b": 1 - prior}
            for truth in sides:
                for rater, said in zip(pair["rater_id"], pair["choice"], strict=True):
                    guess = xi[rater] if said == "a" else 1 - xi[rater]
                    sides[truth] *= theta[rater] * (said == truth) + (1 - theta[rater]) * guess
            total += math.log(sum(sides.values()))
        return total

    # says = theta I + (1 - theta) xi, so the column of an untrue answer gives (1 - theta) xi.
    theta = {rater: float(says[0, 0] - says[1, 0]) for rater, says in crowd.says.items()}
    xi = {rater: float(says[1, 0] / (1 - theta[rater])) for rater, says in crowd.says.items() if theta[rater] < 1}
    best = likelihood(theta, xi, float(crowd.prior[0]))
    rng = np.random.default_rng(0)
    for _ in range(25):
        near = {rater: min(1.0, max(0.0, value + rng.normal(0, 0.03))) for rater, value in theta.items()}
        moved = {rater: min(1.0, max(0.0, value + rng.normal(0, 0.03))) for rater, value in xi.items()}
        assert likelihood(near, moved, float(crowd.prior[0])) <= best + 0.02


def test_votes_by_strength_let_one_strong_vote_beat_a_weak_one_and_not_two_of_the_middle() -> None:
    votes = votes_of("ab abb abt", strength=[3.0, 1.0, 3.0, NAN, NAN, 1.0, 2.0, NAN])
    found = decided(votes, Method.STRENGTH)
    assert found["choice"].tolist() == ["a", "b", ""]
    assert found["prob_a"].tolist() == pytest.approx([3 / 4, 3 / 7, (1 + 1) / 5])
    # Of two votes 1.5 are for a, as strength counts.
    assert found["p_correct"].iloc[0] == pytest.approx(float(p_plurality(1.5, 2)))
    assert found["is_contested"].tolist() == [True, False, True]
    assert strength_weights(votes).tolist() == [3, 1, 3, 2, 2, 1, 2, 2]


def test_weights_are_the_share_of_votes_with_the_plurality() -> None:
    votes = votes_of("aab abb aaa bba")
    assert trust_weights(votes, smoothing=0.0).to_dict() == {"r0": 3 / 4, "r1": 1.0, "r2": 2 / 4}
    # Nine of twelve votes are with the plurality: one such vote is lent to everybody.
    assert trust_weights(votes)["r2"] == pytest.approx((2 + 0.75) / 5)
    found = weighted_consensus(votes_of("ab"), pd.Series([0.9, 0.4]))
    assert (found["choice"].iloc[0], found["agreement"].iloc[0]) == ("a", 0.5)


@pytest.mark.parametrize(("won", "of", "p"), [(1, 1, 0.75), (3, 3, 0.9375), (2, 3, 0.6875), (0, 0, 0.5)])
def test_the_chance_that_most_would_say_so(won: int, of: int, p: float) -> None:
    assert float(p_plurality(won, of)) == pytest.approx(p, abs=1e-12)


# --- Planted crowds -------------------------------------------------------------------------------------------------


def test_dawid_skene_beats_the_majority_where_people_have_habits() -> None:
    for seed in range(2):
        world = World(seed)
        majority = world.right(consensus(world.votes)["choice"])
        modelled = world.right(decided_crowd(world, Method.DAWID_SKENE)["choice"])
        assert modelled >= majority + 0.12
        assert modelled >= 0.9
        assert world.right(decided_crowd(world, Method.MACE)["choice"]) >= majority + 0.05


def decided_crowd(world: World, method: Method) -> pd.DataFrame:
    return decide(world.votes, learn(method, world.votes))


def test_stated_chances_of_a_right_label_are_kept() -> None:
    stated: list[float] = []
    right: list[bool] = []
    for seed in range(3):
        world = World(seed)
        found = decided_crowd(world, Method.DAWID_SKENE)
        labelled = found[found["choice"] != ""]
        stated += labelled["p_correct"].tolist()
        right += (labelled["choice"] == world.truth[labelled.index]).tolist()
    assert np.mean(stated) == pytest.approx(np.mean(right), abs=0.04)


def test_an_answer_against_most_votes_is_marked_and_contested_pairs_are() -> None:
    world = World(1)
    found = decided_crowd(world, Method.DAWID_SKENE)
    plain = consensus(world.votes)["choice"]
    assert found["is_contested"].equals(plain == "")
    against = (plain != "") & (found["choice"] != "") & (plain != found["choice"])
    assert against.sum() > 10
    assert found.loc[against, "suspected_flip"].all()
    # Marked rightly more often than not: most votes were wrong there.
    assert (world.truth[against[against].index] == found.loc[against, "choice"]).mean() > 0.7
    assert not decided(votes_of("aab"), Method.PLURALITY)["suspected_flip"].any()
    # Two of five is most votes, and most people would still say something else.
    assert decided(votes_of("aabtn"), Method.PLURALITY)["suspected_flip"].tolist() == [True]


def test_competence_covers_the_truth_and_tells_the_careful_from_the_guessing() -> None:
    covered = total = 0
    for seed in range(4):
        world = World(seed)
        found = competence(world.votes)
        for person, skill in enumerate(world.skill):
            one = found[f"r{person}"]
            assert one.low <= one.skill <= one.high
            assert one.n == (world.votes["rater_id"] == f"r{person}").sum()
            if not math.isnan(skill):
                covered += one.low <= skill <= one.high
                total += 1
        assert min(found[f"r{person}"].low for person in range(4)) > max(found[f"r{person}"].skill for person in (6, 7))
    assert covered >= 0.9 * total


def test_competence_needs_somebody_else_on_the_pair() -> None:
    assert competence(votes_of("a b a b")) == {}
    assert competence(votes_of("")) == {}
    found = competence(votes_of("aa- bb- a-- b-- --a"))
    assert set(found) == {"r0", "r1"}
    assert found["r0"].n == 2
    assert found["r0"].high - found["r0"].low > 0.5


# --- Noisy Bradley-Terry --------------------------------------------------------------------------------------------


def compared(seed: int = 2, prompts: int = 60) -> tuple[pd.DataFrame, pd.DataFrame, "pd.Series[Any]"]:
    """Return votes on all pairs of three responses a prompt; every fourth person mostly picks the one shown first."""
    rng = np.random.default_rng(seed)
    rows, pairs, truth = [], [], {}
    for prompt in range(prompts):
        scores = 1.5 * rng.normal(size=3)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            pair = f"{prompt:03}-{i}{j}"
            pairs.append((pair, f"{prompt:03}-{i}", f"{prompt:03}-{j}", f"{prompt:03}"))
            truth[pair] = "a" if scores[i] > scores[j] else "b"
            for person in rng.choice(12, 3, replace=False):
                order = str(rng.choice(["ab", "ba"]))
                ahead = 1 / (1 + math.exp(scores[j] - scores[i]))
                honest = "a" if rng.random() < ahead else "b"
                said = honest if rng.random() < (0.15 if person % 4 == 0 else 0.95) else order[0]
                rows.append((pair, f"{prompt:03}", f"r{person:02}", said, order))
    votes = pd.DataFrame(rows, columns=["pair_id", "group", "rater_id", "choice", "shown_order"]).assign(strength=NAN)
    contenders = pd.DataFrame(pairs, columns=["pair_id", "response_a", "response_b", "prompt_id"])
    return votes, contenders.set_index("pair_id"), pd.Series(truth)


def test_the_slope_of_the_comparisons_is_that_of_their_loss() -> None:
    votes, contenders, _ = compared(prompts=3)
    votes.loc[::5, "choice"], votes.loc[::4, "shown_order"] = "tie", ""
    coded = _code(votes, contenders)
    at = np.random.default_rng(0).normal(size=coded.n_responses + 1 + 4 * len(coded.raters)) / 2
    off = optimize.check_grad(lambda x: _loss(x, coded)[0], lambda x: _loss(x, coded)[1], at)
    assert off < 1e-4


def test_shared_responses_and_sides_of_the_screen_make_better_labels_than_most_votes() -> None:
    votes, contenders, truth = compared()
    learned = learn(Method.BRADLEY_TERRY, votes, contenders)
    found = decide(votes, learned, contenders)
    majority = (consensus(votes)["choice"] == truth).mean()
    assert (found["choice"] == truth).mean() >= majority + 0.03
    people = Comparers.from_json(learned.parameters)
    careless = [people.sincere[f"r{person:02}"] for person in (0, 4, 8)]
    assert max(careless) < 0.6 < 0.7 < min(people.sincere[f"r{person:02}"] for person in range(12) if person % 4)
    assert min(people.places[f"r{person:02}"][0] for person in (0, 4, 8)) > 0.7
    stated = found.loc[found["choice"] != "", "p_correct"].mean()
    assert stated == pytest.approx((found["choice"] == truth)[found["choice"] != ""].mean(), abs=0.08)


def test_a_prompt_alone_gets_the_labels_it_gets_among_all() -> None:
    votes, contenders, _ = compared()
    learned = learn(Method.BRADLEY_TERRY, votes, contenders)
    whole = decide(votes, learned, contenders)
    some = contenders[contenders["prompt_id"] == "007"]
    alone = decide(votes[votes["pair_id"].isin(some.index)], learned, some)
    assert alone["choice"].tolist() == whole.loc[alone.index, "choice"].tolist()
    for name in ("prob_a", "p_correct"):
        assert alone[name].to_numpy() == pytest.approx(whole.loc[alone.index, name].to_numpy(), abs=1e-4)


def test_three_to_one_in_a_circle_is_surer_than_alone() -> None:
    votes = votes_of("aaab aaab aaab")
    line = pd.DataFrame(
        {"response_a": ["x", "y", "x"], "response_b": ["y", "z", "z"], "prompt_id": "p"},
        index=pd.Index(["p000", "p001", "p002"], name="pair_id"),
    )
    comparers = infer_comparers(votes, line)
    assert comparers is not None
    together = preferences_of(votes, line, comparers)
    alone = preferences_of(votes, contenders_of(votes), comparers)
    assert together["p_a"].iloc[2] > alone["p_a"].iloc[2]
    turned = line.assign(response_a=["x", "y", "z"], response_b=["y", "z", "x"])
    assert preferences_of(votes, turned, comparers)["p_a"].max() < alone["p_a"].min()


# --- Every method ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ("", []),
        ("u uu", []),
        ("a b t", ["a", "b", None]),
        ("aaa aaa aaa", ["a", "a", "a"]),
        ("tt tt tt", ["tie", "tie", "tie"]),
        ("nn nn tn", ["both_bad", "both_bad", None]),
        ("a-- -b- --t", [None, None, None]),
        ("aab- -bba aa-a bbb-", ["a", "b", "a", "b"]),
    ],
)
def test_votes_that_say_little_are_decided_by_every_method(method: Method, words: str, choices: list[Any]) -> None:
    found = decided(votes_of(words), method)
    assert tuple(found.columns) == DECIDED_COLUMNS
    answered = [choice for choice in choices if choice is not None]
    assert [choice for choice, told in zip(found["choice"], choices, strict=True) if told is not None] == answered
    known = found.loc[found["choice"] != "", "p_correct"]
    assert known.between(0.0, 1.0).all()
    assert found["p_correct"].isna().equals(found["choice"] == "")
    assert found["prob_a"].between(0.0, 1.0).all()


@pytest.mark.parametrize("method", Method)
def test_swapping_the_sides_mirrors_the_answers_of_every_method(method: Method) -> None:
    world = World(3, n=30)
    turned = {"a": "b", "b": "a"}
    votes = world.votes.assign(shown_order="ab", group=world.votes["pair_id"])
    mirrored = votes.assign(choice=votes["choice"].map(turned).fillna(votes["choice"]), shown_order="ba")
    one, two = decided(votes, method), decided(mirrored, method)
    assert two["choice"].map(turned).fillna(two["choice"]).tolist() == one["choice"].tolist()
    assert (1 - two["prob_a"]).to_numpy() == pytest.approx(one["prob_a"].to_numpy(), abs=2e-3)


@pytest.mark.parametrize("method", Method)
def test_what_was_learned_is_the_same_once_kept_and_whatever_the_order_of_votes(method: Method) -> None:
    votes = World(5, n=25).votes.assign(shown_order="ab")
    contenders = contenders_of(votes)
    learned = learn(method, votes, contenders)
    for shape in get_args(Shape):
        if method == shape:
            assert Crowd.from_json(learned.parameters).as_json() == learned.parameters
    found = decide(votes, learned, contenders)
    again = decide(votes, Learned(method, learned.parameters), contenders)
    pd.testing.assert_frame_equal(found, again)
    shuffled = votes.sample(frac=1.0, random_state=1).reset_index(drop=True)
    other = decide(shuffled, learn(method, shuffled, contenders), contenders)
    assert other["choice"].tolist() == found["choice"].tolist()


@pytest.mark.parametrize("method", Method)
def test_somebody_new_counts_as_an_average_person(method: Method) -> None:
    world = World(6, n=30)
    votes = world.votes.assign(shown_order="ab")
    learned = learn(method, votes, contenders_of(votes))
    late = votes_of("aa").assign(rater_id=["new", "newer"])
    found = decide(late, learned, contenders_of(late))
    assert found["choice"].tolist() == ["a"]
