"""A judge's signals are kept in the database, and never outlive what they were made of."""

import io
import threading
from collections.abc import Callable

import pandas as pd
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.models import Pair, Preference, Project
from judges.models import JudgeVersion, Verdict, VerdictState
from judges.settling import settle_pairs
from routing.models import SignalTable, TableKind
from routing.signals import measuring
from routing.signals.reading import read_judged, read_measures, read_similarity
from routing.signals.tabling import store_table
from tests.builders import make_pair, make_preference, make_project
from tests.judged import judge_pairs, make_judge

pytestmark = pytest.mark.either_database

ANSWERS = ("a", "b", "flip", "a")


class World:
    """Four pairs seen by two judges; the first judge is the one signals are about."""

    def __init__(self) -> None:
        self.project: Project = make_project(with_people=False)
        self.pairs = [
            make_pair(self.project, response_a=f"Yes {n}", response_b="No, never") for n in range(len(ANSWERS))
        ]
        self.version: JudgeVersion = make_judge(self.project, "gpt")
        self.other: JudgeVersion = make_judge(self.project, "bard")
        judge_pairs(self.version, self.pairs, ANSWERS)
        judge_pairs(self.other, self.pairs[:3], ["a", "a", "b"])

    def read(self) -> pd.DataFrame:
        return read_judged(self.project, [self.version]).signals


@pytest.fixture
def world(db: None) -> World:
    return World()


def stored(kind: TableKind) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(SignalTable.objects.get(kind=kind).data))


def doctor(world: World, kind: TableKind, column: str, value: float) -> None:
    """Change a kept table behind the code's back: what is read then shows whether it is used."""
    table = SignalTable.objects.get(kind=kind)
    frame = stored(kind).assign(**{column: value})
    store_table(world.project, kind, frame, version=table.version, key=table.key, fingerprint=table.fingerprint)


# --- Measures ---------------------------------------------------------------------------------------------------------


def test_only_new_pairs_are_measured(world: World) -> None:
    read_measures(world.project)
    doctor(world, TableKind.MEASURES, "words_a", 99)
    new = make_pair(world.project, response_a="one two three", response_b="four")
    measures = read_measures(world.project)
    assert measures["words_a"].tolist() == [99, 99, 99, 99, 3]
    assert measures.index.tolist() == [str(pair.pk) for pair in [*world.pairs, new]]
    assert len(stored(TableKind.MEASURES)) == 5


def test_similarity_alone_is_that_of_the_measures(world: World) -> None:
    """Before anything is measured, and where some pairs are: what is kept counts, what is new is read from texts."""
    expected = read_measures(world.project, keep=False)["similarity"]
    assert expected.tolist() == [0.0] * 4
    assert read_similarity(world.project).tolist() == expected.tolist()
    read_measures(world.project)
    doctor(world, TableKind.MEASURES, "similarity", 0.25)
    new = make_pair(world.project, response_a="one two three", response_b="Three and four")
    found = read_similarity(world.project)
    assert found.tolist() == [0.25] * 4 + [1 / 5]
    assert found.index.tolist() == [str(pair.pk) for pair in [*world.pairs, new]]
    empty = make_pair(world.project, response_a="!", response_b="?")
    assert read_similarity(world.project)[str(empty.pk)] == 1.0


def test_deleted_pairs_drop_out_of_the_measures(world: World) -> None:
    read_measures(world.project)
    Verdict.objects.filter(pair=world.pairs[0]).delete()
    world.pairs[0].delete()
    measures = read_measures(world.project)
    assert measures.index.tolist() == [str(pair.pk) for pair in world.pairs[1:]]
    assert stored(TableKind.MEASURES).index.tolist() == measures.index.tolist()


def test_measures_of_older_code_are_made_again(world: World) -> None:
    read_measures(world.project)
    doctor(world, TableKind.MEASURES, "words_a", 99)
    SignalTable.objects.update(version="older")
    assert read_measures(world.project)["words_a"].tolist() == [2, 2, 2, 2]
    assert SignalTable.objects.get().version == measuring.VERSION


