import gzip
import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from annotation.agreeing import LEAST_LABELS
from annotation.creating import create_project
from annotation.importing import OnError, import_pairs
from annotation.models import Criterion, Origin, Preference, Project, Rater, Rating
from exports.contrasting import contrast_people
from exports.reporting import REPORTS, agreement_report, noise_report, people_report, plain, spending_report
from judges.models import JudgeKind, JudgeVersion, Verdict, VerdictState
from tests.builders import make_answer, make_pair, make_person, make_preference, make_project
from tests.services import SHARED_DATA

Cast = Callable[..., list[Preference]]
MakeJudge = Callable[..., JudgeVersion]


def read_shared(name: str) -> list[dict[str, Any]]:
    with gzip.open(SHARED_DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def imported(name: str) -> Project:
    project = create_project(slug=name.replace("_", "-"))
    import_pairs(project, SHARED_DATA / f"{name}.jsonl.gz", on_error=OnError.SKIP)
    return project


@pytest.mark.shared_data
@pytest.mark.django_db
def test_agreement_of_people_and_of_a_judge_is_as_counted_by_hand() -> None:
    same = couples = right = answered = 0
    for item in read_shared("pandalm_dev"):
        choices = [person["choice"] for person in item["human"]]
        couples += len(choices) * (len(choices) - 1) // 2
        same += sum(one == other for one, other in combinations(choices, 2))
        (top, n), *rest = Counter(choices).most_common()
        for entry in item["judges"]:
            if entry["model"] == "pandalm-7b" and not (rest and rest[0][1] == n):
                answered += 1
                right += entry["choice"] == top
    report = agreement_report(imported("pandalm_dev"))
    three_way = report["people"]["three_way"]
    assert (three_way["n"], three_way["value"]) == (couples, pytest.approx(same / couples, abs=1e-6))
    assert three_way["low"] < three_way["value"] < three_way["high"]
    judge = next(one for one in report["judges"] if one["judge"] == "pandalm-7b")["three_way"]
    assert (judge["n"], judge["value"]) == (answered, pytest.approx(right / answered, abs=1e-6))
    assert report["plan_judge"] == {"note": "no plan was applied yet"}
    assert report["votes_by_origin"] == {"recorded": 2283}


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(REPORTS))
def test_report_of_an_empty_project_says_too_little_and_holds_no_nan(name: str) -> None:
    report = REPORTS[name](make_project(with_people=False))
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.django_db
def test_too_few_labels_give_a_sentence_and_no_number(project: Project, vote: Cast) -> None:
    vote(make_pair(project), "a", "a")
    three_way = agreement_report(project)["people"]["three_way"]
    assert three_way["value"] is None
    assert three_way["too_few"] == f"too few couples of answers (1 of {LEAST_LABELS})"


def test_persons_agreement_counts_others_on_the_same_pairs_only(project: Project, vote: Cast) -> None:
    for _ in range(10):
        vote(make_pair(project), "a", "a", "b")
    vote(make_pair(project), "unsure", "a", "a")
    report = people_report(project, name_of=str.upper)
    people = {person["person"]: person for person in report["people"]}
    assert set(people) == {"BEN", "CYD", "RECORDED-DORA"}
    assert people["BEN"]["agreement_with_others"]["value"] == 0.5
    assert people["BEN"]["agreement_with_others"]["n"] == 20
    assert (people["BEN"]["answers"], people["BEN"]["unsure"]) == (11, 1)
    # Ten pairs against ben and cyd, and the last one with cyd alone.
    assert people["RECORDED-DORA"]["agreement_with_others"]["value"] == pytest.approx(1 / 21, abs=1e-6)


def test_agreement_has_every_coefficient_over_all_by_criterion_and_over_time(project: Project, vote: Cast) -> None:
    criterion = Criterion.objects.create(project=project, name="clear")
    for number in range(12):
        first, second, third = vote(make_pair(project), "a", "b" if number < 4 else "a", "b" if number % 2 else "a")
        for one, strength in ((first, 3), (second, 1), (third, 2)):
            one.strength = strength
            one.save()
            make_preference(one.pair, one.rater, "a", criterion=criterion)
            value = 1 + strength + (one.choice == "a")
            Rating.objects.create(rater=one.rater, response=one.pair.response_a, criterion=criterion, value=value)
    report = agreement_report(project)
    assert (report["seed"], report["draws"]) == (project.seed, 1000)
    sides, strengths = report["coefficients"]["sides"], report["coefficients"]["strengths"]
    assert (sides["n_units"], sides["n_people"], strengths["n_answers"]) == (12, 3, 36)
    assert sides["raw"]["value"] == report["people"]["three_way"]["value"]
    assert sides["alpha_nominal"]["value"] == report["people"]["alpha"]["value"]
    assert strengths["alpha_ordinal"]["value"] != sides["alpha_ordinal"]["value"]
    (clear,) = report["criteria"]
    assert clear["criterion"] == "clear"
    assert clear["sides"]["ac1"]["too_few"] == "everybody gave one answer"
    assert clear["ratings"]["alpha_interval"]["n"] == 12
    assert clear["ratings"]["alpha_ordinal"]["value"] is not None
    assert [one["n_units"] for one in report["over_time"]] == [12]
    assert report["aggregation"]["method"] == "plurality"
    couples = people_report(project, name_of=str.upper)["couples"]
    assert (couples[0]["first"], couples[0]["second"], couples[0]["n"]) == ("BEN", "CYD", 12)


