"""The judge card: figures against the published table, and a gate that dismisses on evidence only."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from annotation.agreeing import Figure
from annotation.importing import import_pairs
from annotation.models import Project
from judges.auditing import JudgeCard, calibration_error, judge_card, judge_cards
from judges.models import JudgeVersion, Verdict, VerdictState
from tests.builders import make_preference, make_project
from tests.services import SHARED_DATA

pytestmark = pytest.mark.django_db


def import_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> Project:
    """Import rows of {ab, ba, human, a, b}: a judge's answers in two orders, one person's, and two texts."""
    project = make_project()
    path = tmp_path / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number, row in enumerate(rows):
            judges = [
                {"model": "jo", "protocol": "pairwise", "choice": row[order], "swapped": order == "ba"}
                for order in ("ab", "ba")
                if row.get(order)
            ]
            human = [{"annotator": "fay", "choice": row["human"]}] if row.get("human") else []
            record = {
                "id": f"p{number}",
                "prompt": f"Question {number}?",
                "response_a": row.get("a", "Yes."),
                "response_b": row.get("b", "No."),
                "human": human,
                "judges": judges,
            }
            lines.write(json.dumps(record) + "\n")
    report = import_pairs(project, path)
    assert not report.refused, report.rejected
    return project


def card_of(project: Project) -> JudgeCard:
    return judge_card(JudgeVersion.objects.get(judge__project=project))


def test_judge_that_always_picks_the_first_shown_is_not_trusted(tmp_path: Path) -> None:
    card = card_of(import_rows(tmp_path, [{"ab": "a", "ba": "b"}] * 12))
    assert (card.first_shown.value, card.first_shown.n) == (1.0, 24)
    assert (card.held_order.value, card.flips.value) == (0.0, 1.0)
    assert card.preference_ties.value == 1.0
    assert card.trusted is False
    assert card.reasons == ["position bias: picks the response shown first in 100% of calls"]


def test_judge_that_always_picks_the_second_shown_is_not_trusted(tmp_path: Path) -> None:
    card = card_of(import_rows(tmp_path, [{"ab": "b", "ba": "a"}] * 12))
    assert card.reasons == ["position bias: picks the response shown second in 100% of calls"]


def test_judge_that_reads_the_content_shows_no_position_bias_whatever_side_wins(tmp_path: Path) -> None:
    card = card_of(import_rows(tmp_path, [{"ab": "a", "ba": "a"}] * 30))
    assert card.first_shown.value == 0.5
    assert (card.held_order.value, card.flips.value) == (1.0, 0.0)
    assert card.trusted is True
    assert card.notes == [
        "agreement with people is not tested: too few labels "
        "(0 of 50 pairs where the judge and people both take a side)"
    ]


def test_judge_asked_in_one_order_has_no_position_figure(tmp_path: Path) -> None:
    card = card_of(import_rows(tmp_path, [{"ab": "a"}] * 30))
    assert card.first_shown.value is None
    assert card.first_shown.too_few == "too few decisive verdicts on pairs asked in both orders (0 of 10)"
    assert card.picks_first.value == 1.0
    assert card.trusted is True
    assert card.notes[0].startswith("position bias is not known: too few")


def test_few_calls_dismiss_nobody(tmp_path: Path) -> None:
    card = card_of(import_rows(tmp_path, [{"ab": "a", "ba": "b"}] * 3))
    assert card.trusted is True
    assert card.first_shown.too_few == "too few decisive verdicts on pairs asked in both orders (6 of 10)"


def test_judge_that_agrees_with_people_by_chance_is_not_trusted(tmp_path: Path) -> None:
    rows = [{"ab": "a", "ba": "a", "human": "a" if n % 2 else "b"} for n in range(60)]
    card = card_of(import_rows(tmp_path, rows))
    assert card.preference_two_way.value == 0.5
    assert card.trusted is False
    assert card.reasons[0].startswith("no better than a coin: agrees with people on 50% of 60 pairs")
    assert card.kappa.value == pytest.approx(0.0)


def test_judge_below_the_length_rule_is_noted(tmp_path: Path) -> None:
    # People always prefer the longer; the judge does so on three pairs of four.
    rows = [
        {"ab": "a" if n % 4 else "b", "ba": "a" if n % 4 else "b", "human": "a", "a": "Much longer.", "b": "Short."}
        for n in range(80)
    ]
    card = card_of(import_rows(tmp_path, rows))
    assert card.length_rule.value == 1.0
    assert card.longer_preferred.value == 0.75
    assert card.beats_length_rule.value == pytest.approx(-0.25)
    assert card.trusted is True
    assert card.notes == [
        "bias: prefers the longer response 25 points less often than people do",
        "below the length rule: agrees with people on 75% of 80 pairs, the longer response on 100%",
    ]


def test_verdicts_and_preferences_are_counted_apart(tmp_path: Path) -> None:
    # Right in one order, wrong in the other: half the verdicts are right, no preference is decisive.
    rows = [{"ab": "a", "ba": "b", "human": "a"}] * 20 + [{"ab": "b", "ba": "b", "human": "b"}] * 20
    card = card_of(import_rows(tmp_path, rows))
    assert (card.verdict_three_way.value, card.verdict_three_way.n) == (0.75, 80)
    assert (card.preference_three_way.value, card.preference_three_way.n) == (0.5, 40)
    assert (card.preference_two_way.value, card.preference_two_way.n) == (1.0, 20)


def test_contested_pairs_are_not_held_against_a_judge(tmp_path: Path) -> None:
    project = import_rows(tmp_path, [{"ab": "a", "ba": "a", "human": "a"}] * 12)
    pair = project.pairs.order_by("id").first()
    assert pair is not None
    make_preference(pair, "gus", "b")
    assert card_of(project).preference_three_way.n == 11


def test_failed_calls_count(tmp_path: Path) -> None:
    project = import_rows(tmp_path, [{"ab": "a", "ba": "a"}] * 10)
    failing = Verdict.objects.filter(order="ba")
    failing.update(state=VerdictState.FAILED, choice="", error="The server answered 500.")
    card = card_of(project)
    assert (card.failed.value, card.failed.n, card.n_verdicts) == (0.5, 20, 10)
    assert not card.reasons
    Verdict.objects.filter(pk=Verdict.objects.filter(order="ab").values_list("pk")[:1]).update(
        state=VerdictState.FAILED, choice="", error="The server answered 500."
    )
    assert card_of(project).reasons == ["failures: 55% of its 20 calls brought no answer"]


def test_cost_and_time_come_from_the_verdicts(tmp_path: Path) -> None:
    project = import_rows(tmp_path, [{"ab": "a", "ba": "a"}] * 10)
    Verdict.objects.filter(order="ab").update(cost_usd=Decimal("0.001"), seconds=1.0)
    assert card_of(project).cost_per_1000 is None
    Verdict.objects.filter(order="ba").update(cost_usd=Decimal("0.002"), seconds=2.0)
    card = card_of(project)
    assert (card.cost_per_1000, card.seconds_p50) == (3.0, 1.5)


def test_judge_without_answers_is_not_trusted_and_prints_no_number(tmp_path: Path) -> None:
    project = import_rows(tmp_path, [{"ab": "a", "ba": "a"}])
    project.pairs.all().delete()
    card = card_of(project)
    assert card.trusted is False
    assert card.reasons == ["no preferences: it has judged no pair to the end"]
    assert "NaN" not in json.dumps(card.as_dict())


def test_card_is_json_without_nan(tmp_path: Path) -> None:
    rows = [{"ab": "a", "ba": "b" if n % 3 else "a", "human": "tie" if n % 5 == 0 else "a"} for n in range(60)]
    card = card_of(import_rows(tmp_path, rows))
    assert json.loads(json.dumps(card.as_dict(), allow_nan=False))["preference_three_way"]["n"] == 60


def test_calibration_error_of_an_oracle_is_zero_and_of_a_liar_is_its_excess() -> None:
    groups = pd.Series(range(100))
    truth = pd.Series([n % 5 > 0 for n in range(100)])
    assert calibration_error(pd.Series([0.8] * 100), truth, groups).value == pytest.approx(0.0)
    assert calibration_error(pd.Series([1.0] * 100), truth, groups).value == pytest.approx(0.2)
    assert calibration_error(pd.Series([0.5] * 100), truth, groups).value == pytest.approx(0.0)
    assert calibration_error(pd.Series([0.8] * 10), truth[:10], groups[:10]).too_few == "too few labels (10 of 50)"


# --- Real judgements ------------------------------------------------------------------------------------------------

Row = tuple[float | None, ...]
FILES = {"llmbar": 22, "pandalm_dev": 2, "vicuna80_dev": 6}


def number(cell: str) -> float | None:
    return None if cell == "\N{EN DASH}" else float(cell)


def published(file: str) -> dict[tuple[str, str], Row]:
    """Return the README's table of a file: pairs, 3-way, 2-way, tie, first shown, second shown, held order."""
    rows: dict[tuple[str, str], Row] = {}
    for line in (SHARED_DATA / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == f"{file}.jsonl.gz" and len(cells) == 10:
            judge, protocol, items, three, two, tie, _, shown, held = cells[1:]
            first, second = shown.split(" / ")
            rows[judge, protocol] = tuple(number(cell) for cell in (items, three, two, tie, first, second, held))
    return rows


def percent(figure: Figure) -> float | None:
    return None if figure.value is None else round(100 * figure.value, 1)


@pytest.mark.shared_data
@pytest.mark.parametrize("file", FILES)
def test_card_equals_the_table_of_the_data(file: Any) -> None:
    table = published(file)
    assert len(table) == FILES[file]
    project = make_project()
    report = import_pairs(project, SHARED_DATA / f"{file}.jsonl.gz")
    assert not report.refused, report.rejected
    cards = {(card.judge, card.protocol): card for card in judge_cards(project).values()}
    found = {
        key: (
            card.n_pairs,
            percent(card.verdict_three_way),
            percent(card.verdict_two_way),
            percent(card.verdict_ties),
            percent(card.picks_first),
            percent(card.picks_second),
            percent(card.held_order),
        )
        for key, card in cards.items()
    }
    assert found == table
    # Where a judge never ties, what did not hold its order flipped.
    for card in cards.values():
        if card.flips.value is not None and card.verdict_ties.value == 0.0:
            assert card.held_order.value == pytest.approx(1.0 - card.flips.value)
    if file == "llmbar":
        assert cards["falcon-180b-chat", "CoT"].reasons[0] == (
            "position bias: picks the response shown first in 93% of calls"
        )
        assert cards["gpt-3.5-turbo-0613", "CoT"].trusted is False
        assert cards["gpt-4-0613", "Metrics_Reference"].trusted is True
    if file == "vicuna80_dev":
        assert cards["gpt-4", "pairwise three-way"].trusted is True
        assert cards["bard (2023)", "pairwise three-way"].trusted is False