def test_what_the_database_says_of_a_pair_is_never_kept(world: World) -> None:
    read_measures(world.project)
    prompt = world.pairs[0].prompt
    prompt.category, prompt.language = "law", "de"
    prompt.save()
    first = read_measures(world.project).iloc[0]
    assert (first["category"], first["language"]) == ("law", "de")


def test_kept_measures_are_those_of_a_first_reading(world: World) -> None:
    first = read_measures(world.project)
    pd.testing.assert_frame_equal(read_measures(world.project), first)


def test_no_text_is_read_again(world: World) -> None:
    read_measures(world.project)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        read_measures(world.project)
    assert len(queries) == 2
    assert not any("messages" in query["sql"] for query in queries)


@pytest.mark.django_db(transaction=True)
def test_processes_that_measure_at_once_do_no_harm() -> None:
    project = make_project(with_people=False)
    pairs = [make_pair(project, response_a="one two", response_b="three") for _ in range(6)]
    barrier = threading.Barrier(4)
    found: list[list[int]] = []

    def measure() -> None:
        try:
            barrier.wait(timeout=30)
            found.append(read_measures(project)["words_a"].tolist())
        finally:
            connection.close()

    threads = [threading.Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [[2] * 6] * 4
    assert stored(TableKind.MEASURES).index.tolist() == [str(pair.pk) for pair in pairs]


# --- Signals ----------------------------------------------------------------------------------------------------------


def test_kept_signals_are_read_as_they_were_made(world: World) -> None:
    first = read_judged(world.project, [world.version])
    again = read_judged(world.project, [world.version])
    pd.testing.assert_frame_equal(again.signals, first.signals)
    pd.testing.assert_series_equal(again.choice, first.choice)
    pd.testing.assert_series_equal(again.prob_a, first.prob_a)
    pd.testing.assert_frame_equal(again.measures, first.measures)
    assert first.choice.tolist() == ["a", "b", "tie", "a"]
    assert first.groups.tolist() == [pair.prompt.group for pair in world.pairs]


def test_kept_signals_are_used_as_long_as_nothing_changes(world: World) -> None:
    world.read()
    doctor(world, TableKind.SIGNALS, "flipped", 0.25)
    assert world.read()["flipped"].tolist() == [0.25] * 4


def test_each_judge_and_several_versions_together_have_signals_of_their_own(world: World) -> None:
    rating = make_judge(world.project, "gpt", protocol="rating")
    judge_pairs(rating, world.pairs, ["b"] * 4)
    alone = read_judged(world.project, [world.version])
    together = read_judged(world.project, [world.version, rating])
    other = read_judged(world.project, [world.other])
    assert SignalTable.objects.filter(kind=TableKind.SIGNALS).count() == 3
    assert alone.choice.tolist() == ["a", "b", "tie", "a"]
    assert together.choice.tolist() == ["tie", "b", "b", "tie"]
    assert other.choice.tolist() == ["a", "a", "b", ""]
    same = read_judged(world.project, [rating, world.version])
    pd.testing.assert_frame_equal(same.signals, together.signals)


def _new_verdict(world: World) -> None:
    Verdict.objects.create(
        version=world.other, pair=world.pairs[3], order="ab", state=VerdictState.DONE, choice="a", label_mass=0.5
    )


def _answered_verdict(world: World) -> None:
    """Answer a question that waited."""
    waiting = Verdict.objects.create(version=world.version, pair=world.pairs[3], order="")
    world.read()
    waiting.choice, waiting.state = "b", VerdictState.DONE
    waiting.save()


def _changed_verdict(world: World) -> None:
    Verdict.objects.filter(version=world.version, pair=world.pairs[0], order="ab").update(choice="b")


def _changed_scores(world: World) -> None:
    Verdict.objects.filter(version=world.version, pair=world.pairs[0], order="ab").update(score_a=1.0, score_b=7.0)


def _changed_mass(world: World) -> None:
    Verdict.objects.filter(version=world.version, pair=world.pairs[0]).update(label_mass=0.4)


def _replaced_preference(world: World) -> None:
    before = Preference.objects.get(rater=world.other.rater, pair=world.pairs[0])
    before.is_current = False
    before.save()
    make_preference(world.pairs[0], world.other.rater, "b", replaces=before)


def _replaced_probability(world: World) -> None:
    before = Preference.objects.get(rater=world.version.rater, pair=world.pairs[0])
    before.is_current = False
    before.save()
    make_preference(world.pairs[0], world.version.rater, before.choice, prob_a=0.75, replaces=before)


def _settled_again(world: World) -> None:
    Verdict.objects.filter(version=world.version, pair=world.pairs[2]).update(choice="b")
    settle_pairs(world.version, [world.pairs[2].pk])


def _new_pair(world: World) -> None:
    make_pair(world.project)


def _deleted_pair(world: World) -> None:
    world.pairs[3].delete()


def _other_category(world: World) -> None:
    world.pairs[0].prompt.group = world.pairs[1].prompt.group
    world.pairs[0].prompt.save()


def _third_judge(world: World) -> None:
    judge_pairs(make_judge(world.project, "claude"), world.pairs[:1], ["b"])


def _renamed_judge(world: World) -> None:
    """Give a judge another name, and with it another place among the named ones."""
    world.other.judge.name = "bart"
    world.other.judge.save()
    judge_pairs(make_judge(world.project, "claude"), world.pairs, ["b"] * 4)
    world.read()
    world.other.judge.name = "zed"
    world.other.judge.save()


def _ticked_column(world: World) -> None:
    from routing.models import SignalSettings

    for number, pair in enumerate(Pair.objects.in_project(world.project)):
        pair.meta = {"hardness": number / 7}
        pair.save()
    _many_pairs(world)
    world.read()
    SignalSettings.objects.create(project=world.project, columns=["hardness"])


def _many_pairs(world: World) -> None:
    for number in range(20):
        make_pair(world.project, meta={"hardness": number / 3})


@pytest.mark.parametrize(
    "change",
    [
        _new_verdict,
        _answered_verdict,
        _changed_verdict,
        _changed_scores,
        _changed_mass,
        _replaced_preference,
        _replaced_probability,
        _settled_again,
        _new_pair,
        _deleted_pair,
        _other_category,
        _third_judge,
        _renamed_judge,
        _ticked_column,
    ],
)
def test_signals_are_never_stale(world: World, change: Callable[[World], None]) -> None:
    world.read()
    before = SignalTable.objects.get(kind=TableKind.SIGNALS).fingerprint
    change(world)
    read = world.read()
    assert SignalTable.objects.get(kind=TableKind.SIGNALS).fingerprint != before
    SignalTable.objects.all().delete()
    pd.testing.assert_frame_equal(read, world.read())


def test_signals_of_older_code_are_made_again(world: World) -> None:
    world.read()
    doctor(world, TableKind.SIGNALS, "flipped", 0.25)
    SignalTable.objects.filter(kind=TableKind.SIGNALS).update(version="older")
    assert world.read()["flipped"].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_what_people_say_changes_no_signal_and_makes_none_again(world: World) -> None:
    before = world.read()
    doctor(world, TableKind.SIGNALS, "flipped", 0.25)
    for pair in world.pairs:
        make_preference(pair, "ben", "b")
    assert world.read()["flipped"].tolist() == [0.25] * 4
    SignalTable.objects.all().delete()
    pd.testing.assert_frame_equal(world.read(), before)


@pytest.mark.django_db
def test_a_judge_that_answered_nothing_and_a_project_without_pairs_have_frames_all_the_same() -> None:
    project = make_project(with_people=False)
    version = make_judge(project, "gpt")
    empty = read_judged(project, [version])
    assert (len(empty.signals), len(empty.measures), len(empty.choice)) == (0, 0, 0)
    pair = make_pair(project, response_a="one two", response_b="three")
    unanswered = read_judged(project, [version])
    assert unanswered.choice.to_dict() == {str(pair.pk): ""}
    assert unanswered.prob_a.isna().all()
    assert unanswered.measures["words_a"].tolist() == [2]
    assert "margin" not in unanswered.signals
