"""Reports of very large projects count a sample of prompt groups, say so, and hold no more than it."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db.models.sql import compiler
from django.test import Client
from django.utils import timezone

from annotation.agreeing import share
from annotation.models import (
    Criterion,
    Origin,
    Pair,
    Preference,
    Project,
    Prompt,
    Ranking,
    Rater,
    RaterKind,
    Rating,
    Response,
    Slate,
)
from annotation.sampling import Sample, sample_of
from dashboard import telling
from exports.labelling import label_frame
from exports.reporting import NEVER_SAMPLED, REPORTS, WHOLE, export_reports, make_report
from exports.snapshotting import take_snapshot
from judges.auditing.reading import read_ground
from judges.models import JudgeVersion, ResponseFlag, Verdict, VerdictState
from routing.auditing.estimating import read_measured
from routing.models import Label, LabelSource, Plan, Route, RouteSource
from routing.signals.reading import read_measures
from tests.builders import make_pair, make_project, make_prompt, make_response
from tests.judged import judge_pairs, make_judge, make_pairs

GROUPS, LEAST = 40, 36
PEOPLE = (("dora", Origin.RECORDED), ("emil", Origin.LIVE), ("fay", Origin.SIMULATED), ("gus", Origin.RECORDED))
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
pytestmark = pytest.mark.django_db


def drawn_by_hand(names: Iterable[str], sizes: Callable[[str], int], *, seed: int, most: int) -> list[str]:
    """Return the groups that a sample takes, as docs/reports.md says it: in the order of their hashes, going round."""

    def place(text: str) -> int:
        return int.from_bytes(sha256(text.encode()).digest()[:4], "big") // 2

    first, pairs, drawn = place(f"seed {seed}"), 0, []
    for name in sorted(names, key=lambda name: (place(name) < first, place(name))):
        if pairs >= most:
            break
        drawn.append(name)
        pairs += sizes(name)
    return drawn


def make_world(slug: str, groups: Iterable[int], *, seed: int = 3) -> Project:
    """Return a project of these groups, each the same wherever it is: one to three pairs of three responses."""
    project = make_project(slug, with_people=False, seed=seed, guidelines="Be kind.")
    people = [
        Rater.objects.create(project=project, kind=RaterKind.PERSON, name=name, origin=origin)
        for name, origin in PEOPLE
    ]
    clear = Criterion.objects.create(project=project, name="clear")
    judges = [make_judge(project, "gpt"), make_judge(project, "gpt"), make_judge(project, "gpt", protocol="score")]
    JudgeVersion.objects.filter(pk__in=[judge.pk for judge in judges]).update(model="gpt-4")
    plan = make_plan(project, judges[0])
    for number in groups:
        make_group(project, number, people, clear, judges, plan)
    return project


def make_plan(project: Project, version: JudgeVersion) -> Plan:
    judge = {"version_id": str(version.pk), "name": "gpt · pairwise", "labels": True}
    return Plan.objects.create(
        project=project,
        state="applied",
        budget_kind="share",
        budget_value="0.5",
        audit_share=0.4,
        seed=0,
        judge_name="gpt",
        predictor_kind="cold",
        figures={"judge": judge, "counts": {"people": 1, "audit": 1, "ai": 1}},
        applied_at=timezone.now(),
    )


def make_group(
    project: Project, number: int, people: list[Rater], clear: Criterion, judges: list[JudgeVersion], plan: Plan
) -> None:
    """Write a group with all that is said of it; what that is follows from its number."""
    rng = random.Random(number)
    prompt = make_prompt(
        project,
        f"Question {' '.join(rng.sample(WORDS, 4))} {number}?",
        group=f"group {number}",
        category="abc"[number % 3],
    )
    responses = [
        make_response(
            prompt, " ".join([f"answer {number} {side}", *rng.choices(WORDS, k=rng.randint(2, 30))]), f"model-{side}"
        )
        for side in range(3)
    ]
    if number % 7 == 0:
        ResponseFlag.objects.create(response=responses[0], kind="instruction")
    slate = Slate.objects.create(project=project, prompt=prompt)
    Ranking.objects.create(
        slate=slate, rater=people[number % 4], ranks=[1, 2, 3], basis="ranking", seconds=float(number)
    )
    for response in responses:
        for rater in people[:2]:
            Rating.objects.create(rater=rater, response=response, criterion=clear, value=rng.randint(1, 5))
    for place, (a, b) in enumerate([(0, 1), (1, 2), (0, 2)][: 1 + number % 3]):
        pair = Pair.objects.create(
            project=project,
            prompt=prompt,
            response_a=responses[a],
            response_b=responses[b],
            external_id=f"g{number}-{place}",
            source="ab"[number % 2],
        )
        answer(pair, people, clear, rng)
        judge_pairs(judges[0], [pair], [rng.choice(["a", "b", "flip", "tie"])])
        judge_pairs(judges[1], [pair], [rng.choice(["a", "b"])])
        scores = {"score_a": float(rng.randint(1, 5)), "score_b": float(rng.randint(1, 5)), "seconds": rng.random()}
        Verdict.objects.create(
            version=judges[2], pair=pair, order="ab", state=VerdictState.DONE, choice=rng.choice("ab"), **scores
        )
        Preference.objects.create(pair=pair, rater=judges[2].rater, choice=rng.choice("ab"), rationale="It says more.")
        Preference.objects.create(pair=pair, rater=judges[0].rater, choice=rng.choice("ab"), criterion=clear)
        source = rng.choice([RouteSource.AI, RouteSource.PEOPLE, RouteSource.AUDIT])
        odds = rng.choice([0.4, 0.8, 1.0])
        Route.objects.create(plan=plan, pair=pair, source=source, p_wrong=rng.random(), cost_usd=0, selection_prob=odds)


def answer(pair: Pair, people: list[Rater], clear: Criterion, rng: random.Random) -> None:
    first = None
    for rater in people[: rng.randint(2, 4)]:
        quoted = pair.response_a.text[:20] if rng.random() < 0.5 else "what nobody ever wrote"
        said = Preference.objects.create(
            pair=pair,
            rater=rater,
            choice=rng.choice(["a", "a", "b", "b", "tie", "unsure"]),
            strength=rng.choice([None, 1, 2, 3]),
            seconds=rng.choice([None, rng.random() * 60]),
            reading_seconds=rng.random() * 30,
            confidence=rng.choice([None, 1, 2, 3]),
            shown_order=rng.choice(["ab", "ba"]),
            rationale=rng.choice(["", f'I like "{quoted}".', "It is kinder."]),
            rationale_spans=[{"side": "a", "text": quoted}] if rng.random() < 0.5 else [],
        )
        Preference.objects.create(pair=pair, rater=rater, choice=rng.choice("ab"), criterion=clear)
        first = first or said
    Preference.objects.create(
        pair=pair, rater=people[0], choice=rng.choice("ab"), shown_order="ba", repeats=first, is_current=False
    )
    Label.objects.create(
        pair=pair,
        source=rng.choice([LabelSource.HUMAN, LabelSource.AI]),
        choice=rng.choice(["a", "b", "tie", ""]),
        p_correct=0.5 + rng.random() / 2,
        prob_a=rng.random(),
        strength=rng.choice([None, 1.0, 2.0]),
        resolved_at=timezone.now(),
    )


def parted(name: str, report: Any) -> tuple[Any, Any]:
    """Return what a report counts over the whole project, and all the rest of it."""
    names = WHOLE.get(name, ())
    if isinstance(report, list):
        halves = [parted(name, one) for one in report]
        return [whole for whole, _ in halves], [rest for _, rest in halves]
    whole = {key: value for key, value in report.items() if key in names}
    rest = {key: value for key, value in report.items() if key not in names}
    for inner in {"judges", "people"} & rest.keys():
        if isinstance(rest[inner], list):
            whole[inner], rest[inner] = parted(name, rest[inner])
    return whole, rest


class World:
    """The whole project, and one that holds only the groups which the sample of the whole draws."""

    def __init__(self) -> None:
        self.whole = make_world("whole", range(GROUPS))
        sizes = Counter(Pair.objects.filter(project=self.whole).values_list("prompt__group", flat=True))
        self.drawn = drawn_by_hand(sizes, sizes.__getitem__, seed=3, most=LEAST)
        self.pairs = sum(sizes[name] for name in self.drawn)
        self.part = make_world("part", sorted(int(name.split()[1]) for name in self.drawn))


@pytest.fixture
def world(settings: Any) -> World:
    world = World()
    settings.REPORT_PAIRS = LEAST
    return world


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of rows of every query."""
    read: list[int] = []
    iterate = compiler.cursor_iter

    def counted(*args: Any) -> Iterator[Any]:
        read.append(0)
        at = len(read) - 1
        for rows in iterate(*args):
            read[at] += len(rows)
            yield rows

    monkeypatch.setattr(compiler, "cursor_iter", counted)
    return read


