"""A simulated crowd at the application's pages: marked everywhere, counted as stored, the same for the same seed."""

import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from annotation.assigning import Opening, open_tasks
from annotation.errors import AnnotationError
from annotation.models import (
    Assignment,
    Choice,
    CrowdStudy,
    LedgerEntry,
    Origin,
    Preference,
    Project,
    Rater,
    RaterKind,
    Rating,
    Submission,
    Task,
)
from annotation.simulating.browsing import InProcess, OverHttp, Reply
from annotation.simulating.knowing import Knowledge, Source
from annotation.simulating.people import Habits, Kind, Mix, Person, draw_people
from annotation.simulating.registering import CannotSimulate, register, require_no_live_people
from annotation.simulating.reporting import CrowdReport, report_on
from annotation.simulating.running import Run, simulate
from annotation.simulating.serving import gold_looker
from annotation.skilling import set_needs
from exports.reading import read_records
from tests.builders import make_answer, make_gold, make_pair, make_preference, make_project

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
STAYING = Habits(leaves=0.0, lapses=0.0, doubles=0.0, comes_back=0.0)
RESTLESS = Habits(leaves=0.25, lapses=0.15, late=0.5, doubles=0.2, comes_back=1.0)
TWO = (Person("Iris", skill=0.95), Person("Juno", skill=0.9))


@pytest.fixture(autouse=True)
def _quiet(settings: Any) -> None:
    settings.OUTBOX_CONSUMERS = {}


def sample(slug: str = "study", pairs: int = 4, *, votes: int = 2, gold: int = 0, **settings: Any) -> Project:
    project = make_project(slug, **{"with_people": False, "questionnaire": {"repeat_percent": 0}, **settings})
    made = [make_pair(project, external_id=f"s-{number}") for number in range(pairs)]
    open_tasks(project, [Opening(pair.pk, -float(n)) for n, pair in enumerate(made)], votes_wanted=votes)
    for number in range(gold):
        make_gold(project, ["ab"[number % 2]], external_id=f"g-{number}")
    return project


def run_at(project: Project, people: Any = TWO, habits: Habits = STAYING, seed: int = 7, **options: Any) -> Run:
    options = {"answers_a_visit": 50, "door": InProcess(), **options}
    return simulate(project, people, seed=seed, habits=habits, **options)


def reported(project: Project, people: Any, run: Run, habits: Habits = STAYING, seed: int = 7) -> CrowdReport:
    return report_on(project, people, run, seed=seed, habits=habits)


def said(project: Project) -> dict[tuple[str, str], str]:
    rows = Preference.objects.filter(pair__project=project).values_list("pair__external_id", "rater__name", "choice")
    return {(pair, name): choice for pair, name, choice in rows}


def test_everything_is_marked_as_simulated_and_counted_as_stored() -> None:
    project = sample(pairs=6, gold=6, standards={"gold_percent": 25.0}, pay_per_answer_usd=Decimal("0.25"))
    people = draw_people(Mix(people=5, rate_per_hour=60), seed=7)
    run = run_at(project, people, RESTLESS)
    report = reported(project, people, run, RESTLESS)
    assert report.faults == []
    assert set(Rater.objects.values_list("origin", flat=True)) == {Origin.SIMULATED}
    assert all(rater.name.startswith("simulated: 7-") for rater in Rater.objects.all())
    assert set(Task.objects.filter(pair__gold=None).values_list("state", "answered")) == {("done", 2)}
    answered = Assignment.objects.answered()
    assert report.answers == run.answers == answered.count() == Preference.objects.count()
    assert (report.votes, report.pairs_done, report.pairs_open) == (12, 6, 0)
    assert report.gold == answered.filter(gold__isnull=False).count() > 0
    assert report.extras == answered.filter(state="extra").count()
    assert report.cost_usd == report.answers * Decimal("0.25")
    assert not LedgerEntry.objects.exists()
    # Everything that people do happened, and was borne.
    assert {"arrived", "left", "lapsed", "leases ended", "late", "sent twice"} <= set(run.events)
    assert report.truth == {"planted": 6}
    (kind,) = report.kinds
    right = sum(Knowledge(project, seed=7).of(p.pair_id).item.better == p.choice for p in Preference.objects.all())
    assert (kind.kind, kind.people, kind.answers, kind.right) == ("careful", 5, report.answers, right / report.answers)
    # In an export too.
    votes = [vote.origin for record in read_records(project, key=b"k") for vote in record.votes]
    assert votes == [Origin.SIMULATED] * 12


