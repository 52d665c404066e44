"""Signals a manager switches on: which columns may be one, what they become, and that settings change what is kept."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annotation.models import Pair, Project
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import Order, Verdict, VerdictState
from routing.errors import RoutingError
from routing.models import SignalSettings
from routing.signals.extending import (
    Column,
    column_candidates,
    column_signals,
    describe_column,
    extra_signals,
    save_settings,
    settings_key,
    settings_of,
)
from routing.signals.reading import read_judged
from routing.signals.tagging import quote_tags, tag_prompts
from routing.signals.wording import signal_of
from tests.builders import make_pair, make_project, make_prompt
from tests.judge_server import JudgeServer
from tests.judged import judge_pairs, make_judge
from tests.judges.test_tagging import TAGS, sort_or_judge


def described(values: list[Any]) -> Column:
    return describe_column("x", values, len(values))


@pytest.mark.parametrize(
    ("values", "kind", "low", "high"),
    [
        ([0.5, 1.5] * 20, "number", 0.5, 1.5),
        (["3", "4.5"] * 20, "number", 3.0, 4.5),
        ([number % 7 for number in range(40)], "number", 0, 6),
        ([number + 0.25 for number in range(40)], "number", 0.25, 39.25),
        ([True, False] * 20, "yes or no", None, None),
        (["true", "False"] * 20, "yes or no", None, None),
        (["de", "en"] * 20 + [None] * 40, "words", None, None),
    ],
)
def test_numbers_yes_or_no_and_few_words_can_be_signals(
    values: list[Any], kind: str, low: float | None, high: float | None
) -> None:
    column = described(values)
    assert (column.kind, column.low, column.high, column.refused) == (kind, low, high, "")
    assert column.known == sum(value is not None for value in values) / len(values)


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        (list(range(40)), "every pair has another whole number, as an identifier has"),
        ([str(1000 + number) for number in range(40)], "every pair has another whole number"),
        ([f"row-{number}" for number in range(40)], "free text or an identifier: 40 different values"),
        (["a sentence that somebody wrote about this pair, and which goes on and on for very long"] * 40, "free text"),
        ([["a"], ["b"]] * 20, "its values are lists or objects"),
        ([1.0, float("inf")] * 20, "some of its numbers are not finite"),
        (["a", "b"] * 4, "too few pairs: no value is in 20 of them"),
        ([1.5, 2.5] * 4, "too few pairs (8 of 20)"),
        (["a"] * 40, "all its values are the same"),
        ([2.0] * 40, "all its values are the same"),
        ([None, ""] * 20, "it has no values"),
        ([{"a": 1}] + [1] * 39, "its values are lists or objects"),
    ],
)
def test_identifiers_free_text_and_rare_values_are_refused(values: list[Any], refused: str) -> None:
    assert refused in described(values).refused


def test_a_name_that_sounds_like_answers_is_noted() -> None:
    assert Column("human_label_note", "words", 1.0).speaks_of_people
    assert not Column("difficulty", "words", 1.0).speaks_of_people


def test_columns_become_numbers_and_absent_values_stay_unknown() -> None:
    index = pd.Index([str(number) for number in range(60)], name="pair_id")
    metas = pd.DataFrame(
        {
            "score": pd.Series([1, 2.5, None] * 20, index=index, dtype=object),
            "hard": pd.Series([True, "false", None] * 20, index=index, dtype=object),
            # "rare" is known, and no signal of its own.
            "source": pd.Series((["web"] * 25 + ["book"] * 25 + ["rare"] * 5 + [None] * 5), index=index, dtype=object),
            "note": pd.Series([f"text {number}" for number in range(60)], index=index, dtype=object),
        }
    )
    signals = column_signals(metas, ["score", "hard", "source", "note"])
    assert list(signals) == ["column score", "column hard", "column source=book", "column source=web"]
    assert signals["column score"].iloc[:3].tolist()[:2] == [1.0, 2.5]
    assert signals["column hard"].iloc[:2].tolist() == [1.0, 0.0]
    assert signals[["column score", "column hard"]].iloc[2].isna().all()
    assert signals["column source=web"].sum() == 25
    assert signals["column source=web"].iloc[52] == 0.0
    assert np.isnan(signals["column source=web"].iloc[58])


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(db: None) -> Project:
    project = make_project()
    for number in range(40):
        meta = {"difficulty": number % 5, "id": number, "topic": "law" if number % 2 else "art"}
        make_pair(project, prompt=f"Question {number}?", response_a=f"One {number}", response_b="Two", meta=meta)
    return project


def pairs_of(project: Project) -> list[Pair]:
    return list(Pair.objects.in_project(project))


def signals_of(project: Project) -> pd.DataFrame:
    index = pd.Index([str(pair.pk) for pair in pairs_of(project)], name="pair_id", dtype=object)
    return extra_signals(project, pd.DataFrame(index=index), pd.Series(0.5, index=index))


def test_by_default_only_likeness_is_a_signal(project: Project) -> None:
    frame = signals_of(project)
    assert list(frame) == ["cosine"]
    assert frame["cosine"].between(-1, 1).all()
    assert SignalSettings.objects.count() == 0


def test_ticked_columns_and_tags_join_the_signals_of_a_judge(project: Project) -> None:
    pairs = pairs_of(project)
    judge = make_judge(project)
    judge_pairs(judge, pairs, ["a", "b"] * 20)
    before = set(read_judged(project, [judge]).signals)
    with JudgeServer(sort_or_judge) as server:
        tagger = add_judge(project, "sorter", kind="openai", base_url=server.base_url, model="m")
    Verdict.objects.bulk_create(
        Verdict(version=tagger, pair=pair, order=Order.TAGS, state=VerdictState.DONE, meta={"tags": TAGS})
        for pair in pairs[:10]
    )
    save_settings(project, columns=["difficulty", "topic"], embedder="", tagger=tagger)
    signals = read_judged(project, [judge]).signals
    assert "cosine" in before
    assert "cosine" not in signals
    assert signals["column difficulty"].tolist() == [float(number % 5) for number in range(40)]
    assert signals["column topic=law"].tolist() == [0.0, 1.0] * 20
    assert signals["tag has_format_constraints"].tolist()[:11][:10] == [1.0] * 10
    assert signals["tag open_endedness"].notna().sum() == 10
    assert all(signal_of(str(name)).words(1.0, "gpt") for name in signals)


def test_a_new_tag_or_setting_changes_the_key_and_nothing_else_does(project: Project) -> None:
    keys = [settings_key(project), settings_key(project)]
    save_settings(project, columns=["topic"], embedder="local", tagger=None)
    keys.append(settings_key(project))
    with JudgeServer(sort_or_judge) as server:
        tagger = add_judge(project, "sorter", kind="openai", base_url=server.base_url, model="m")
    save_settings(project, columns=["topic"], embedder="local", tagger=tagger)
    keys.append(settings_key(project))
    pair = pairs_of(project)[0]
    Verdict.objects.create(version=tagger, pair=pair, order=Order.TAGS, state=VerdictState.DONE, meta={"tags": TAGS})
    keys.append(settings_key(project))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_what_cannot_be_a_signal_is_refused_by_name(project: Project) -> None:
    assert {column.name: bool(column.refused) for column in column_candidates(project)} == {
        "difficulty": False,
        "id": True,
        "topic": False,
    }
    with pytest.raises(RoutingError, match="The column 'id' cannot be a signal: every pair has another whole number"):
        save_settings(project, columns=["id"], embedder="", tagger=None)
    with pytest.raises(RoutingError, match=r"has a column 'mood'. Columns: difficulty, id, topic"):
        save_settings(project, columns=["mood"], embedder="", tagger=None)
    with pytest.raises(JudgeError, match="TIEBREAK_JUDGE_HOSTS"):
        save_settings(project, columns=[], embedder="https://elsewhere.example/v1 m", tagger=None)
    with pytest.raises(RoutingError, match="cannot sort prompts"):
        save_settings(project, columns=[], embedder="", tagger=add_judge(project, "length", kind="length"))
    with JudgeServer() as server:
        other = add_judge(make_project("other"), "gpt", kind="openai", base_url=server.base_url, model="m")
    with pytest.raises(RoutingError, match="no model of this project"):
        save_settings(project, columns=[], embedder="", tagger=other)
    assert SignalSettings.objects.count() == 0


def test_a_ticked_column_that_a_file_spoils_is_left_out(project: Project) -> None:
    save_settings(project, columns=["topic"], embedder="", tagger=None)
    assert list(signals_of(project)) == ["column topic=art", "column topic=law"]
    for number in range(20):
        make_pair(project, meta={"topic": f"a topic of its own, number {number}"})
    assert list(signals_of(project)) == []


# --- What tags cost ---------------------------------------------------------------------------------------------------


def test_the_price_of_tags_is_known_before_and_not_passed_after(project: Project) -> None:
    with JudgeServer(sort_or_judge) as server:
        address: dict[str, Any] = {"kind": "openai", "base_url": server.base_url, "model": "m"}
        unpriced = quote_tags(add_judge(project, "unpriced", **address))
        prices: dict[str, Any] = {
            "price_input_usd_per_million": Decimal(10),
            "price_output_usd_per_million": Decimal(20),
        }
        judge = add_judge(project, "gpt", **address, **prices)
        quote = quote_tags(judge)
        run = tag_prompts(judge, limit=30, send=False)
        later = quote_tags(judge)
    assert (unpriced.prompts, unpriced.usd, unpriced.most_usd) == (40, None, None)
    assert (quote.prompts, quote.tagged, later.prompts) == (40, 0, 10)
    assert run.verdicts.count() == 30
    assert quote.usd is not None
    assert quote.most_usd is not None
    # 40 prompts of about 2,400 bytes: some 600 tokens at $10 a million, and 90 written ones at $20.
    assert 0.2 < float(quote.usd) < 0.6
    assert quote.usd < quote.most_usd < 8 * quote.usd
    assert settings_of(project).tagger == judge


def test_what_is_shown_of_a_prompt_is_what_is_priced(project: Project) -> None:
    with JudgeServer(sort_or_judge) as server:
        judge = add_judge(
            project,
            "gpt",
            kind="openai",
            base_url=server.base_url,
            model="m",
            price_input_usd_per_million=Decimal(10),
            price_output_usd_per_million=Decimal(20),
        )
        before = quote_tags(judge)
        make_pair(project, prompt=make_prompt(project, "long " * 4000))
        after = quote_tags(judge)
    assert before.usd is not None
    assert after.usd is not None
    assert float(after.usd - before.usd) == pytest.approx(20_000 / 4 * 10 / 1e6, rel=0.2)
