"""Every figure of every report says what it is: value, interval and n, or why there is none."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from annotation.models import Criterion, Pair, Preference, Project, Rating
from exports.reporting import REPORTS
from exports.reporting.stating import SENTENCE, is_figure, sentence, stated
from judges.models import JudgeVersion
from routing.labels.resolving import resolve_labels
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt
from tests.judged import judge_pairs

MakeJudge = Callable[..., JudgeVersion]

TEXTS = {"one": "Short answer.", "two": "A longer answer that says a good deal more.", "three": "Middle one."}


@pytest.fixture
def rich(project: Project, make_judge: MakeJudge) -> Project:
    """Return a project with people who choose, rate and explain, and two judges, over 24 pairs in 12 groups."""
    rng = np.random.default_rng(3)
    criterion = Criterion.objects.create(project=project, name="clear")
    people = [make_person(project, name) for name in ("ben", "cyd", "dee", "fay", "gus")]
    pairs: list[Pair] = []
    for number in range(12):
        prompt = make_prompt(project, f"Question {number}?")
        for a, b, c in (("one", "two", "three"),):
            texts = {
                "one": "Short answer.",
                "two": "A longer answer that says a good deal more.",
                "three": "Middle one.",
            }
            for left, right in ((a, b), (b, c)):
                pairs.append(
                    make_pair(
                        project,
                        prompt=prompt,
                        response_a=f"{texts[left]} {number}",
                        response_b=f"{texts[right]} {number}",
                        model_a=f"model-{left}",
                        model_b=f"model-{right}",
                    )
                )
    for pair in pairs:
        better = "a" if rng.random() < 0.5 else "b"
        for person in people:
            choice = better if rng.random() < 0.8 else ("b" if better == "a" else "a")
            reason = 'It says "a good deal more" than the other.' if choice == "b" else ""
            make_preference(pair, person, choice, rationale=reason, strength=2)
            Preference.objects.create(pair=pair, rater=person, choice="a", criterion=criterion)
            for response, value in ((pair.response_a, 3), (pair.response_b, int(rng.integers(1, 6)))):
                Rating.objects.create(rater=person, response=response, criterion=criterion, pair=pair, value=value)
    for name in ("gpt", "small"):
        answers = rng.choice(["a", "b", "tie", "flip"], size=len(pairs)).tolist()
        judge_pairs(make_judge(project, name), pairs, answers)
    resolve_labels(project)
    return project


def figures(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if is_figure(value):
        yield where, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from figures(part, f"{where}.{name}")
    elif isinstance(value, list):
        for part in value:
            yield from figures(part, where)


def test_every_figure_of_every_report_has_a_sentence_with_its_value_and_n(rich: Project) -> None:
    reports = {name: make(rich) for name, make in REPORTS.items()}
    for name, report in reports.items():
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        for where, figure in figures(report):
            assert SENTENCE in figure, (name, where)
            if figure["value"] is None:
                assert figure["too_few"], (name, where)
                assert figure[SENTENCE] == f"No figure: {figure['too_few']}."
            else:
                assert f"{figure['n']:,}" in figure[SENTENCE], (name, where)
    without = {name for name, report in reports.items() if not list(figures(report))}
    # Without a plan routing has nothing to measure; money is counted, not estimated.
    assert without == {"routing", "spending"}


def test_a_sentence_holds_value_interval_and_n_in_its_unit() -> None:
    figure = {"value": 0.25, "n": 1200, "low": 0.2, "high": 0.3, "detectable": 0.1, "too_few": ""}
    assert sentence(figure, "It is {share} of {n}.") == "It is 25.0 % (95 % interval 20.0 to 30.0 %) of 1,200."
    assert sentence(figure, "{points}") == "+25.0 points (95 % interval +20.0 to +30.0 points)"
    assert sentence({**figure, "low": None}, "{number}") == "0.250 (no interval)"
    assert sentence({**figure, "value": None, "too_few": "too few labels (3 of 10)"}, "{share}") == (
        "No figure: too few labels (3 of 10)."
    )


def test_a_sentence_is_chosen_by_where_the_figure_stands() -> None:
    figure = {"value": 0.5, "n": 10, "low": 0.4, "high": 0.6, "detectable": 0.1, "too_few": ""}
    report = stated(
        {"one": {"share": dict(figure)}, "others": [{"share": dict(figure)}]},
        {"share": "All {n}.", "others.share": "Others {n}."},
    )
    assert report["one"]["share"][SENTENCE] == "All 10."
    assert report["others"][0]["share"][SENTENCE] == "Others 10."


@pytest.mark.django_db
def test_an_empty_project_explains_every_figure() -> None:
    empty = make_project(with_people=False)
    for name, make in REPORTS.items():
        for where, figure in figures(make(empty)):
            assert figure["value"] is None, (name, where)
            assert figure["too_few"], (name, where)
