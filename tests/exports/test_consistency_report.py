"""The report on consistency, against counts made with nothing but the definitions; its documented figures too.

`docs/reports.md` quotes what the report gives on public sets: each row of its tables is counted again here.
"""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from annotation.agreeing import consistency
from annotation.creating import create_project
from annotation.importing import OnError, import_pairs
from annotation.models import Criterion, Project, Rating
from exports.reporting import consistency_report
from judges.models import JudgeVersion
from tests.builders import make_pair, make_person, make_preference, make_prompt, make_response
from tests.services import SHARED_DATA

MakeJudge = Callable[..., JudgeVersion]
Cases = list[tuple[str, str]]

SIDES = ("a", "b", "tie")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reports.md"
# Peering Through Preferences' shipped sample: ratings (a, b, equal) by rankings (a, b, equal).
PUBLISHED = [[19, 10, 8], [6, 26, 9], [11, 7, 21]]


def read_shared(name: str) -> list[dict[str, Any]]:
    with gzip.open(SHARED_DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def imported(name: str) -> Project:
    project = create_project(slug=name.replace("_", "-"))
    import_pairs(project, SHARED_DATA / f"{name}.jsonl.gz", on_error=OnError.SKIP)
    return project


def sign(a: float, b: float) -> str:
    return "a" if a > b else "b" if b > a else "tie"


def counted(cases: Cases) -> dict[str, float]:
    """Count ratings against rankings with nothing but the definitions."""
    n, cells = len(cases), Counter(cases)
    rated, ranked = Counter(r for r, _ in cases), Counter(k for _, k in cases)
    same = sum(cells[side, side] for side in SIDES) / n
    chance = sum(rated[side] * ranked[side] for side in SIDES) / n**2
    decisive = [(r, k) for r, k in cases if "tie" not in (r, k)]
    return {
        "inconsistency": 1 - same,
        "contradiction": sum(r != k for r, k in decisive) / len(decisive) if decisive else float("nan"),
        "chance_inconsistency": 1 - chance,
        "kappa": (same - chance) / (1 - chance),
        "rating_ties": rated["tie"] / n,
        "ranking_ties": ranked["tie"] / n,
    }


def check(report: dict[str, Any], cases: Cases) -> None:
    assert report["n"] == len(cases)
    for name, value in counted(cases).items():
        if report[name]["value"] is None:
            assert report[name]["n"] < 10, name
        else:
            assert report[name]["value"] == pytest.approx(value, abs=1e-6), name


def documented(heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading of the document, without its head."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"### {heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def check_document(name: str, found: dict[tuple[str, str], Cases]) -> None:
    """Compare every documented row of a set with the counts; there is one for each that was counted here."""
    rows = [row for row in documented("On public sets") if row[0] == name]
    assert {(row[1], row[2]) for row in rows} == set(found)
    for _, who, what, *figures in rows:
        cases = found[who, what]
        values = counted(cases)
        shares = [values[key] for key in ("inconsistency", "contradiction", "chance_inconsistency")]
        ties = [values["rating_ties"], values["ranking_ties"]]
        expected = [
            f"{len(cases):,}",
            *(f"{100 * share:.1f} %" for share in shares),
            f"{values['kappa']:.3f}",
            *(f"{100 * share:.1f} %" for share in ties),
        ]
        assert figures == expected, (who, what)


def people_cases(name: str) -> tuple[dict[str, Cases], dict[str, Cases]]:
    """Return what people rated against what they chose, and against what the others chose, by criterion."""
    within: dict[str, Cases] = defaultdict(list)
    between: dict[str, Cases] = defaultdict(list)
    for item in read_shared(name):
        said = [{"overall": one["choice"], **(one["criteria"] or {})} for one in item["human"]]
        for rater, one in enumerate(item["human"]):
            for criterion, (a, b) in (one["ratings"] or {}).items():
                for chooser, choices in enumerate(said):
                    if criterion in choices:
                        cases = within if chooser == rater else between
                        cases[criterion].append((sign(a, b), choices[criterion]))
    return dict(within), dict(between)


# --- Transitivity, by brute force -----------------------------------------------------------------------------------


def is_weak_order(sides: dict[tuple[int, int], int]) -> bool:
    """Say whether some ranking with ties of three responses gives these three comparisons (1, 0 or -1)."""
    return any(
        all((ranks[x] < ranks[y]) - (ranks[x] > ranks[y]) == side for (x, y), side in sides.items())
        for ranks in product(range(3), repeat=3)
    )


def violated(tables: list[dict[frozenset[str], dict[str, int]]], k: int) -> tuple[int, int]:
    """Return how many sets of k responses compared throughout hold a triple that is no weak order, and all of them."""
    bad = all_ = 0
    for table in tables:
        names = sorted({name for pair in table for name in pair})
        for chosen in combinations(names, k):
            if any(frozenset(pair) not in table for pair in combinations(chosen, 2)):
                continue
            all_ += 1
            bad += any(
                not is_weak_order(
                    {(x, y): table[frozenset((triple[x], triple[y]))][triple[x]] for x, y in combinations(range(3), 2)}
                )
                for triple in combinations(chosen, 3)
            )
    return bad, all_


def test_of_27_triples_13_are_weak_orders_6_circles_and_8_clash_with_an_equality() -> None:
    from judges.auditing.cycles import kind_of_triple

    kinds: Counter[str] = Counter()
    for xy, yz, xz in product((1, 0, -1), repeat=3):
        kind = kind_of_triple(xy, yz, xz)
        kinds[kind] += 1
        assert (kind == "order") == is_weak_order({(0, 1): xy, (1, 2): yz, (0, 2): xz})
    assert kinds == {"order": 13, "circular": 6, "equality": 8}


def test_the_published_table_gives_the_published_figures() -> None:
    cases = [
        (SIDES[row], SIDES[column]) for row in range(3) for column in range(3) for _ in range(PUBLISHED[row][column])
    ]
    found = consistency(pd.Series([r for r, _ in cases], dtype=object), pd.Series([k for _, k in cases], dtype=object))
    shown = {name: figure.value for name, figure in found._asdict().items() if name not in ("n", "table")}
    assert found.table == PUBLISHED
    assert shown["inconsistency"] == pytest.approx(51 / 117)
    assert shown["contradiction"] == pytest.approx(16 / 61)
    assert round(100 * shown["inconsistency"], 2) == 43.59
    assert round(100 * shown["contradiction"], 2) == 26.23
    assert round(100 * shown["chance_inconsistency"], 2) == 66.56
    assert round(shown["kappa"], 3) == 0.345
    assert shown["rating_ties"] == pytest.approx(39 / 117)
    assert shown["ranking_ties"] == pytest.approx(38 / 117)


# --- Public sets ----------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.django_db
def test_judge_that_rated_and_ranked_alone_contradicts_itself_as_counted_by_hand() -> None:
    cases: Cases = []
    for item in read_shared("sparse_feedback_ai_only"):
        by_protocol = {entry["protocol"]: entry for entry in item["judges"]}
        rated = by_protocol.get("separate 1-7 ratings")
        if rated and item["response_a"] != item["response_b"]:
            cases.append((sign(rated["score_a"], rated["score_b"]), by_protocol["pairwise ranking"]["choice"]))
    report = consistency_report(imported("sparse_feedback_ai_only"))
    (one,) = report["judges"]
    assert (one["judge"], len(cases)) == ("gpt-3.5-turbo", 115)
    check(one, cases)
    # TrustJudge's CR counts the same pairs.
    (conflict,) = [
        part for judge in report["trustjudge"] if "ranking" in judge["protocol"] for part in judge["conflicts"]
    ]
    assert conflict["conflict"]["value"] == one["inconsistency"]["value"]
    check_document("sparse_feedback_ai_only", {("gpt-3.5-turbo", "its own choices"): cases})


@pytest.mark.shared_data
@pytest.mark.django_db
def test_judge_asked_in_both_orders_ranks_a_tie_where_the_orders_differ_and_runs_in_circles() -> None:
    cases: Cases = []
    gaps: list[tuple[float, str, str]] = []
    orders: dict[Any, dict[frozenset[str], dict[str, int]]] = defaultdict(dict)
    people: dict[Any, dict[frozenset[str], dict[str, int]]] = defaultdict(dict)
    turn = {"a": 1, "tie": 0, "both_bad": 0, "b": -1}
    for item in read_shared("vicuna80_dev"):
        of = [entry for entry in item["judges"] if entry["model"] == "gpt-4"]
        choices = [entry["choice"] for entry in of if entry["protocol"] == "pairwise three-way"]
        swaps = {entry["swapped"] for entry in of if entry["protocol"] == "pairwise three-way"}
        scores = [(entry["score_a"], entry["score_b"]) for entry in of if entry["protocol"] == "joint 1-10 scores"]
        held = choices[0] if len(set(choices)) == 1 else "tie"
        if choices and scores:
            a, b = (sum(side) / len(scores) for side in zip(*scores, strict=True))
            cases.append((sign(a, b), held))
            gaps.append((abs(a - b), sign(a, b), held))
        names = item["meta"]["model_a"], item["meta"]["model_b"]
        if len(swaps) == 2:
            orders[item["meta"]["group"]][frozenset(names)] = {names[0]: turn[held], names[1]: -turn[held]}
        (top, n), *rest = Counter(one["choice"] for one in item["human"]).most_common()
        if not (rest and rest[0][1] == n):
            people[item["meta"]["group"]][frozenset(names)] = {names[0]: turn[top], names[1]: -turn[top]}
    report = consistency_report(imported("vicuna80_dev"))
    (one,) = report["judges"]
    assert (one["judge"], one["n"]) == ("gpt-4", 446)
    check(one, cases)
    for part in one["by_gap"]:
        mine = [(rated, ranked) for gap, rated, ranked in gaps if part["from"] - 1e-9 <= gap <= part["to"] + 1e-9]
        assert part["inconsistency"]["n"] == len(mine)
        assert part["inconsistency"]["value"] == pytest.approx(sum(r != k for r, k in mine) / len(mine), abs=1e-6)
    assert sum(part["inconsistency"]["n"] for part in one["by_gap"]) == sum(gap > 0 for gap, *_ in gaps)
    check_document("vicuna80_dev", {("gpt-4", "its own choices"): cases})
    gpt4 = next(
        judge
        for judge in report["trustjudge"]
        if judge["protocol"] == "pairwise three-way" and judge["judge"] == "gpt-4"
    )
    by_way = {remedy["comparison"]: remedy for remedy in gpt4["remedies"]}
    conflicts = {part["comparison"]: part["conflict"] for part in gpt4["conflicts"]}
    assert conflicts["orders"]["value"] == one["inconsistency"]["value"]
    for k in (3, 4):
        bad, sets = violated(list(orders.values()), k)
        assert by_way["orders"]["sets"][str(k)] == sets
        assert by_way["orders"][f"violated_{k}"]["value"] == pytest.approx(bad / sets, abs=1e-6)
    bad, sets = violated(list(people.values()), 3)
    consensus = report["transitivity"]["consensus"]
    assert consensus["violated_3"]["n"] == sets
    assert consensus["violated_3"]["value"] == pytest.approx(bad / sets, abs=1e-6)
    ways = [(way, [conflicts[way], *(by_way[way][f"violated_{k}"] for k in (3, 4, 5))]) for way in ("orders", "mean")]
    shown = {way: [f"{100 * figure['value']:.1f} %" for figure in figures] for way, figures in ways}
    in_document = {row[0]: row[1:] for row in documented("Circles on vicuna80_dev")}
    assert in_document["gpt-4, both orders agree or tie"] == shown["orders"]
    assert in_document["gpt-4, mean of both orders"] == shown["mean"]
    assert in_document["people, most votes"][1:] == [
        f"{100 * consensus[f'violated_{k}']['value']:.1f} %" for k in (3, 4, 5)
    ]


@pytest.mark.shared_data
@pytest.mark.django_db
def test_people_contradict_their_own_ratings_and_those_of_others_as_counted_by_hand() -> None:
    within, between = people_cases("squality")
    report = consistency_report(imported("squality"))
    assert set(within) == {"overall", "correctness", "coverage"}
    for name, cases in (("people", within), ("between", between)):
        rows = {row["criterion"]: row for row in report[name]}
        assert set(rows) == set(cases)
        for criterion, mine in cases.items():
            check(rows[criterion], mine)
    overall = next(row for row in report["people"] if row["criterion"] == "overall")
    assert overall["inconsistency"]["value"] == pytest.approx(17 / 900, abs=1e-6)
    # Nobody contradicted themselves, but that many cases cannot rule out one in two hundred.
    assert overall["contradiction"]["value"] == 0.0
    assert 0.0 < overall["contradiction"]["high"] < 0.01
    people = {("people, each alone", criterion): cases for criterion, cases in within.items()}
    others = {("people, one against another", criterion): cases for criterion, cases in between.items()}
    check_document("squality", {**people, **others})
    assert report["transitivity"]["within_people"]["violated_3"]["value"] == 0.0
    assert report["transitivity"]["within_people"]["zeta"]["value"] == 1.0


@pytest.mark.shared_data
@pytest.mark.django_db
def test_experts_who_passed_tests_agree_with_their_own_choice_by_test_and_not_with_others() -> None:
    within, between = people_cases("ttcw_creativity")
    report = consistency_report(imported("ttcw_creativity"))
    assert len(report["people"]) == len(within) == 14
    assert {(one["n"], one["inconsistency"]["value"]) for one in report["people"]} == {(108, 0.0)}
    rows = {row["criterion"]: row for row in report["between"]}
    for criterion, cases in between.items():
        check(rows[criterion], cases)
    assert report["judges"] == []
    some = "Narrative Pacing"
    check_document(
        "ttcw_creativity",
        {("people, each alone", some): within[some], ("people, one against another", some): between[some]},
    )


# --- Made-up projects -----------------------------------------------------------------------------------------------


def rated(project: Project, ratings: dict[str, tuple[float, float]], choices: dict[str, str]) -> None:
    """Have people rate the two responses of a new pair, and choose, under "overall"."""
    criterion, _ = Criterion.objects.get_or_create(project=project, name="overall")
    pair = make_pair(project)
    for name, values in ratings.items():
        for response, value in zip((pair.response_a, pair.response_b), values, strict=True):
            Rating.objects.create(
                rater=make_person(project, name), response=response, criterion=criterion, pair=pair, value=value
            )
    for name, choice in choices.items():
        make_preference(pair, make_person(project, name), choice)


def test_ratings_of_one_person_meet_the_choices_of_others_under_between_alone(project: Project) -> None:
    for _ in range(10):
        rated(project, {"ben": (5, 2)}, {"ben": "a", "cyd": "b"})
    report = consistency_report(project)
    (mine,), (others,) = report["people"], report["between"]
    assert (mine["n"], mine["inconsistency"]["value"]) == (10, 0.0)
    assert (others["n"], others["contradiction"]["value"]) == (10, 1.0)
    assert [(part["gap"], part["contradiction"]["value"]) for part in others["by_gap"]] == [("3", 1.0)]
    assert "10" in mine["inconsistency"]["sentence"]


def test_drivers_name_the_person_who_rates_long_texts_high_and_chooses_short_ones(project: Project) -> None:
    criterion, _ = Criterion.objects.get_or_create(project=project, name="overall")
    ben = make_person(project, "ben")
    for number in range(60):
        long, short = f"{'many more words here ' * 3}{number}", f"few {number}"
        # A third go the other way round, so that the direction does not follow from the texts.
        a, b = (long, short) if number % 2 else (short, long)
        pair = make_pair(project, response_a=a, response_b=b)
        rated_higher = pair.response_a if (number % 2 == 1) != (number % 3 == 0) else pair.response_b
        for response in (pair.response_a, pair.response_b):
            value = 5 if response == rated_higher else 1
            Rating.objects.create(rater=ben, response=response, criterion=criterion, pair=pair, value=value)
        make_preference(pair, ben, "b" if rated_higher == pair.response_a else "a")
    (row,) = consistency_report(project)["people"]
    drivers = {one["name"]: one for one in row["drivers"]}
    assert drivers["words"]["coefficient"]["value"] > 0
    assert drivers["words"]["p"] < 0.05


def tournament(project: Project, n: int, wins: dict[tuple[int, int], bool], number: int) -> None:
    """Have ben compare all responses to a prompt: `wins[i, j]` says whether the first is better."""
    prompt = make_prompt(project, f"Tournament {number} of {n}?")
    responses = [make_response(prompt, f"Answer {place}") for place in range(n)]
    for (first, second), is_first in wins.items():
        pair = make_pair(
            project, prompt=prompt, response_a=f"Answer {first}", response_b=f"Answer {second}", model_a="", model_b=""
        )
        assert pair.response_a == responses[first]
        make_preference(pair, make_person(project, "ben"), "a" if is_first else "b")


def circles(n: int, wins: dict[tuple[int, int], bool]) -> int:
    """Count circular triads by looking at each."""
    beats = {(i, j) if first else (j, i) for (i, j), first in wins.items()}
    found = 0
    for triple in combinations(range(n), 3):
        found += any((x, y) in beats and (y, z) in beats and (z, x) in beats for x, y, z in permutations(triple))
    return found


def tournaments(n: int) -> Iterator[dict[tuple[int, int], bool]]:
    """Yield ten tournaments of n, from an order to chance."""
    import random

    rng = random.Random(n)
    for number in range(10):
        yield {pair: rng.random() > number / 20 for pair in combinations(range(n), 2)}


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_zeta_and_circles_of_people_are_those_of_brute_force(n: int, project: Project) -> None:
    most = (n**3 - n) / 24 if n % 2 else (n**3 - 4 * n) / 24
    zetas = []
    for number, wins in enumerate(tournaments(n)):
        tournament(project, n, wins, number)
        zetas.append(1 - circles(n, wins) / most)
    found = consistency_report(project)["transitivity"]
    for who in ("within_people", "consensus"):
        assert found[who]["zeta"]["value"] == pytest.approx(sum(zetas) / 10, abs=1e-6)
        assert found[who]["zeta"]["n"] == 10


def test_rock_paper_scissors_is_explained_by_no_ranking_and_an_order_by_one(project: Project) -> None:
    for number in range(10):
        tournament(project, 3, {(0, 1): True, (1, 2): True, (0, 2): False}, number)
    found = consistency_report(project)["transitivity"]["within_people"]
    assert found["zeta"]["value"] == 0.0
    assert found["curl"]["value"] == pytest.approx(1.0)
    assert found["violated_3"]["value"] == found["circular"]["value"] == 1.0