def test_flip_rates_are_told_by_criterion(project: Project, vote: Cast) -> None:
    """Of 20 pairs two people differ on four by "clear" and on ten by "kind": e = (1 - sqrt(1 - 2 d)) / 2."""
    by = {name: Criterion.objects.create(project=project, name=name) for name in ("kind", "clear", "brief")}
    for number in range(20):
        for place, one in enumerate(vote(make_pair(project), "a", "a")):
            for name, differing in (("clear", 4), ("kind", 10)):
                choice = "b" if place and number < differing else "a"
                make_preference(one.pair, one.rater, choice, criterion=by[name])
    report = noise_report(project)
    assert report["votes"]["flip_rate"]["value"] == 0.0
    assert [one["criterion"] for one in report["criteria"]] == ["clear", "kind"]
    clear, kind = report["criteria"]
    assert (clear["differing"]["value"], clear["differing"]["n"]) == (0.2, 20)
    assert clear["flip_rate"]["value"] == pytest.approx((1 - 0.6**0.5) / 2, abs=1e-6)
    assert clear["loss"] == {"loss_type": "robust", "label_smoothing": 0.1127, "note": ""}
    assert kind["flip_rate"]["value"] == 0.5
    assert kind["loss"]["loss_type"] is None
    assert clear["flip_rate"]["sentence"].startswith("One person's answer is flipped in 11.3 %")


def test_ratings_of_one_person_never_meet_the_choice_of_another(project: Project) -> None:
    pair = make_pair(project)
    criterion, _ = Criterion.objects.get_or_create(project=project, name="overall")
    ben, cyd = make_person(project, "ben"), make_person(project, "cyd")
    for response, value in ((pair.response_a, 5), (pair.response_b, 2)):
        Rating.objects.create(rater=ben, response=response, criterion=criterion, pair=pair, value=value)
    make_preference(pair, cyd, "b")
    assert len(contrast_people(project).within) == 0
    make_preference(pair, ben, "b")
    assert contrast_people(project).within[["criterion", "rating_side", "ranking"]].to_numpy().tolist() == [
        ["overall", "a", "b"]
    ]


def test_spending_counts_unknown_costs_and_pays_only_answers_given_here(
    project: Project, make_judge: MakeJudge
) -> None:
    version = make_judge(project, "gpt", kind=JudgeKind.OPENAI)
    pair = make_pair(project)
    for order, cost in (("ab", "0.0025"), ("ba", None)):
        Verdict.objects.create(
            version=version,
            pair=pair,
            order=order,
            state=VerdictState.DONE,
            choice="a",
            cost_usd=cost,
            prompt_tokens=10,
        )
    make_answer(pair, "ben")
    make_answer(pair, "cyd")
    make_preference(pair, "recorded-dora")
    simulated = Rater.objects.create(project=project, kind="person", origin=Origin.SIMULATED, name="sim")
    make_preference(pair, simulated, "a")
    report = spending_report(project)
    assert report["models"]["usd"] == "0.0025"
    (judge,) = report["models"]["judges"]
    assert (judge["answered_calls"], judge["calls_of_unknown_cost"], judge["prompt_tokens"]) == (2, 1, 20)
    assert report["people"]["answers"] == {"live": 2, "recorded": 1, "simulated": 1}
    assert report["people"]["usd"] == "0.6"


def test_report_values_are_plain_json() -> None:
    import decimal

    import numpy as np

    value = plain({"a": float("nan"), "b": (np.float64(0.1234567), np.int64(3)), "c": decimal.Decimal("1.500000")})
    assert value == {"a": None, "b": [0.123457, 3], "c": "1.5"}
    with pytest.raises(TypeError, match="object is no value of a report"):
        plain(object())


def test_spending_holds_what_lost_calls_cost_and_pays_extra_answers(project: Project, make_judge: MakeJudge) -> None:
    version = make_judge(project, "gpt", kind=JudgeKind.OPENAI)
    pair = make_pair(project)
    answered = {"version": version, "pair": pair, "state": VerdictState.DONE, "choice": "a", "cost_usd": "0.0025"}
    Verdict.objects.create(**answered, order="ab", meta={"lost_usd": "0.010000"})
    Verdict.objects.create(version=version, pair=pair, order="ba", meta={"lost_usd": "0.02"})
    make_answer(pair, "late", is_extra=True)
    report = spending_report(project)
    assert report["models"]["usd"] == report["models"]["judges"][0]["usd"] == "0.0325"
    assert (report["people"]["answers"], report["people"]["usd"]) == ({"live": 1}, "0.3")
