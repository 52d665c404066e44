"""Mixes of people's and judges' labels: drawn, described, searched, checked on groups kept apart."""

import json
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.core.management import CommandError, call_command

from routing.errors import RoutingError, TooFewLabels
from routing.studies.mixing import (
    MixOptions,
    MixPairs,
    MixWorld,
    agreement_of,
    draw_mixes,
    leans_of,
    mix_features,
    plain_mixes,
    search_frame,
    search_mixes,
    tags_of,
    world_of,
)
from routing.studies.studying import queue_study, work_study
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge
from tests.routing.mixed import fill_project, mix_pairs

pytestmark = pytest.mark.either_database

QUICK = MixOptions(budgets=(0.1, 0.3), mixes=120, candidates=60)


@pytest.fixture(scope="module")
def searched() -> dict[str, Any]:
    pairs, x = mix_pairs()
    return search_frame(pairs, x, QUICK, seed=0)


def small_world(n: int = 300) -> MixWorld:
    rng = np.random.default_rng(0)
    signals = pd.DataFrame({"flipped": (rng.random(n) < 0.3).astype(float), "similarity": rng.random(n)})
    p_wrong = 0.05 + 0.9 * rng.random(n)
    return MixWorld(p_wrong, tags_of(signals, p_wrong, np.arange(n) % 4))


def test_thirds_are_of_all_pairs_and_every_pair_is_in_exactly_one() -> None:
    values = pd.DataFrame({"similarity": [0.0, 1.0, 1.0, 0.33, 0.67, 0.5, np.nan], "flipped": [0, 1, 0, 0, 0, 0, 0.0]})
    tags = tags_of(values, np.linspace(0.1, 0.9, 7), np.zeros(7, dtype=np.intp))
    thirds = tags[[f"similarity: {part}" for part in ("low", "middle", "high", "not known")]]
    assert thirds.sum(axis=1).tolist() == [1.0] * 7
    assert tags["similarity: not known"].tolist() == [0.0] * 6 + [1.0]
    assert tags["similarity: low"].tolist() == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert tags["flipped"].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    # One cluster is everybody's, which tells mixes apart no more than their size.
    assert not [name for name in tags if str(name).startswith("cluster")]


def test_thirds_do_not_move_with_the_pairs_that_people_label() -> None:
    # The published code ranks lengths anew inside each mix: the longest third then counts a third in every bin.
    world = small_world()
    n = len(world.p_wrong)
    longest = world.tags["similarity: high"].to_numpy() == 1.0
    features = mix_features(longest[:, None], world)[0]
    counts = dict(zip(world.tags.columns, features, strict=False))
    assert counts["similarity: high"] == longest.sum() == pytest.approx(n / 3, abs=1)
    assert counts["similarity: low"] == counts["similarity: middle"] == 0.0
    assert features[-2] == longest.sum()


def test_every_mix_has_exactly_its_budget_and_depends_on_seed_and_number_alone() -> None:
    world = small_world()
    z, budgets, kinds = draw_mixes(world, [0.1, 0.5] * 6, seed=3)
    assert z.sum(axis=0).tolist() == [30, 150] * 6
    assert budgets.tolist() == [0.1, 0.5] * 6
    assert set(kinds) == {"clumps", "doubts", "leaning"}
    again, _, _ = draw_mixes(world, [0.1, 0.5] * 2, seed=3)
    assert np.array_equal(again, z[:, :4])
    later, _, _ = draw_mixes(world, [0.1], seed=3, start=6)
    assert np.array_equal(later[:, 0], z[:, 6])
    other, _, _ = draw_mixes(world, [0.1], seed=4)
    assert not np.array_equal(other[:, 0], z[:, 0])


def test_clumps_fill_one_tag_before_the_next() -> None:
    world = small_world()
    z, _, kinds = draw_mixes(world, [0.2] * 9, seed=0)
    tags = world.tags.to_numpy() == 1.0
    for mix, kind in zip(z.T, kinds, strict=True):
        shares = tags[mix].mean(axis=0)
        filled = (tags & mix[:, None]).sum(axis=0) == tags.sum(axis=0)
        assert (kind == "clumps") <= bool((shares == 1.0).any() or filled.any())


def test_expected_agreement_counts_the_judges_labels_alone() -> None:
    p = np.array([0.5, 0.25, 0.25, 0.0])
    assert agreement_of(np.array([[True], [False], [False], [False]]), p) == pytest.approx(1 - 0.5 / 4)
    assert agreement_of(np.ones((4, 1), dtype=bool), p) == 1.0
    assert agreement_of(np.zeros((4, 1), dtype=bool), p) == pytest.approx(0.75)


def test_leans_are_the_tags_furthest_from_all_pairs() -> None:
    world = small_world()
    router = plain_mixes(world, 0.2, 0)["router"][:, 0]
    first = leans_of(router, world.tags)[0]
    assert (first["tag"], first["among_people"]) == ("P(wrong): high", 1.0)
    assert first["among_all"] == pytest.approx(1 / 3)