def groups_of(project: Project, sample: Sample) -> set[str]:
    prompts = Prompt.objects.filter(sample.of_prompt(""), project=project)
    return set(prompts.values_list("group", flat=True))


# --- The draw -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 5, 11])
def test_draw_takes_whole_groups_by_their_hashes_from_where_the_seed_says(seed: int, settings: Any) -> None:
    project = make_project(with_people=False, seed=seed)
    sizes = {f"group {number}": 1 + number % 4 for number in range(40)}
    for name, size in sizes.items():
        for _ in range(size):
            make_pair(project, prompt=make_prompt(project, group=name))
    settings.REPORT_PAIRS = 30
    expected = drawn_by_hand(sizes, sizes.__getitem__, seed=seed, most=30)
    sample = sample_of(project)
    assert sample is not None
    assert groups_of(project, sample) == set(expected)
    pairs = sum(sizes[name] for name in expected)
    assert (sample.pairs, sample.of_pairs) == (pairs, sum(sizes.values()))
    assert 30 <= sample.pairs < 30 + 4
    assert (sample.groups, sample.of_groups, sample.seed) == (len(expected), 40, seed)
    assert sample.sentence == (
        f"Counted on a random sample: {pairs} of {sum(sizes.values())} pairs, which are all pairs of "
        f"{len(expected)} of 40 prompt groups (seed {seed})."
    )