def test_pages_name_them_as_simulated(client: Client) -> None:
    project = sample(pairs=2, votes=1, with_people=True)
    run_at(project)
    client.login(username="ada", password="ada-password")
    page = client.get(f"/projects/{project.slug}/people/").text
    for person in TWO:
        assert f'simulated: {person.name}</a> <span class="chip">simulated</span>' in page
    study = CrowdStudy.objects.get()
    assert (study.name, study.state) == ("Simulated crowd, seed 7", "closed")


def test_the_same_seed_means_the_same_people_and_answers() -> None:
    # Everybody answers every pair, so that nothing depends on who was served first.
    one, two, other = (sample(slug, 3) for slug in ("one", "two", "three"))
    meant = [Counter(run_at(project, seed=seed).meant.values()) for project, seed in ((one, 7), (two, 7), (other, 8))]
    assert said(one) == said(two)
    assert meant[0] == meant[1]
    assert said(one) != said(other)
    assert len(said(one)) == 6


def test_a_run_that_was_stopped_goes_on_where_it_stopped() -> None:
    def stop(answers: int) -> None:
        if answers == 3:
            raise KeyboardInterrupt

    project, whole = sample(), sample("whole")
    first = run_at(project, progress=stop)
    assert (first.interrupted, first.answers, first.registered.resumes) == (True, 3, False)
    assert CrowdStudy.objects.get(project=project).state == "closed"
    second = run_at(project)
    assert (second.interrupted, second.registered.resumes) == (False, True)
    assert Preference.objects.filter(pair__project=project).count() == 8
    report = reported(project, TWO, second)
    assert (report.faults, report.answers, report.resumed) == ([], 8, True)
    run_at(whole)
    assert said(project) == said(whole)
    assert run_at(project).answers == 0


def test_another_crowd_of_the_same_seed_is_refused() -> None:
    project = sample()
    run_at(project, TWO[:1])
    with pytest.raises(CannotSimulate, match="Seed 7 was used in study for another crowd"):
        run_at(project)
    assert run_at(project, TWO[1:], seed=8).answers == 4


def test_bad_people_are_paused_or_flagged_and_good_ones_are_not() -> None:
    project = sample(
        pairs=24,
        gold=24,
        standards={"gold_percent": 25.0, "pause_on_gold": True, "exclude_on_pause": True},
    )
    people = [*TWO, Person("Mona", Kind.SPAMMER)]
    run = run_at(project, people, look=gold_looker(project), answers_a_visit=200)
    report = reported(project, people, run)
    assert report.faults == []
    kinds = {kind.kind: kind for kind in report.kinds}
    assert (kinds["careful"].paused, report.wrongly_paused) == (0, 0)
    assert kinds["spammer"].paused == 1
    assert kinds["spammer"].gold_until_paused == kinds["spammer"].gold <= 15
    assert kinds["careful"].right is not None
    assert kinds["careful"].right > 0.8
    # What the paused said counts no more; their pairs went to others.
    assert (report.votes, report.pairs_open) == (48, 0)
    assert not Preference.objects.counted().filter(rater__name="simulated: Mona").exists()
    assert report.ended_as["failed_attention_check"] >= 1


def test_a_one_sided_person_stands_out_by_sides_or_gold() -> None:
    project = sample(pairs=24, votes=1)
    people = [Person("Nils", Kind.ONE_SIDED)]
    report = reported(project, people, run_at(project, people))
    assert [(kind.kind, kind.flagged) for kind in report.kinds] == [("one-sided", 1)]


