"""People who differ in taste are found, people who differ in care are not taken for them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from annotation.agreeing.types import heterogeneity, types_of

Skills = Callable[[np.random.Generator], "np.ndarray[tuple[int], np.dtype[np.float64]]"]
PEOPLE = 20


def crowd(seed: int, *, opposed: float = 0.0, skills: Skills | None = None, ambiguous: float = 0.0) -> pd.DataFrame:
    """Return votes of 20 people with 40 each, five a pair; every other one is opposed on a share of pairs."""
    rng = np.random.default_rng(seed)
    pairs, each = 160, 5
    truth, against = rng.integers(0, 2, pairs), rng.random(pairs) < opposed
    split = np.where(rng.random(pairs) < ambiguous, rng.uniform(0.3, 0.7, pairs), np.nan)
    right = np.full(PEOPLE, 0.9) if skills is None else skills(rng)
    rows, load = [], np.zeros(PEOPLE)
    for pair in range(pairs):
        who = np.lexsort((rng.random(PEOPLE), load))[:each]
        load[who] += 1
        for rater in who:
            mine = truth[pair] ^ (against[pair] and rater % 2)
            said = mine if rng.random() < right[rater] else 1 - mine
            if not np.isnan(split[pair]):
                said = int(rng.random() < split[pair])
            rows.append((f"p{pair:03}", f"g{pair // 2}", f"r{rater:02}", "ab"[said]))
    return pd.DataFrame(rows, columns=["pair_id", "group", "rater", "choice"])


def test_the_statistic_is_that_of_tables_of_people_by_pairs() -> None:
    """Products of two people's answers are summed over the pairs they share; here by whole tables, zeros and all."""
    votes = crowd(5, opposed=0.3)
    lean = votes["choice"].map({"a": 1.0, "b": -1.0})
    answers = (lean - lean.mean()).groupby([votes["rater"], votes["pair_id"]]).sum().unstack().to_numpy()
    there = np.isfinite(answers).astype(float)
    answers = np.nan_to_num(answers)
    shared, product = there @ there.T, answers @ answers.T
    np.fill_diagonal(shared, 0.0)
    np.fill_diagonal(product, 0.0)
    follows = np.full(PEOPLE, np.sqrt(product.sum() / shared.sum()))
    for _ in range(30):
        follows = (follows + (product @ follows) / (shared @ follows**2)) / 2
    both = np.outer(follows, follows)
    spread = shared * np.maximum(((answers**2).sum() / there.sum()) ** 2 - both**2, 0.05)
    together = np.divide(product - shared * both, np.sqrt(spread), out=np.zeros_like(both), where=shared > 0)
    assert heterogeneity(votes, draws=1).statistic == pytest.approx(np.linalg.eigvalsh(together)[-1])


def uneven(rng: np.random.Generator) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return rng.uniform(0.55, 0.98, PEOPLE)


def with_guessers(rng: np.random.Generator) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.where(np.arange(PEOPLE) < 5, 0.5, 0.92)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_groups_opposed_on_a_third_of_pairs_are_found_and_their_people_placed(seed: int) -> None:
    found = types_of(crowd(seed, opposed=0.3), seed=seed)
    assert found.test.p is not None
    assert found.test.p < 0.01
    assert found.k == 2
    of = found.chances.argmax(axis=1)
    same = (of == np.arange(PEOPLE) % 2).mean()
    assert max(same, 1 - same) >= 0.9
    assert found.chances.sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("skills", [None, uneven, with_guessers], ids=["alike", "uneven", "guessers"])
def test_people_of_one_taste_are_one_type_however_careful_they_are(seed: int, skills: Skills | None) -> None:
    found = types_of(crowd(seed, skills=skills), seed=seed, draws=199)
    assert found.test.p is not None
    assert found.test.p > 0.01
    assert found.k == 1


def test_the_order_of_rows_changes_nothing_and_the_seed_decides() -> None:
    votes = crowd(0, opposed=0.3)
    one, again = types_of(votes, seed=3), types_of(votes.sample(frac=1.0, random_state=1), seed=3)
    assert one.test == again.test
    assert one.chances.round(9).tolist() == again.chances.round(9).tolist()


def test_few_people_or_one_answer_have_no_test_but_a_reason() -> None:
    votes = crowd(0)
    few = heterogeneity(votes[votes["rater"] < "r03"])
    assert few.p is None
    assert few.too_few.startswith("too few people with 10 answers on shared pairs")
    alike = heterogeneity(votes.assign(choice="a"))
    assert (alike.p, alike.too_few) == (None, "everybody gave one answer on every pair")


@pytest.mark.slow
def test_opposed_groups_are_found_in_95_of_100_seeds_and_placed() -> None:
    found = [types_of(crowd(seed, opposed=0.3), seed=seed) for seed in range(100)]
    assert sum(one.test.p is not None and one.test.p < 0.01 for one in found) >= 95
    placed = []
    for one in found:
        same = (one.chances.argmax(axis=1) == np.arange(PEOPLE) % 2).mean()
        placed.append(max(same, 1 - same) if one.k > 1 else 0.5)
    assert np.mean(placed) >= 0.9


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("skills", "ambiguous"),
    [(None, 0.0), (uneven, 0.0), (None, 0.4), (with_guessers, 0.0)],
    ids=["alike", "uneven", "ambiguous pairs", "guessers"],
)
def test_one_taste_is_rejected_in_6_of_100_seeds_at_most(skills: Skills | None, ambiguous: float) -> None:
    """At 5 %; the report asks for 1 %."""
    votes = [crowd(1000 + seed, skills=skills, ambiguous=ambiguous) for seed in range(100)]
    p = np.array([heterogeneity(one, seed=seed).p for seed, one in enumerate(votes)], dtype=float)
    assert (p < 0.05).mean() <= 0.06
    assert (p < 0.01).mean() <= 0.03
