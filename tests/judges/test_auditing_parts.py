"""The parts of an audit, each against a count by hand, a brute force or another implementation."""

from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from annotation.aggregating import consensus
from annotation.agreeing import Figure, Interval
from judges.auditing.conflicts import comparison_sides, conflicts, score_sides
from judges.auditing.coverage import bands, coverage_curve
from judges.auditing.cycles import cycles, kind_of_triple
from judges.auditing.favour import length_coefficients, longer_gain, self_preference
from judges.auditing.position import order_test
from judges.auditing.probes import benjamini_hochberg, benjamini_yekutieli, probes_of
from judges.auditing.reading import Ground
from judges.auditing.repeats import repeat_stability, sample_stability
from judges.auditing.replacing import alt_test

NAMES = {1: "a", 0: "tie", -1: "b"}


# --- Transitivity ---------------------------------------------------------------------------------------------------


def is_weak_order(xy: int, yz: int, xz: int) -> bool:
    """Say whether any ranking with ties of three things gives these comparisons."""
    return any(
        (np.sign(x - y), np.sign(y - z), np.sign(x - z)) == (xy, yz, xz) for x, y, z in product(range(3), repeat=3)
    )


def test_of_27_triples_13_are_weak_orders_6_circular_and_8_contradict_an_equality() -> None:
    kinds = {signs: kind_of_triple(*signs) for signs in product((1, 0, -1), repeat=3)}
    assert {kind: list(kinds.values()).count(kind) for kind in ("order", "circular", "equality")} == {
        "order": 13,
        "circular": 6,
        "equality": 8,
    }
    assert all((kind == "order") == is_weak_order(*signs) for signs, kind in kinds.items())
    # The direct comparison is strictly against the chain.
    assert {signs for signs, kind in kinds.items() if kind == "circular"} == {
        (xy, yz, -sign) for sign in (1, -1) for xy in (sign, 0) for yz in (sign, 0) if xy or yz
    }


def test_violation_of_a_triple_does_not_depend_on_the_order_of_its_responses() -> None:
    for signs in product((1, 0, -1), repeat=3):
        matrix = {(0, 1): signs[0], (1, 2): signs[1], (0, 2): signs[2]}
        matrix |= {(j, i): -sign for (i, j), sign in matrix.items()}
        assert (
            len(
                {
                    kind_of_triple(matrix[x, y], matrix[y, z], matrix[x, z]) == "order"
                    for x, y, z in permutations(range(3))
                }
            )
            == 1
        )


