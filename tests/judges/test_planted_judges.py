"""Judges with a bias of known size: the audit finds it, inside its interval, and a clean judge raises no flag.

Everything here is made up from a seed. 200 prompts have three responses each, of three makers' models of different
quality and of any length; all three pairs of a prompt are compared, three people vote on each. People prefer by quality
alone (Bradley-Terry), and so does the clean judge: it perceives quality with Gumbel noise, which gives the very same
probabilities and never a circle.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from annotation.aggregating import consensus
from annotation.agreeing import Figure
from annotation.models import Project
from judges.auditing import judge_audit, judge_card
from judges.auditing.cycles import cycles
from judges.auditing.favour import length_coefficients, longer_preferred, self_preference
from judges.auditing.figures import with_ground, with_sides
from judges.auditing.position import position
from judges.auditing.probes import bias_probes
from judges.auditing.reading import Ground
from tests.builders import make_pair, make_project, make_prompt
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = pytest.mark.either_database

PROMPTS = 200
FAMILIES = ("openai", "anthropic", "meta")
QUALITY = {"openai": 0.3, "anthropic": 0.0, "meta": -0.3}
PEOPLE = 3
FIRST_SHARE = 0.4
LENGTH_PULL = 2.0
OWN_GAIN = 0.10
CIRCLES = 0.15
SLIP = 0.01

Rng = np.random.Generator


class World(NamedTuple):
    """A ground of pairs and people; `chance` is P(a is better), `winner` what a judge of quality alone says."""

    ground: Ground
    chance: "pd.Series[float]"
    winner: "pd.Series[Any]"


def world_of(rng: Rng) -> World:
    pairs, chances, winners = [], [], []
    for prompt in range(PROMPTS):
        quality = np.array([QUALITY[family] for family in FAMILIES]) + rng.normal(0.0, 0.4, 3)
        perceived = quality + rng.gumbel(size=3)
        length = np.exp(rng.normal(6.0, 0.6, 3))
        for one, two in combinations(range(3), 2):
            a, b = (one, two) if rng.random() < 0.5 else (two, one)
            pairs.append(
                (f"p{prompt}", f"{prompt}-{a}", f"{prompt}-{b}", length[a], length[b], FAMILIES[a], FAMILIES[b])
            )
            chances.append(1.0 / (1.0 + np.exp(quality[b] - quality[a])))
            winners.append("a" if perceived[a] > perceived[b] else "b")
    columns = ["prompt", "response_a", "response_b", "length_a", "length_b", "family_a", "family_b"]
    index = pd.Index([f"{number:05d}" for number in range(len(pairs))], name="pair_id")
    frame = pd.DataFrame.from_records(pairs, columns=columns, index=index)
    frame["group"] = frame["prompt"]
    # Room for ten points more on either side.
    chance = pd.Series(chances, index=index).clip(0.05 + OWN_GAIN, 0.95 - OWN_GAIN)
    votes = pd.concat(
        pd.DataFrame(
            {
                "pair_id": index,
                "group": frame["group"].to_numpy(),
                "rater_id": f"person {person}",
                "choice": np.where(rng.random(len(index)) < chance, "a", "b"),
                "strength": np.nan,
            }
        )
        for person in range(PEOPLE)
    ).reset_index(drop=True)
    return World(Ground(votes, consensus(votes), frame, 0), chance, pd.Series(winners, index=index))


class Judged(NamedTuple):
    calls: pd.DataFrame
    labels: pd.DataFrame


def asked(world: World, ab: "pd.Series[Any]", ba: "pd.Series[Any]") -> Judged:
    """Return the frames of a judge that said `ab` and `ba` (stored sides) in the two orders."""
    ground = world.ground
    said = pd.concat([ab.rename("choice").to_frame().assign(order="ab"), ba.to_frame("choice").assign(order="ba")])
    verdicts = said.reset_index(names="pair_id")
    verdicts["group"] = verdicts["pair_id"].map(ground.pairs["group"])
    prob_a = ((ab == "a").astype(float) + (ba == "a").astype(float)) / 2
    choice = pd.Series(np.select([prob_a > 0.5, prob_a < 0.5], ["a", "b"], "tie"), index=prob_a.index)
    preferences = pd.DataFrame(
        {"pair_id": prob_a.index, "group": ground.pairs["group"], "choice": choice, "prob_a": prob_a}
    ).reset_index(drop=True)
    return Judged(with_sides(verdicts, ground), with_ground(preferences, ground))


def slipped(world: World, rng: Rng) -> Judged:
    """Return a judge of quality that slips in one call of a hundred, whichever response is shown first."""
    flip = {"a": "b", "b": "a"}
    orders = [world.winner.where(rng.random(len(world.winner)) >= SLIP, world.winner.map(flip)) for _ in range(2)]
    return asked(world, *orders)


def first_shown_judge(world: World, rng: Rng, share: float = FIRST_SHARE) -> Judged:
    """Return a judge that in a share of its calls takes the first response unread; the share differs by prompt."""
    of_prompt = rng.beta(4 * share, 4 * (1 - share), PROMPTS) if share < 1 else np.ones(PROMPTS)
    unread = np.repeat(of_prompt, 3)
    orders = [world.winner.where(rng.random(len(unread)) >= unread, side) for side in ("a", "b")]
    return asked(world, *orders)


def longer_judge(world: World, rng: Rng) -> Judged:
    pairs = world.ground.pairs
    difference = pairs["length_a"] - pairs["length_b"]
    pull = LENGTH_PULL * np.tanh(difference / np.sqrt((difference**2).mean()))
    said = pd.Series(np.where(rng.random(len(pairs)) < 1 / (1 + np.exp(-pull)), "a", "b"), index=pairs.index)
    return asked(world, said, said)


def own_family_judge(world: World, rng: Rng) -> Judged:
    pairs = world.ground.pairs
    gain = OWN_GAIN * ((pairs["family_a"] == "openai").astype(float) - (pairs["family_b"] == "openai").astype(float))
    said = pd.Series(np.where(rng.random(len(pairs)) < world.chance + gain, "a", "b"), index=pairs.index)
    return asked(world, said, said)


def circular_judge(world: World, rng: Rng) -> Judged:
    pairs = world.ground.pairs
    winner = world.winner.copy()
    for prompt in np.flatnonzero(rng.random(PROMPTS) < CIRCLES):
        rows = pairs.index[3 * prompt : 3 * prompt + 3]
        beats = {(0, 1), (1, 2), (2, 0)} if rng.random() < 0.5 else {(1, 0), (2, 1), (0, 2)}
        for row in rows:
            a, b = (int(pairs.loc[row, side].split("-")[1]) for side in ("response_a", "response_b"))
            winner[row] = "a" if (a, b) in beats else "b"
    return asked(world, winner, winner)


def holds(figure: Figure, truth: float) -> bool:
    return figure.interval is not None and figure.interval.low <= truth <= figure.interval.high


def recovered_position(seed: int) -> bool:
    world = world_of(rng := np.random.default_rng(seed))
    return holds(position(first_shown_judge(world, rng).calls, 0).first_shown, 0.5 + FIRST_SHARE / 2)


def recovered_length(seed: int) -> bool:
    world = world_of(rng := np.random.default_rng(seed))
    return holds(length_coefficients(longer_judge(world, rng).labels, world.ground).judge, LENGTH_PULL)


def recovered_own_family(seed: int) -> bool:
    world = world_of(rng := np.random.default_rng(seed))
    return holds(self_preference(own_family_judge(world, rng).labels, "openai", world.ground).gain, OWN_GAIN)


def recovered_circles(seed: int) -> bool:
    world = world_of(rng := np.random.default_rng(seed))
    return holds(cycles(circular_judge(world, rng).labels, world.ground.pairs, 0).violated_3, CIRCLES)


def unflagged_clean(seed: int) -> bool:
    world = world_of(rng := np.random.default_rng(seed))
    judged = slipped(world, rng)
    return not [one for one in bias_probes(judged.calls, judged.labels, "openai", world.ground) if one.flagged]


CLAIMS: dict[str, tuple[Callable[[int], bool], int]] = {
    "always first": (recovered_position, 90),
    "longer wins": (recovered_length, 90),
    "own family": (recovered_own_family, 90),
    "circles": (recovered_circles, 90),
    "clean": (unflagged_clean, 95),
}
SEEDS = 200


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_every_planted_bias_is_recovered_and_the_clean_judge_is_left_alone_in_200_runs(name: str) -> None:
    claim, least = CLAIMS[name]
    held = sum(claim(seed) for seed in range(SEEDS))
    print(f"{name}: {held} of {SEEDS}")  # noqa: T201
    assert held >= least * SEEDS / 100


@pytest.mark.parametrize("name", CLAIMS)
def test_every_planted_bias_is_recovered_and_the_clean_judge_is_left_alone(name: str) -> None:
    claim, _ = CLAIMS[name]
    # With the stated rate of nine in ten, fewer than ten of twelve is a chance of one in nine; these seeds are fixed.
    assert sum(claim(seed) for seed in range(1000, 1012)) >= 10


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("position", first_shown_judge),
        ("length", longer_judge),
        ("own_family", own_family_judge),
        ("cycles", circular_judge),
    ],
)
def test_planted_bias_is_the_one_that_raises_the_flag(name: str, plant: Callable[[World, Rng], Judged]) -> None:
    world = world_of(rng := np.random.default_rng(7))
    judged = plant(world, rng)
    probes = {one.name: one for one in bias_probes(judged.calls, judged.labels, "openai", world.ground)}
    found = probes[name]
    assert found.effect.value is not None
    assert found.p is not None
    assert found.detectable is not None
    # Ten points for one's own and 15 % of circles lie near what 200 prompts can show.
    if name in {"position", "length"}:
        assert found.flagged
        assert found.effect.value > found.detectable
    assert found.effect.value > found.margin


def test_judge_that_always_takes_the_first_or_the_longer_is_found_out_entirely() -> None:
    world = world_of(rng := np.random.default_rng(3))
    assert position(first_shown_judge(world, rng, share=1.0).calls, 0).first_shown.value == 1.0
    longer = world.ground.longer
    judged = asked(world, longer, longer)
    assert longer_preferred(judged.labels, 0).value == 1.0
    figure = length_coefficients(judged.labels, world.ground).judge
    assert figure.too_few == "no finite coefficient: every answer goes to the longer response"


# --- Through the database -------------------------------------------------------------------------------------------


def stored(answers: Callable[[int, int, int], str]) -> Project:
    """Return a project of 60 prompts with three responses each, judged by `answers(prompt, one, two)`; people: a coin.

    The second response is always the longer one of a pair, and the first model is of the judge's family.
    """
    project = make_project()
    models = ("gpt-4o", "claude-3-opus", "llama-3-70b")
    pairs, said, people = [], [], []
    for number in range(60):
        prompt = make_prompt(project)
        for one, two in combinations(range(3), 2):
            texts = ["word " * (place + 1) + f"{number}" for place in range(3)]
            pairs.append(
                make_pair(
                    project,
                    prompt=prompt,
                    response_a=texts[one],
                    response_b=texts[two],
                    model_a=models[one],
                    model_b=models[two],
                )
            )
            said.append(answers(number, one, two))
            people.append("a" if (number + one + two) % 2 else "b")
    version = make_judge(project, "gpt")
    version.model = "gpt-4-0613"
    version.save()
    judge_pairs(version, pairs, said)
    answer_pairs(pairs, people)
    return project


DATABASE: dict[str, tuple[Callable[[int, int, int], str], float]] = {
    # Pairs are (0, 1), (0, 2) and (1, 2).
    "position": (lambda number, one, two: "flip", 0.5),
    "length": (lambda number, one, two: "b", 0.5),
    "own_family": (lambda number, one, two: "a" if one == 0 else ("a" if number % 2 else "b"), 0.5),
    "cycles": (lambda number, one, two: "b" if (one, two) == (0, 2) else "a", 1.0),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", DATABASE)
def test_planted_bias_is_flagged_on_the_card_and_in_the_audit(name: str) -> None:
    answers, effect = DATABASE[name]
    project = stored(answers)
    version = project.judges.get().latest()
    probes = {one.name: one for one in judge_card(version).probes}
    assert probes[name].flagged
    assert probes[name].effect.value == pytest.approx(effect, abs=0.01)
    audit = judge_audit(version)
    assert audit.card.probes == judge_card(version).probes
    assert any(f"bias: {probes[name].in_words}" == note for note in audit.card.notes)