def test_draw_goes_round_where_the_seed_begins_late(settings: Any) -> None:
    settings.REPORT_PAIRS = 30
    project = make_project(with_people=False)
    make_pairs(project, 40)
    found = []
    for project.seed in range(20):
        sample = sample_of(project)
        assert sample is not None
        assert (len(groups_of(project, sample)), sample.pairs) == (30, 30)
        found.append(sample.first > sample.last)
    assert set(found) == {True, False}


def test_draw_does_not_depend_on_the_order_of_import(settings: Any) -> None:
    settings.REPORT_PAIRS = 10
    drawn = []
    for slug, step in (("one", 1), ("other", -1)):
        project = make_project(slug, with_people=False)
        for number in range(40)[::step]:
            make_pair(project, prompt=make_prompt(project, f"Question {number}?", group=f"group {number}"))
        sample = sample_of(project)
        assert sample is not None
        drawn.append((groups_of(project, sample), sample))
    assert drawn[0] == drawn[1]


def test_nothing_is_drawn_up_to_the_number_of_pairs(settings: Any) -> None:
    project = make_project(with_people=False)
    make_pairs(project, 12)
    settings.REPORT_PAIRS = 12
    assert sample_of(project) is None
    settings.REPORT_PAIRS = 11
    assert sample_of(project) is not None


def test_a_sample_that_would_be_everything_is_none(settings: Any) -> None:
    project = make_project(with_people=False)
    prompt = make_prompt(project, group="the only one")
    for _ in range(3):
        make_pair(project, prompt=prompt)
    settings.REPORT_PAIRS = 2
    assert sample_of(project) is None


def test_a_prompts_draw_follows_its_group_however_it_is_written() -> None:
    project = make_project(with_people=False)
    made = make_prompt(project, group="one")
    [bulk] = Prompt.objects.bulk_create([Prompt(project=project, messages=[], content_hash="0", group="one")])
    other = make_prompt(project, group="other")
    draws = dict(Prompt.objects.values_list("id", "draw"))
    assert draws[made.pk] == draws[bulk.pk] == int(sha256(b"one").hexdigest()[:8], 16) // 2 != draws[other.pk]
    other.group = "one"
    other.save()
    other.refresh_from_db()
    assert other.draw == draws[made.pk]


