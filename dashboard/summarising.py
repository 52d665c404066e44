"""What a project's home shows: how far its pairs are, what it cost, and what needs the manager."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.urls import reverse
from django.utils import timezone

from annotation.models import (
    Assignment,
    Choice,
    Import,
    Origin,
    Pair,
    Payment,
    Preference,
    Project,
    RaterKind,
    Task,
    TaskState,
)
from annotation.models.money import UNDER_WAY
from annotation.money.booking import balance_of, fees_of
from annotation.slating import asked_in
from judges.models import JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from routing.auditing.estimating import judge_accuracy
from routing.labels.resolving import resolving_judge
from routing.models import Label, LabelSource, Plan, PlanState, RouteSource
from routing.plans.closing import asked_routes

DAYS_SHOWN = 30


class Branch(NamedTuple):
    """One source of labels in the flow picture: its pairs, how many are finished, and the list that shows them."""

    source: str
    name: str
    pairs: int
    done: int
    state: str


class Flow(NamedTuple):
    """The way of a project's pairs, as counts."""

    imported: int
    judged: int
    branches: list[Branch]
    unlabelled: int
    resolved: int
    disputed: int
    withheld: int

    @property
    def widest(self) -> int:
        """Return the largest branch, the full width of a bar (at least 1)."""
        return max([branch.pairs for branch in self.branches], default=0) or 1


class Money(NamedTuple):
    """What was spent on people and on models, with the budgets (None: no limit), in US dollars.

    On people: what they earned, whether it is paid or `owed_usd` yet, and what platforms took.
    """

    people_usd: Decimal
    owed_usd: Decimal
    people_budget_usd: Decimal | None
    paid_answers: int
    promised_answers: int
    models_usd: Decimal
    models_budget_usd: Decimal | None
    unpriced_calls: int


class Need(NamedTuple):
    """Something only the manager can settle, and the page to do it on."""

    text: str
    href: str
    hue: str


class ProjectRow(NamedTuple):
    """A project in the list of projects."""

    project: Project
    pairs: int
    labels: int
    by_people: int
    disputed: int
    open_tasks: int


def project_rows(projects: list[Project]) -> list[ProjectRow]:
    """Return each project with its counts; three queries, however many projects."""
    pairs = _by_project(Pair.objects.filter(project__in=projects), "project")
    labels = Label.objects.filter(pair__project__in=projects)
    resolved = _by_project(labels.exclude(choice=""), "pair__project")
    people = _by_project(labels.exclude(choice="").exclude(source=LabelSource.AI), "pair__project")
    disputed = _by_project(labels.filter(choice="").exclude(source=LabelSource.AI), "pair__project")
    tasks = _by_project(Task.objects.filter(project__in=projects, state=TaskState.OPEN), "project")
    return [
        ProjectRow(
            project,
            pairs.get(project.pk, 0),
            resolved.get(project.pk, 0),
            people.get(project.pk, 0),
            disputed.get(project.pk, 0),
            tasks.get(project.pk, 0),
        )
        for project in projects
    ]


def flow_of(project: Project) -> Flow:
    """Return the counts of the flow picture; four queries.

    Every pair is in one branch: what a plan gave to people stands there, answered or not, and elsewhere only what no
    plan gave to them. Labels of people that no plan asked for (they came with the file) are a branch of their own.
    """
    imported = Pair.objects.filter(project=project).count()
    judged = Preference.objects.counted().filter(rater__project=project, rater__kind=RaterKind.JUDGE)
    routed = asked_routes().filter(plan__project=project)
    finished = asked_in(Task.objects.filter(state=TaskState.DONE), pair="pair__")
    asked = {
        source: (pairs, done)
        for source, pairs, done in routed.values_list("source").annotate(
            pairs=Count("pair", distinct=True),
            done=Count("pair", distinct=True, filter=finished),
        )
    }
    labels = Label.objects.filter(pair__project=project)
    unasked = ~Q(Exists(routed.filter(pair=OuterRef("pair"))))
    counts = labels.aggregate(
        ai=Count("id", filter=Q(source=LabelSource.AI) & unasked),
        recorded=Count("id", filter=Q(source=LabelSource.HUMAN) & unasked),
        adjudicated=Count("id", filter=Q(source=LabelSource.ADJUDICATED) & unasked),
        resolved=Count("id", filter=~Q(choice="")),
        disputed=Count("id", filter=Q(choice="") & ~Q(source=LabelSource.AI)),
        withheld=Count("id", filter=Q(choice="", source=LabelSource.AI)),
    )
    people, people_done = asked.get(RouteSource.PEOPLE, (0, 0))
    audit, audit_done = asked.get(RouteSource.AUDIT, (0, 0))
    branches = [
        Branch("ai", "AI label", counts["ai"], counts["ai"], "ai"),
        Branch("people", "People", people, people_done, "people"),
        Branch("audit", "Audit slice", audit, audit_done, "audit"),
    ]
    for name, key in (("Not routed", "recorded"), ("Adjudicated", "adjudicated")):
        if counts[key]:
            branches.append(Branch("people", name, counts[key], counts[key], key))
    return Flow(
        imported=imported,
        judged=judged.aggregate(n=Count("pair", distinct=True))["n"],
        branches=branches,
        unlabelled=imported - sum(branch.pairs for branch in branches),
        resolved=counts["resolved"],
        disputed=counts["disputed"],
        withheld=counts["withheld"],
    )