def test_rows_of_ratings_and_criteria_are_all_answered() -> None:
    project = make_project(
        "rated",
        with_people=False,
        template="pairwise_ratings",
        questionnaire={"by_criterion": True, "confidence": True, "repeat_percent": 0},
    )
    for position, name in enumerate(("overall", "truth", "style")):
        project.criteria.create(name=name, position=position)
    open_tasks(project, [Opening(make_pair(project).pk) for _ in range(3)], votes_wanted=1)
    run = run_at(project, TWO[:1])
    assert (run.answers, run.faults) == (3, [])
    assert set(Preference.objects.filter(criterion=None).values_list("confidence", flat=True)) <= {1, 2, 3}
    rated = Rating.objects.filter(rater__name="simulated: Iris")
    assert rated.count() == 3 * 2 * 3
    for answer in Preference.objects.filter(criterion=None, choice__in=["a", "b"]):
        pair = answer.pair
        scores: Mapping[Any, float] = dict(
            rated.filter(criterion__name="truth", response__in=[pair.response_a, pair.response_b]).values_list(
                "response_id", "value"
            )
        )
        better = pair.response_a_id if answer.choice == "a" else pair.response_b_id
        assert max(scores, key=lambda one: scores[one]) == better


def test_a_reason_is_labelled_and_only_a_right_answer_has_the_files() -> None:
    project = make_project("sample", with_people=False)
    meta = {"better": "b", "better_why": "It proves its claim."}
    open_tasks(project, [Opening(make_pair(project, meta=meta).pk) for _ in range(6)], votes_wanted=1)
    run_at(project, [Person("Iris", skill=0.51, tie=0.0, side=0.0)])
    reasons = set(Preference.objects.values_list("choice", "rationale"))
    assert reasons == {("b", "(simulated) It proves its claim."), ("a", "")}


def test_the_truth_is_gold_then_the_files_then_peoples_then_planted() -> None:
    project = make_project(with_people=False)
    gold = make_gold(project, ["tie"], meta={"better": "a"}).pair
    filed = make_pair(project, meta={"better": "both_bad"})
    recorded, split, bare = (make_pair(project, meta={"better": "c"}) for _ in range(3))
    for name, choice in (("pat", "a"), ("quinn", "a"), ("rosa", "b")):
        make_preference(recorded, name, choice)
    for name, choice in (("pat", "a"), ("quinn", "b")):
        make_preference(split, name, choice)
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="judge")
    make_preference(bare, judge, "b")
    knowledge = Knowledge(project, seed=5)
    found = [knowledge.of(pair.pk) for pair in (gold, filed, recorded, split, bare)]
    assert [one.source for one in found] == [
        Source.GOLD,
        Source.FILE,
        Source.PEOPLE,
        Source.PLANTED,
        Source.PLANTED,
    ]
    assert [one.item.better for one in found[:3]] == [Choice.TIE, Choice.BOTH_BAD, Choice.A]
    assert [one.item.is_gold for one in found] == [True, False, False, False, False]
    assert [one.item.judged for one in found] == [None, None, None, None, Choice.B]
    assert Knowledge(project, seed=5).of(bare.pk) == found[4]


def test_pairs_that_need_a_skill_are_answered_too() -> None:
    project = sample(pairs=2, votes=1)
    set_needs(project, language=True, domain=False)
    assert set(Task.objects.values_list("language", flat=True)) == {"en"}
    assert run_at(project).answers == 2


# --- Refusals -------------------------------------------------------------------------------------------------------


def test_nobody_is_simulated_beside_live_people() -> None:
    project = sample(with_people=True)
    with pytest.raises(CannotSimulate, match=r"members who answer: 2.*--beside-people"):
        require_no_live_people(project)
    alone = sample("alone")
    require_no_live_people(alone)
    make_answer(make_pair(alone), "ben")
    with pytest.raises(CommandError, match="people with pairs or answers: 1"):
        call_command("simulate_crowd", "alone")