@pytest.mark.either_database
def test_samples_are_not_biased_and_their_intervals_hold_the_truth(settings: Any) -> None:
    # The longer response wins nine times in ten in groups of four pairs, and four times in ten in groups of one: who
    # drew pairs, or cut groups, would see another share.
    project, rng = make_project(with_people=False), random.Random(7)
    prompts, responses, pairs, labels = [], [], [], []
    for number in range(400):
        size = 4 if number % 2 else 1
        prompt = Prompt(project=project, messages=[], content_hash=f"{number}", group=f"group {number}")
        prompts.append(prompt)
        for place in range(size):
            long, short = (
                Response(
                    prompt=prompt,
                    content_hash=f"{place} {side}",
                    messages=[{"role": "assistant", "content": "w " * side}],
                )
                for side in (9, 3)
            )
            pair = Pair(
                project=project, prompt=prompt, response_a=long, response_b=short, external_id=f"{number} {place}"
            )
            choice = "a" if rng.random() < (0.9 if size == 4 else 0.4) else "b"
            responses += [long, short]
            pairs.append(pair)
            labels.append(Label(pair=pair, source=LabelSource.HUMAN, choice=choice, resolved_at=timezone.now()))
    Prompt.objects.bulk_create(prompts)
    Response.objects.bulk_create(responses)
    Pair.objects.bulk_create(pairs)
    Label.objects.bulk_create(labels)
    truth = sum(label.choice == "a" for label in labels) / len(labels)
    settings.REPORT_PAIRS = 250
    found: list[float] = []
    held = 0
    for project.seed in range(60):
        sample = sample_of(project)
        mine = label_frame(project, sample=sample)
        longer = mine["pair_id"].map(read_ground(project, sample=sample).longer)
        figure = share(mine["choice"] == longer, mine["group"], seed=project.seed)
        assert figure.value is not None
        assert figure.interval is not None
        found.append(figure.value)
        held += int(figure.interval.low <= truth <= figure.interval.high)
    assert np.mean(found) == pytest.approx(truth, abs=3 * np.std(found) / np.sqrt(len(found)) + 0.002)
    assert held >= 54


# --- What is counted ------------------------------------------------------------------------------------------------


def test_sampled_reports_are_those_of_a_project_that_holds_only_the_groups(world: World, settings: Any) -> None:
    sampled = export_reports(world.whole, name_of=str)
    settings.REPORT_PAIRS = 10**6
    part, whole = (export_reports(project, name_of=str) for project in (world.part, world.whole))
    assert "sample" not in part
    told = sampled.pop("sample")
    assert (told["pairs"], told["of_pairs"]) == (world.pairs, Pair.objects.filter(project=world.whole).count())
    assert (told["groups"], told["of_groups"], told["seed"]) == (len(world.drawn), GROUPS, 3)
    assert sampled.keys() == part.keys() == whole.keys()
    for name, report in sampled.items():
        mine, of_part, of_whole = (parted(name, one) for one in (report, part[name], whole[name]))
        # What the sample says is that of its groups; what is said of the whole project is what it was.
        assert mine[1] == of_part[1], name
        assert mine[0] == of_whole[0], name
        if name in WHOLE and name != "steadiness":
            assert of_part[0] != of_whole[0], name
    assert sampled["agreement"]["people"] != whole["agreement"]["people"]


@pytest.mark.either_database
def test_every_report_by_itself_counts_the_same_sample(world: World, settings: Any) -> None:
    names = sorted(set(REPORTS) - set(NEVER_SAMPLED))
    sampled = {name: make_report(world.whole, name) for name in names}
    settings.REPORT_PAIRS = 10**6
    for name, report in sampled.items():
        told = report.pop("sample")
        assert told["pairs"] == world.pairs
        assert told["whole"] == list(WHOLE.get(name, ()))
        assert parted(name, report)[1] == parted(name, make_report(world.part, name))[1], name


def test_nobodys_standing_and_nobodys_pay_is_told_from_a_sample(world: World) -> None:
    for name in NEVER_SAMPLED:
        assert make_report(world.whole, name) == REPORTS[name](world.whole)