def test_a_search_finds_mixes_that_train_better_than_random_ones(searched: dict[str, Any]) -> None:
    assert searched["refusal"] == ""
    assert searched["all_judge"] < searched["all_people"]
    chosen = next(one for one in searched["forecasts"] if one["chosen"])
    assert chosen["spearman"]["low"] > 0.3
    row = searched["budgets"][1]
    assert row["people"] == int(0.3 * searched["pairs_searched"])
    assert row["predicted"]["random"] < row["predicted"]["router"]
    assert row["predicted"]["random"] < row["predicted"]["recommended"]
    assert row["trained"] == pytest.approx(row["predicted"]["recommended"], abs=0.03)
    assert row["check"]["lead"]["random"]["mean"] > 0
    assert [one["predicted"] for one in row["top"]] == sorted((one["predicted"] for one in row["top"]), reverse=True)
    assert row["agreement"]["router"] >= row["agreement"]["recommended"] > row["agreement"]["random"]
    assert len(searched["points"]) == 120
    assert searched["pairs_searched"] + searched["pairs_checked"] == 480
    assert searched["clusters"]["cluster 1"] == "Question 0?"


def test_the_same_seed_gives_the_same_search_and_reports_its_steps(searched: dict[str, Any]) -> None:
    pairs, x = mix_pairs()
    steps: list[tuple[int, int]] = []
    again = search_frame(pairs, x, QUICK, seed=0, progress=lambda done, total: steps.append((done, total)))
    assert json.dumps(again) == json.dumps(searched)
    assert steps == [(done, 5) for done in range(1, 6)]


def test_a_search_that_cannot_rank_recommends_nothing_but_still_shows_the_routers_mix() -> None:
    pairs, _ = mix_pairs(300)
    # All responses are the same text: no column differs, no head can tell, and all mixes score one half.
    result = search_frame(pairs, np.zeros((300, 0)), MixOptions((0.1,), 60, 5), seed=1)
    assert "The predictor cannot rank mixes here: Spearman 0.00" in result["refusal"]
    assert {point["actual"] for point in result["points"]} == {0.5}
    row = result["budgets"][0]
    assert set(row["predicted"]) == set(row["check"]["accuracy"]) == {"router", "random"}
    assert "top" not in row


def test_a_judge_that_is_never_wrong_gives_too_few_labels() -> None:
    pairs, _ = mix_pairs(300, misled=0.0)
    with pytest.raises(TooFewLabels, match=r"too few labels \(0 of 20 pairs where the judge was wrong"):
        world_of(pairs, 0, "gpt in demo")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budgets": []}, "one to 6 budgets"),
        ({"budgets": [0.2, 0.2]}, "one to 6 budgets"),
        ({"budgets": [1.0]}, "one to 6 budgets"),
        ({"mixes": 20}, "60 to 5,000 mixes, not 20"),
        ({"candidates": 0}, "1 to 20,000 mixes a budget, not 0"),
        ({"mixture": 3}, "no option mixture"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RoutingError, match=words):
        MixOptions.from_json(options)


def test_options_survive_being_stored() -> None:
    assert MixOptions.from_json(json.loads(json.dumps(QUICK.to_json()))) == QUICK


@pytest.mark.django_db
class TestProject:
    def test_a_study_searches_the_projects_pairs(self) -> None:
        project = make_project()
        fill_project(project)
        options = MixOptions((0.25,), 60, 20)
        study = queue_study(project, "mixes", judge_name="gpt", options=options.to_json(), seed=5)
        done = work_study(study.pk)
        assert done is not None
        assert (done.state, done.error) == ("done", "")
        result = done.result
        assert (result["judge"], result["seed"], result["pairs"]) == ("gpt", 5, 220)
        # The same through the command: one function, the same figures.
        out = StringIO()
        call_command(
            "predict_mixes", project.slug, "--judge", "gpt", "--budgets", "25", "--mixes", "60", "--candidates", "20",
            "--seed", "5", "--json", stdout=out,
        )  # fmt: skip
        assert json.loads(out.getvalue().splitlines()[-1]) == result
        assert "Forecasts of mixes they had not seen" in out.getvalue()

    def test_fewer_than_200_pairs_answered_by_both_are_too_few(self) -> None:
        project = make_project()
        pairs = [make_pair(project) for _ in range(3)]
        judge_pairs(make_judge(project), pairs, ["a", "b", "tie"])
        answer_pairs(pairs[:2], ["a", "a"])
        with pytest.raises(TooFewLabels, match=r"too few labels \(2 of 200 pairs answered by both\)"):
            search_mixes(project, judge="gpt", options={}, seed=0)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--budgets", "much"], "--budgets takes percentages"),
            (["--seed", "-1"], "--seed takes a number"),
            (["--mixes", "3"], "60 to 5,000 mixes"),
            (["--scores", "s.csv"], "--scores and --exported go together"),
            (["--out", "o.jsonl"], "--out goes with --scores"),
            (["--export", "e.csv", "--scores", "s.csv", "--exported", "m.csv"], "--export comes before --scores"),
        ],
    )
    def test_the_command_refuses_what_does_not_fit(self, arguments: list[str], words: str) -> None:
        make_project()
        with pytest.raises(CommandError, match=words):
            call_command("predict_mixes", "helpfulness", "--judge", "gpt", *arguments)


def test_pairs_are_cut_in_all_their_columns() -> None:
    pairs, _ = mix_pairs(20)
    rows = np.arange(20) % 2 == 0
    half: MixPairs = pairs.of(rows)
    assert half.pair_ids == [f"pair-{number}" for number in range(0, 20, 2)]
    assert len(half.texts) == len(half.signals) == len(half.clusters) == 10
    assert half.texts[1] == pairs.texts[2]