def test_somebody_of_a_simulated_name_is_not_spoken_for() -> None:
    project = sample()
    Rater.objects.create(project=project, kind=RaterKind.PERSON, name="simulated: Juno", origin=Origin.RECORDED)
    with pytest.raises(AnnotationError, match="who is not simulated"):
        run_at(project)
    assert not CrowdStudy.objects.exists()
    assert Rater.objects.count() == 1


def test_nobody_is_simulated_on_orders_and_nothing_is_begun() -> None:
    project = make_project("orders", with_people=False, template="ranking")
    with pytest.raises(CannotSimulate, match="orders asks for orders of several responses"):
        run_at(project)
    assert not Rater.objects.exists()


class Elsewhere:
    """A server on another database, or one that lets everybody in."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        return Reply(self.statuses.pop(0), "", ())

    def close(self) -> None:
        """Hold nothing."""


def test_a_server_on_another_database_is_left_alone() -> None:
    project = sample()
    with pytest.raises(CannotSimulate, match="HTTP 404, as one that works on another database"):
        run_at(project, door=Elsewhere(404))
    with pytest.raises(CannotSimulate, match="let somebody in who is not in this database"):
        run_at(project, door=Elsewhere(403, 200))
    assert not Preference.objects.exists()


def test_a_run_stops_where_the_server_fails_again_and_again() -> None:
    project = sample()
    people = draw_people(Mix(people=30), seed=7)
    with pytest.raises(CannotSimulate, match="stopped after 20 replies that nobody should get: HTTP 500"):
        run_at(project, people, door=Elsewhere(403, *[500] * 20))


def test_registering_stores_the_marks_before_anybody_arrives() -> None:
    project = sample()
    registered = register(project, TWO, STAYING, seed=7, answers_a_visit=20)
    assert not Submission.objects.exists()
    assert {rater.origin for rater in registered.raters.values()} == {Origin.SIMULATED}
    assert registered.study.answers_wanted == 20


@pytest.mark.parametrize(
    "url", ["example.org", "ftp://example.org", "http://127.0.0.1:8000/?x=1", "https://example.org/people"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(AnnotationError, match="is no address of a server"):
        OverHttp(url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kinds", "clicker,lazy"], "no bad kind 'lazy'"),
        (["--habit", "sleeps=1"], "no habit 'sleeps'"),
        (["--habit", "leaves=often"], "--habit leaves takes a number"),
        (["--speed", "0"], "--speed takes a number above 0"),
        (["--at-once", "0"], "--at-once takes 1 to 64"),
        (["--visit", "0"], "--visit takes 1 or more"),
        (["--people", "0"], "1 to 10,000 people"),
        (["--url", "http://127.0.0.1:1"], "does not answer"),
    ],
)
def test_the_command_refuses_what_does_not_fit(options: list[str], message: str) -> None:
    sample()
    with pytest.raises(CommandError, match=message):
        call_command("simulate_crowd", "study", *options, stdout=StringIO())
    assert not Preference.objects.exists()


def test_the_command_says_what_came_of_it_and_what_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample(pairs=3, votes=1)
    monkeypatch.setattr("annotation.management.commands.simulate_crowd.OverHttp", lambda _url: InProcess())
    out = StringIO()
    options = ["--people", "3", "--bad", "0.34", "--kinds", "clicker", "--url", "http://127.0.0.1:1", "--json"]
    call_command("simulate_crowd", "study", *options, stdout=out)
    *lines, last = out.getvalue().splitlines()
    said = json.loads(last)
    assert lines[0] == "Simulated crowd of 3 at study (seed 0); truth of the pairs: 3 planted."
    assert [line.split()[0] for line in lines[1:4]] == ["kind", "careful", "clicker"]
    assert "The server's clock is real" in "\n".join(lines)
    assert "Every invariant holds" in lines[-1]
    assert (said["origin"], said["answers"], said["cost_usd"], said["faults"]) == ("simulated", 3, "0.9000", [])
    assert [(kind["kind"], kind["people"]) for kind in said["kinds"]] == [("careful", 2), ("clicker", 1)]