def compared(signs: dict[tuple[str, int, int], int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return labels and pairs of comparisons by (prompt, response, response)."""
    labels, pairs = [], []
    for number, ((prompt, i, j), sign) in enumerate(signs.items()):
        labels.append((f"{number}", prompt, NAMES[sign], np.nan))
        pairs.append((f"{number}", prompt, f"{prompt}{i}", f"{prompt}{j}"))
    return (
        pd.DataFrame(labels, columns=["pair_id", "group", "side", "prob_a"]),
        pd.DataFrame(pairs, columns=["pair_id", "prompt", "response_a", "response_b"]).set_index("pair_id"),
    )


def random_comparisons(seed: int, *, missing: float) -> dict[tuple[str, int, int], int]:
    rng = np.random.default_rng(seed)
    return {
        # Either response may be stored first.
        ((f"p{prompt:02d}", i, j) if rng.random() < 0.5 else (f"p{prompt:02d}", j, i)): int(rng.integers(-1, 2))
        for prompt in range(15)
        for i, j in combinations(range(6), 2)
        if rng.random() >= missing
    }


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_ntr_equals_a_brute_force_over_complete_sets(missing: float) -> None:
    signs = random_comparisons(1, missing=missing)
    known = {**signs, **{(prompt, j, i): -sign for (prompt, i, j), sign in signs.items()}}
    found = cycles(*compared(signs), seed=0)
    for k in (3, 4, 5):
        sets = violated = 0
        for prompt in {prompt for prompt, _, _ in signs}:
            for chosen in combinations(range(6), k):
                if all((prompt, i, j) in known for i, j in combinations(chosen, 2)):
                    sets += 1
                    violated += any(
                        not is_weak_order(known[prompt, x, y], known[prompt, y, z], known[prompt, x, z])
                        for x, y, z in combinations(chosen, 3)
                    )
        figure = (found.violated_3, found.violated_4, found.violated_5)[k - 3]
        assert (found.sets[str(k)], figure.n) == (sets, sets)
        assert figure.value == pytest.approx(violated / sets)
    assert found.circular.value is not None
    assert found.equality.value is not None
    assert found.circular.value + found.equality.value == pytest.approx(1.0)


def test_kendall_zeta_and_curl_of_known_tournaments() -> None:
    def found(signs: dict[tuple[int, int], int]) -> tuple[float | None, float | None]:
        many = {(f"p{prompt:02d}", i, j): sign for prompt in range(12) for (i, j), sign in signs.items()}
        result = cycles(*compared(many), seed=0)
        return result.zeta.value, result.curl.value

    circle = {(0, 1): 1, (1, 2): 1, (0, 2): -1}
    assert found(circle) == pytest.approx((0.0, 1.0))
    # A strict ranking of equal steps: the potential explains all but the equal log-odds of one step and of two.
    ranking = {(0, 1): 1, (1, 2): 1, (0, 2): 1}
    zeta, curl = found(ranking)
    assert zeta == 1.0
    assert curl == pytest.approx(1 / 9)
    # Five in a ring: every one beats the next two, which has the most circles five can have.
    ring = {(i, j): (1 if (j - i) % 5 in {1, 2} else -1) for i, j in combinations(range(5), 2)}
    assert found(ring)[0] == pytest.approx(0.0)


def test_sets_that_were_not_compared_throughout_do_not_count() -> None:
    chain = {(f"p{prompt:02d}", i, i + 1): 1 for prompt in range(12) for i in range(4)}
    found = cycles(*compared(chain), seed=0)
    assert found.sets == {"3": 0, "4": 0, "5": 0}
    assert found.violated_3.too_few == "too few sets of 3 responses compared throughout (0 of 10)"


# --- Scores against comparisons -------------------------------------------------------------------------------------


def test_conflict_is_every_case_in_which_score_and_comparison_are_not_the_same_side() -> None:
    cases = list(product(("a", "tie", "b"), repeat=2)) * 3
    index = pd.Index([str(n) for n in range(len(cases))])
    scored, answered = (pd.Series(side, index=index) for side in zip(*cases, strict=True))
    (found,) = conflicts({"stated": scored}, {"orders": answered}, pd.Series(index, index=index), 0, against="x")
    assert found.conflict.value == pytest.approx(6 / 9)
    assert (found.conflict.n, found.against) == (27, "x")


def test_scores_are_read_from_the_distribution_by_mode_expectation_and_sharpened() -> None:
    rows = [
        # The mode ties, the expectation prefers b, sharpened too.
        ("p", "a", {"7": 0.6, "3": 0.4}, 7.0, np.nan),
        ("p", "b", {"7": 0.6, "8": 0.4}, np.nan, 7.0),
        # The mode prefers a, the expectation b.
        ("q", "a", {"8": 0.4, "1": 0.3, "2": 0.3}, 8.0, np.nan),
        ("q", "b", {"7": 0.6, "6": 0.4}, np.nan, 7.0),
    ]
    verdicts = pd.DataFrame(rows, columns=["pair_id", "order", "distribution", "score_a", "score_b"])
    found = {name: sides.to_dict() for name, sides in score_sides(verdicts).items()}
    assert found["stated"] == {"p": "tie", "q": "a"}
    assert found["mode"] == {"p": "tie", "q": "a"}
    assert found["expectation"] == {"p": "b", "q": "b"}


def test_comparisons_are_reconciled_averaged_or_summed_by_likelihood() -> None:
    rows = [
        # Contradicts itself, surer of a.
        ("p", "ab", "a", 0.9, {"a": 0.9, "tie": 0.0, "b": 0.1}),
        ("p", "ba", "b", 0.4, {"a": 0.4, "tie": 0.0, "b": 0.6}),
        # Says a twice, but the tie is the likeliest over both.
        ("q", "ab", "a", 0.62, {"a": 0.5, "tie": 0.24, "b": 0.26}),
        ("q", "ba", "tie", 0.4, {"a": 0.05, "tie": 0.7, "b": 0.25}),
        # One order only.
        ("r", "ab", "a", 1.0, {}),
    ]
    calls = pd.DataFrame(rows, columns=["pair_id", "order", "choice", "prob_a", "distribution"])
    found = {name: sides.to_dict() for name, sides in comparison_sides(calls, tie_band=0.05).items()}
    assert found["orders"] == {"p": "tie", "q": "tie"}
    assert found["mean"] == {"p": "a", "q": "tie"}
    assert found["likelihood"] == {"p": "a", "q": "tie"}
    assert comparison_sides(calls.iloc[4:], tie_band=0.05) == {}


# --- Repeats and order ----------------------------------------------------------------------------------------------


def test_stability_of_samples_is_the_chance_that_two_of_them_agree() -> None:
    # Of five samples four said a and one b, with the prior of a half each: 6 of 10 couples agree.
    shares = {"a": 4.5 / 6, "tie": 0.0, "b": 1.5 / 6}
    rows = [(f"{n}", "ab", shares, 5, "samples") for n in range(12)]
    rows += [("x", "ab", {"a": 0.9, "b": 0.1}, 1, "logprobs"), ("y", "ab", shares, 5, "logprobs")]
    calls = pd.DataFrame(rows, columns=["group", "order", "distribution", "samples", "prob_from"])
    figure = sample_stability(calls, 0)
    assert figure.value == pytest.approx(0.6)
    assert figure.n == 12
    ratings = calls.assign(order="a", distribution=pd.Series([{"7": 0.8, "8": 0.2}] * 14))
    assert sample_stability(ratings, 0).value == pytest.approx(0.6)


def test_repeats_compare_the_same_pair_in_the_same_order() -> None:
    rows = [(f"{n}", order, "a", f"{n}") for n in range(10) for order in ("ab", "ba")]
    calls = pd.DataFrame(rows, columns=["pair_id", "order", "side", "group"])
    again = calls.assign(side=["a" if order == "ab" else "b" for order in calls["order"]])
    assert repeat_stability(calls, again, 0)[:2] == (0.5, 20)
    assert repeat_stability(calls, again[again["order"] == "ab"], 0)[:2] == (1.0, 10)
    assert repeat_stability(calls, again.iloc[:0], 0).too_few.endswith("(0 of 10)")


def test_mcnemar_counts_flips_to_the_first_and_to_the_second() -> None:
    said = [("a", "b")] * 9 + [("b", "a")] * 1 + [("a", "a")] * 20 + [("tie", "a")] * 5
    rows = [
        (f"{n:02d}", order, side, first)
        for n, sides in enumerate(said)
        for order, side, first in zip(("ab", "ba"), sides, ("a", "b"), strict=True)
    ]
    found = order_test(pd.DataFrame(rows, columns=["pair_id", "order", "side", "first"]))
    assert (found.n, found.to_first, found.to_second, found.fairness) == (30, 9, 1, -0.8)
    # Two-sided binomial: 2 (1 + 10) / 2 ** 10.
    assert found.p == pytest.approx(22 / 1024)


# --- Favour ---------------------------------------------------------------------------------------------------------


def ground_of(pairs: list[tuple[float, float, str, str]], people: list[list[str]]) -> Ground:
    index = pd.Index([f"{n:03d}" for n in range(len(pairs))], name="pair_id")
    frame = pd.DataFrame(pairs, columns=["length_a", "length_b", "family_a", "family_b"], index=index)
    frame = frame.assign(group=index, prompt=index, response_a=index + "a", response_b=index + "b")
    votes = pd.DataFrame(
        [
            (pair, f"r{n}", vote, np.nan)
            for pair, cast in zip(index, people, strict=True)
            for n, vote in enumerate(cast)
        ],
        columns=["pair_id", "rater_id", "choice", "strength"],
    )
    return Ground(votes, consensus(votes), frame, 0)


def labels_of(ground: Ground, sides: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame({"pair_id": ground.pairs.index, "side": sides, "group": ground.pairs["group"].to_numpy()})
    return frame.assign(longer=frame["pair_id"].map(ground.longer))


def test_self_preference_is_the_win_rate_in_the_judge_less_that_in_people_on_the_same_pairs() -> None:
    own_first, own_second = (1.0, 1.0, "openai", "meta"), (1.0, 1.0, "google", "openai")
    others, both, unknown = (1.0, 1.0, "meta", "google"), (1.0, 1.0, "openai", "openai"), (1.0, 1.0, "openai", "")
    pairs = [own_first] * 10 + [own_second] * 10 + [others, both, unknown] * 5
    people = [["a", "b"]] * 10 + [["a", "a", "b"]] * 10 + [["a"]] * 15
    ground = ground_of(pairs, people)
    labels = labels_of(ground, ["a"] * 5 + ["tie"] * 5 + ["b"] * 10 + ["a"] * 15)
    found = self_preference(labels, "openai", ground)
    assert found.own_family_share.value == pytest.approx(20 / 35)
    assert found.win_rate.n == 20
    assert found.win_rate.value == pytest.approx((5 + 2.5 + 10) / 20)
    assert found.people_win_rate.value == pytest.approx((10 * 0.5 + 10 / 3) / 20)
    assert found.gain.value == pytest.approx(17.5 / 20 - (5 + 10 / 3) / 20)
    assert self_preference(labels, "", ground).gain.too_few == "the family of its model is not known"
    assert self_preference(labels, "qwen", ground).gain.too_few.endswith("(0 of 10)")


def test_longer_gain_leaves_out_what_people_did_not_judge() -> None:
    ground = ground_of([(9.0, 1.0, "", "")] * 20 + [(5.0, 5.0, "", "")] * 5, [["a"], ["b"]] * 10 + [["a"]] * 5)
    labels = labels_of(ground, ["a"] * 25)
    assert longer_gain(labels, ground)[:2] == (0.5, 20)
    fewer = ground._replace(people=ground.people.iloc[:12])
    assert longer_gain(labels, fewer)[:2] == (0.5, 12)


def test_length_coefficient_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(5)
    lengths = rng.uniform(10, 1000, (80, 2))
    ground = ground_of([(a, b, "", "") for a, b in lengths], [["a"], ["b"]] * 40)
    pull = np.tanh((lengths[:, 0] - lengths[:, 1]) / np.sqrt(((lengths[:, 0] - lengths[:, 1]) ** 2).mean()))
    sides = ["a" if rng.random() < 1 / (1 + np.exp(-1.5 * x)) else "b" for x in pull]
    found = length_coefficients(labels_of(ground, sides), ground).judge
    assert found.value is not None
    assert found.interval is not None

    def loss(phi: float) -> float:
        toward = pull * np.where(np.array(sides) == "a", 1.0, -1.0)
        return float(np.logaddexp(0.0, -phi * toward).sum())

    grid = np.linspace(found.value - 1, found.value + 1, 2001)
    assert found.value == pytest.approx(grid[np.argmin([loss(phi) for phi in grid])], abs=0.002)
    # Clusters of one: close to the curvature's standard error.
    curvature = (loss(found.value + 0.01) - 2 * loss(found.value) + loss(found.value - 0.01)) / 0.01**2
    assert (found.interval.high - found.interval.low) / 3.92 == pytest.approx(curvature**-0.5, rel=0.15)
    # Swapping every pair leaves it as it is.
    swapped = ground_of([(b, a, "", "") for a, b in lengths], [["a"], ["b"]] * 40)
    other = length_coefficients(labels_of(swapped, ["b" if one == "a" else "a" for one in sides]), swapped).judge
    assert other.value == pytest.approx(found.value)


# --- Confidence -----------------------------------------------------------------------------------------------------


def decided_of(confident: list[tuple[float, bool]]) -> pd.DataFrame:
    rows = [(prob, "a" if hit else "b", str(n)) for n, (prob, hit) in enumerate(confident)]
    return pd.DataFrame(rows, columns=["prob_a", "people", "group"])


def test_coverage_curve_keeps_the_surest_first_and_equal_confidence_together() -> None:
    rows = [(0.95, True)] * 30 + [(0.75, True)] * 15 + [(0.75, False)] * 15 + [(0.55, False)] * 40
    curve = coverage_curve(decided_of(rows), 0)
    points = [(point.coverage, round(point.confidence, 2), point.right.value) for point in curve.points]
    assert points == [
        (0.3, 0.95, 1.0),
        (0.6, 0.75, pytest.approx(45 / 60)),
        (1.0, 0.55, pytest.approx(45 / 100)),
    ]
    assert curve.area.value == pytest.approx(0.3 * 1.0 + 0.3 * 0.75 + 0.4 * 0.45)
    assert curve.area.interval is not None
    by_band = {(band.low, band.high): band.right for band in bands(decided_of(rows), 0)}
    assert (by_band[0.95, 1.0].value, by_band[0.95, 1.0].n) == (1.0, 30)
    assert (by_band[0.7, 0.8].value, by_band[0.7, 0.8].n) == (0.5, 30)
    assert (by_band[0.5, 0.6].value, by_band[0.9, 0.95].n) == (0.0, 0)
    assert coverage_curve(decided_of(rows[:20]), 0).area.too_few == "too few labels (20 of 50)"


# --- Tests ----------------------------------------------------------------------------------------------------------


def test_corrections_equal_scipys() -> None:
    p_values = [0.01, 0.04, 0.03, 0.5, 0.002, 0.04]
    assert benjamini_hochberg(p_values) == pytest.approx(list(false_discovery_control(p_values)))
    assert benjamini_yekutieli(p_values) == pytest.approx(list(false_discovery_control(p_values, method="by")))
    assert benjamini_hochberg([0.02, None, 0.5]) == [pytest.approx(0.04), None, pytest.approx(0.5)]


def test_flag_takes_an_effect_beyond_its_margin_that_survives_the_correction() -> None:
    none = Figure(None, 0, too_few="too few")

    def probes(first_shown: Figure, longer: Figure = none) -> dict[str, Any]:
        found = probes_of(first_shown=first_shown, longer=longer, own_family=none, cycles=none)
        return {one.name: one for one in found}

    def shown(value: float, error: float) -> Figure:
        return Figure(value, 400, Interval(value - 1.959963985 * error, value + 1.959963985 * error))

    # 5.2 points beyond one half are 0.2 beyond the margin of 5: certainly there, hardly larger than what is let pass.
    assert not probes(shown(0.552, 0.002))["position"].flagged
    found = probes(shown(0.65, 0.02))["position"]
    assert found.flagged
    assert found.p == pytest.approx(5.7e-7, rel=0.01)
    assert found.detectable == pytest.approx(0.05 + 2.8016 * 0.02, abs=1e-5)
    assert probes(shown(0.35, 0.02))["position"].in_words == (
        "picks the response shown first 15 points less often than half the time"
    )
    # Alone it would be a flag (p = 0.03), beside another test without an effect it is none.
    alone = shown(0.55 + 2.17 * 0.02, 0.02)
    assert probes(alone)["position"].flagged
    assert not probes(alone, shown(0.0, 0.02))["position"].flagged


def test_detectable_effect_is_that_of_four_samples_in_five() -> None:
    # A standard error of one point shows 2.8 points.
    figure = Figure(0.5, 2500, Interval(0.5 - 0.0195996, 0.5 + 0.0195996))
    assert figure.detectable == pytest.approx(0.028016, abs=1e-5)
    assert Figure(0.5, 10).detectable is None
    assert set(figure.as_dict()) == {"value", "n", "low", "high", "detectable", "too_few"}


def people_and_judge(seed: int, *, judge_right: float, person_right: float, n: int = 60) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(["a", "b"], n)

    def answers(right: float) -> list[str]:
        return [side if rng.random() < right else {"a": "b", "b": "a"}[side] for side in truth]

    votes = pd.DataFrame(
        [(f"{n}", f"r{person}", one) for person in range(3) for n, one in enumerate(answers(person_right))],
        columns=["pair_id", "rater_id", "choice"],
    )
    return pd.DataFrame({"pair_id": [f"{n}" for n in range(n)], "side": answers(judge_right)}), votes


def test_alt_test_passes_a_judge_as_good_as_people_and_fails_a_coin() -> None:
    good = alt_test(*people_and_judge(1, judge_right=0.95, person_right=0.8), 0.1)
    assert (good.passed, good.winning_rate, good.n_people) == (True, 1.0, 3)
    assert good.advantage is not None
    assert good.advantage > 0.8
    coin = alt_test(*people_and_judge(2, judge_right=0.5, person_right=0.9), 0.1)
    assert (coin.passed, coin.winning_rate) == (False, 0.0)
    too_few = alt_test(*people_and_judge(1, judge_right=0.9, person_right=0.9, n=29), 0.1)
    assert too_few.passed is None
    assert too_few.too_few == "too few people with 30 shared pairs (0 of 3)"


def test_alt_test_counts_as_the_paper_defines() -> None:
    labels, votes = people_and_judge(3, judge_right=0.8, person_right=0.7)
    table = votes.pivot(index="pair_id", columns="rater_id", values="choice")
    judge = labels.set_index("pair_id")["side"].reindex(table.index)
    found = alt_test(labels, votes, 0.15)
    for person, test in zip(table.columns, found.people, strict=True):
        others = table.drop(columns=person)
        by_judge = others.eq(judge, axis=0).mean(axis=1)
        by_person = others.eq(table[person], axis=0).mean(axis=1)
        assert test.n == 60
        assert test.judge_wins == pytest.approx((by_judge >= by_person).mean())
        assert test.person_wins == pytest.approx((by_person >= by_judge).mean())
        behind = (by_person >= by_judge).astype(float) - (by_judge >= by_person).astype(float)
        t = (behind.mean() - 0.15) / (behind.std(ddof=1) / np.sqrt(60))
        from scipy.stats import t as student

        assert test.p == pytest.approx(student.cdf(t, 59))


def test_alt_test_ignores_pairs_without_another_person() -> None:
    labels, votes = people_and_judge(1, judge_right=0.95, person_right=0.9)
    alone = votes[(votes["rater_id"] == "r0") | (votes["pair_id"].astype(int) < 40)]
    assert [person.n for person in alt_test(labels, alone, 0.1).people] == [40, 40, 40]