def has_unresolved(project: Project) -> bool:
    """Say whether some pair has no label yet and would get one now: from people, or from the judge that labels."""
    answers = Preference.objects.counted().filter(pair=OuterRef("pk")).exclude(choice=Choice.UNSURE)
    unlabelled = Pair.objects.filter(project=project, label__isnull=True)
    if unlabelled.filter(Exists(answers.of_people())).exists():
        return True
    if not unlabelled.filter(Exists(answers.of_judges())).exists():
        return False
    version = resolving_judge(project).version
    return version is not None and unlabelled.filter(Exists(answers.filter(rater=version.rater_id))).exists()


def money_of(project: Project) -> Money:
    """Return what was spent; five queries. Only answers given here by people are paid, as in the spending report.

    An order of several responses is one answer; a hidden repeat is one too.
    """
    paid = Assignment.objects.paid().filter(task__project=project).count()
    balance = balance_of(project)
    verdicts = Verdict.objects.filter(version__judge__project=project)
    models = verdicts.aggregate(
        usd=Sum("cost_usd"), unpriced=Count("id", filter=Q(state=VerdictState.DONE, cost_usd__isnull=True))
    )
    tasks = Task.objects.filter(project=project, state=TaskState.OPEN).aggregate(
        # A pair on which people differ may come to more answers than are wanted now.
        wanted=Sum(Coalesce("most_votes", "votes_wanted")),
        answered=Sum("answered"),
    )
    return Money(
        people_usd=balance.earned_usd + fees_of(project),
        owed_usd=balance.owed_usd,
        people_budget_usd=project.people_budget_usd,
        paid_answers=paid,
        promised_answers=(tasks["wanted"] or 0) - (tasks["answered"] or 0),
        models_usd=models["usd"] or Decimal(0),
        models_budget_usd=project.models_budget_usd,
        unpriced_calls=models["unpriced"],
    )


def needs_of(project: Project, flow: Flow, judges: list[dict[str, Any]]) -> list[Need]:
    """Return what waits for the manager, most pressing first; five queries.

    `judges` are the rows of the judges' report.
    """
    needs = []
    to = {name: reverse(name, args=[project.slug]) for name in ("pairs", "judges", "imports", "routing", "people")}
    payment = Payment.objects.filter(project=project, state__in=UNDER_WAY).first()
    if payment is not None:
        text = f"payment {payment.number} of ${payment.total_usd:,.2f} is {payment.get_state_display().lower()}"
        needs.append(Need(text, reverse("payment", args=[project.slug, payment.number]), "people"))
    if flow.disputed:
        text = f"{_count(flow.disputed, 'disputed pair')}: people share the first place"
        needs.append(Need(text, f"{to['pairs']}?state=disputed", "disputed"))
    if flow.withheld:
        text = f"{_count(flow.withheld, 'pair')} without a label: the judge's answer is withheld, so people decide"
        needs.append(Need(text, f"{to['pairs']}?state=withheld", "disputed"))
    paused = JudgeRun.objects.filter(project=project, state=RunState.PAUSED).select_related("version__judge")
    needs += [Need(f"the run of {run.version} is paused: {run.reason}", to["judges"], "ai") for run in paused]
    failed = JudgeVersion.objects.filter(judge__project=project, verdicts__state=VerdictState.FAILED)
    failing = failed.annotate(failures=Count("verdicts")).select_related("judge").order_by("judge__name", "number")
    needs += [
        Need(f"{_count(version.failures, 'question')} to {version} failed", f"{to['pairs']}?state=failed", "ai")
        for version in failing
    ]
    # A judge that was not run yet is not in anybody's way.
    needs += [
        Need(
            f"judge “{row['judge']}” v{row['version']} may not label alone: {row['reasons'][0].split(':')[0]}",
            to["judges"],
            "ai",
        )
        for row in judges
        if not row["trusted"] and row["n_pairs"]
    ]
    last = Import.objects.filter(project=project).first()
    if last is not None and last.state in (Import.State.REFUSED, Import.State.FAILED):
        needs.append(Need(f"{last.filename} was not imported", to["imports"], "disputed"))
    draft = Plan.objects.filter(project=project).first()
    if draft is not None and draft.state == PlanState.DRAFT:
        needs.append(Need("a plan is drawn and not applied", to["routing"], "people"))
    return needs


def measured_agreement(project: Project) -> dict[str, Any]:
    """Return how often AI labels agree with people, from the newest applied plan whose audit can tell, and its `judge`.

    The judge is the one that labels now; any plan's audit measures it, for the draw does not depend on the judge.
    Without one that can tell it is what the newest plan is short of, or that there is none.
    """
    applied = list(
        Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at").defer("predictor")
    )
    if not applied:
        return {"note": "no audit yet"}
    judge = applied[0].figures["judge"]
    version = JudgeVersion.objects.get(pk=judge["version_id"])
    found = [
        {"judge": judge["name"], "version_id": judge["version_id"], **judge_accuracy(plan, version)} for plan in applied
    ]
    return next((measured for measured in found if "estimate" in measured), found[0])


def answers_by_day(project: Project) -> list[dict[str, Any]]:
    """Return `[{day, origin, answers}]` of people's answers given here in the last 30 days; one query."""
    since = timezone.now() - timedelta(days=DAYS_SHOWN)
    answers = Assignment.objects.answered().filter(task__project=project, finished_at__gte=since)
    by_day = answers.annotate(day=TruncDate("finished_at")).values("day", "rater__origin").annotate(n=Count("id"))
    names = dict(Origin.choices)
    return [
        {"day": row["day"].isoformat(), "origin": names[row["rater__origin"]], "answers": row["n"]}
        for row in by_day.order_by("day", "rater__origin")
    ]


def _by_project(rows: Any, field: str) -> dict[Any, int]:
    return dict(rows.order_by().values_list(field).annotate(n=Count("id")))


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