@pytest.mark.either_database
def test_reports_read_no_more_rows_than_those_of_the_sample(world: World, settings: Any, rows_read: list[int]) -> None:
    read_measures(world.whole)
    export_reports(world.whole, name_of=str)
    sampled = list(rows_read)
    settings.REPORT_PAIRS = 10**6
    rows_read.clear()
    export_reports(world.part, name_of=str)
    assert max(sampled) == max(rows_read)
    most = Pair.objects.filter(project=world.whole).count()
    rows_read.clear()
    export_reports(world.whole, name_of=str)
    assert max(rows_read) > most > max(sampled) / 3


def test_a_round_is_complete_only_where_every_pair_it_asked_is_answered(world: World) -> None:
    sample = sample_of(world.whole)
    plan = Plan.objects.get(project=world.whole)
    version = JudgeVersion.objects.filter(judge__project=world.whole).order_by("number")[0]
    plan.routes.exclude(source=RouteSource.AI).filter(pair__preferences__rater__name="nobody").delete()
    heard = Preference.objects.counted().filter(pair__project=world.whole, rater__name="emil")
    assert {route.pair_id for route in plan.routes.all()} == {one.pair_id for one in heard}
    [drawn] = read_measured(world.whole, version, [plan], sample=sample).rounds
    assert drawn.complete
    outside = plan.routes.exclude(source=RouteSource.AI).exclude(pair__prompt__group__in=world.drawn)[0]
    Preference.objects.filter(pair=outside.pair, rater__origin__in=[Origin.LIVE, Origin.SIMULATED]).delete()
    [drawn] = read_measured(world.whole, version, [plan], sample=sample).rounds
    assert not drawn.complete


# --- Where it is said -----------------------------------------------------------------------------------------------


@pytest.mark.either_database
def test_an_export_says_in_all_its_files_what_was_counted(world: World, tmp_path: Path) -> None:
    snapshot = take_snapshot(world.whole, out=tmp_path / "out", profiles=["dpo"])
    sample = sample_of(world.whole)
    assert sample is not None
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["sample"]["sentence"] == snapshot.report["sample"]["sentence"] == sample.sentence
    assert f"**Figures on this page: {sample.sentence}**" in (tmp_path / "out" / "README.md").read_text()
    croissant = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert sample.sentence in croissant["rai:dataAnnotationAnalysis"]
    assert sample.sentence in croissant["rai:dataBiases"]
    again = take_snapshot(world.whole, out=tmp_path / "again", profiles=["dpo"])
    assert again.content_hash == snapshot.content_hash


@pytest.mark.either_database
def test_an_export_of_a_project_that_is_counted_whole_says_nothing_of_a_sample(
    world: World, settings: Any, tmp_path: Path
) -> None:
    settings.REPORT_PAIRS = 10**6
    snapshot = take_snapshot(world.whole, out=tmp_path / "out", profiles=["dpo"])
    assert "sample" not in snapshot.report
    assert "random sample" not in (tmp_path / "out" / "README.md").read_text()


def test_the_command_says_what_was_counted(world: World, settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sample = sample_of(world.whole)
    assert sample is not None
    for name in ("judges", "noise"):
        call_command("report", "whole", name)
        assert sample.sentence in capsys.readouterr().out
    settings.REPORT_PAIRS = 10**6
    call_command("report", "whole", "noise")
    assert "random sample" not in capsys.readouterr().out


@pytest.mark.either_database
def test_pages_say_what_was_counted(world: World, admin_client: Client, settings: Any) -> None:
    sample = sample_of(world.whole)
    assert sample is not None
    version = JudgeVersion.objects.filter(judge__project=world.whole)[0]
    person = Rater.objects.get(project=world.whole, name="dora")
    pages = [f"reports/{section.name}/" for section in telling.SECTIONS]
    pages += ["agreement/", "people/", f"people/{person.pk}/", "judges/", f"judges/{version.pk}/audit/"]
    for page in pages:
        said = sample.sentence in admin_client.get(f"/projects/whole/{page}").text
        assert said == (page.removeprefix("reports/").removesuffix("/") not in NEVER_SAMPLED), page
    settings.REPORT_PAIRS = 10**6
    assert "random sample" not in admin_client.get("/projects/part/agreement/").text
