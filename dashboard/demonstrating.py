"""The whole job on the bundled sample, with the same functions that pages, commands and tasks call.

The people in it are simulated and carry that in their names and their origin; the learned baseline, the length rule,
the router and the export are the real ones, and so is the local model, where its packages are installed.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.db.models import Count, Sum

from annotation.assigning import rater_for
from annotation.creating import create_project
from annotation.importing import import_pairs
from annotation.models import Membership, Pair, Project, Role, User
from annotation.simulating.browsing import InProcess
from annotation.simulating.people import Habits, Person
from annotation.simulating.running import simulate
from exports.models import Snapshot
from exports.snapshotting import take_snapshot
from judges.auditing import judge_card
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import JudgeKind, JudgeVersion, Verdict
from judges.running import start_run, work_off
from routing.labels.resolving import resolve_labels
from routing.models import Label, Plan, PlanState, Route, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan

SAMPLE = Path(__file__).parent / "sample" / "pairs.jsonl"
CROWD = tuple(
    Person(name, skill=skill, tie=0.05, side=0.0) for name, skill in (("Iris", 0.95), ("Juno", 0.88), ("Kai", 0.80))
)
# They answer all there is in one visit, and every pair is as easy as another.
STEADY = Habits(leaves=0.0, lapses=0.0, doubles=0.0, comes_back=0.0, ease_spread=0.0)
MOST_ANSWERS = 10_000
AUDIT_SHARE = 0.40
BUDGET = "25%"
# Pairs the local model is asked about: enough to see its position bias, few enough for a minute on two cores.
LOCAL_PAIRS = 12
# Left open at the end, so that a visitor has something to answer.
OPEN_FOR_VISITORS = "12%"
GUIDELINES = """Choose the response you would rather get as the person who asked.

1. **Right before nice.** A wrong or dangerous answer loses, however well it is written.
2. **What was asked for.** Limits such as "three titles" or "at most 20 words" count.
3. **Length is no merit.** Prefer the shorter one when both say the same.

Say in a few words why. If you cannot judge (language, subject), say so: that is a useful answer.
"""


class Narrator(Protocol):
    """Shows a person what is going on."""

    def stage(self, title: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """Open a stage; the value called with the number done so far moves its bar."""

    def say(self, text: str) -> None:
        """Print a line."""


class Login(NamedTuple):
    """A way to sign in, printed once."""

    username: str
    password: str
    does: str


class DemoReport(NamedTuple):
    """What the demo did, for the summary and for `--json`."""

    project: Project
    labels: dict[str, int]
    judges: list[dict[str, Any]]
    plan: Plan
    snapshot: Snapshot
    answers: int
    people_usd: Decimal
    models_usd: Decimal
    open_pairs: int
    notes: list[str]
    logins: list[Login]


def demonstrate(narrator: Narrator, *, seed: int = 0) -> DemoReport:
    """Run the main job on the bundled sample in a new project and return what happened."""
    project = _make_project(seed)
    notes: list[str] = []
    with narrator.stage("import the sample") as done:
        done(import_pairs(project, SAMPLE, progress=done).added)

    _judge(narrator, add_judge(project, "length", kind=JudgeKind.LENGTH), "the length rule labels every pair")
    audit = draw_plan(
        project, budget=Budget.parse(f"{AUDIT_SHARE:.0%}"), judge="length", audit_share=AUDIT_SHARE, seed=seed
    )
    apply_plan(audit)
    answers = _answer(narrator, project, "a simulated crowd of three answers a random audit slice", seed)

    learned = add_judge(project, "learned", kind=JudgeKind.LEARNED)
    _judge(narrator, learned, "a baseline learned from those answers labels every pair")
    if note := _judge_locally(narrator, project):
        notes.append(note)

    with narrator.stage(f"the router spends a budget of {BUDGET}") as done:
        plan = draw_plan(project, budget=Budget.parse(BUDGET), seed=seed)
        done(apply_plan(plan))
    answers += _answer(narrator, project, "the simulated crowd answers what the router chose", seed + 1)

    with narrator.stage("export the dataset and its report") as done:
        resolve_labels(project)
        snapshot = take_snapshot(project, profiles=("dpo",), out=settings.EXPORT_DIR / project.slug, seed=seed)
        done(len(snapshot.files))
    logins = _make_logins(project)
    with narrator.stage("open a second round for you") as done:
        visitors = draw_plan(project, budget=Budget.parse(OPEN_FOR_VISITORS), seed=seed + 1)
        open_pairs = apply_plan(visitors)
        done(open_pairs)

    labels = Label.objects.filter(pair__project=project).exclude(choice="").values_list("source")
    return DemoReport(
        project=project,
        labels=dict(labels.annotate(Count("id")).order_by("source")),
        judges=[_judge_row(version) for version in JudgeVersion.objects.filter(judge__project=project)],
        plan=plan,
        snapshot=snapshot,
        answers=answers,
        people_usd=answers * project.pay_per_answer_usd,
        models_usd=Verdict.objects.filter(version__judge__project=project).aggregate(Sum("cost_usd"))["cost_usd__sum"]
        or Decimal(0),
        open_pairs=open_pairs,
        notes=notes,
        logins=logins,
    )


def _make_project(seed: int) -> Project:
    """Return a new project; earlier demos are kept, so a number tells them apart."""
    taken = set(Project.objects.filter(slug__startswith="demo").values_list("slug", flat=True))
    number = next(number for number in range(1, len(taken) + 2) if _slug(number) not in taken)
    return create_project(
        slug=_slug(number),
        title="Demo: which answer is better?" if number == 1 else f"Demo {number}: which answer is better?",
        guidelines=GUIDELINES,
        votes_wanted=len(CROWD),
        people_budget_usd=Decimal(150),
        models_budget_usd=Decimal(5),
        seed=seed,
    )


def _slug(number: int) -> str:
    return "demo" if number == 1 else f"demo-{number}"


def _judge(narrator: Narrator, version: JudgeVersion, title: str, pairs: Sequence[Pair] | None = None) -> None:
    # Answered in this process, so nothing is sent to a worker.
    run = start_run(version, pairs=pairs, send=False)
    with narrator.stage(title, run.verdicts.count()) as done:
        work_off(run, progress=lambda finished, _total: done(finished))


def _judge_locally(narrator: Narrator, project: Project) -> str:
    """Ask the local model about a few pairs; return why not, where it is not to be had."""
    try:
        version = add_judge(project, "smollm2", kind=JudgeKind.LOCAL)
        title = f"a small local model judges {LOCAL_PAIRS} pairs in both orders, for real"
        _judge(narrator, version, title, _shortest_pairs(project, LOCAL_PAIRS))
    except JudgeError as error:
        narrator.say(f"The demo goes on without the local model: {error}")
        return str(error)
    return ""


def _answer(narrator: Narrator, project: Project, title: str, seed: int) -> int:
    open_slots = Route.objects.filter(
        plan__project=project,
        plan__state=PlanState.APPLIED,
        source__in=[RouteSource.PEOPLE, RouteSource.AUDIT],
        pair__tasks__state="open",
    ).count() * len(CROWD)
    with narrator.stage(title, open_slots) as done:
        run = simulate(
            project, CROWD, seed=seed, door=InProcess(), habits=STEADY, answers_a_visit=MOST_ANSWERS, progress=done
        )
    return run.answers


def _make_logins(project: Project) -> list[Login]:
    """Return logins of a manager and an annotator, with new passwords each time, for they are only printed."""
    logins = []
    for username, role, does in (
        ("ada", Role.MANAGER, "manages: plans, judges, people, exports"),
        ("ben", Role.ANNOTATOR, "answers pairs"),
    ):
        user, _ = User.objects.get_or_create(username=username)
        password = secrets.token_urlsafe(9)
        user.set_password(password)
        user.save()
        Membership.objects.update_or_create(project=project, user=user, defaults={"role": role})
        if role == Role.ANNOTATOR:
            rater_for(project, user)
        logins.append(Login(username, password, does))
    return logins


def _judge_row(version: JudgeVersion) -> dict[str, Any]:
    return {"name": version.judge.name, "kind": version.judge.kind, **judge_card(version).as_dict()}


def _shortest_pairs(project: Project, count: int) -> list[Pair]:
    """Return the pairs with the least text: a model on one core reads some 150 tokens a second."""

    def length(pair: Pair) -> int:
        prompt = sum(len(message["content"]) for message in pair.prompt.messages)
        return prompt + len(pair.response_a.text) + len(pair.response_b.text)

    return sorted(Pair.objects.in_project(project).with_texts(), key=length)[:count]
