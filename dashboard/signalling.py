"""What the page of signals shows: those in use with what each is worth, and what can be switched on at what price."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, Max, Q
from django.utils import timezone

from annotation.models import Pair, Project
from dashboard.following import Following, follow
from dashboard.remembering import data_version, remembered
from dashboard.signal_names import signal_name
from dashboard.waiting import PATIENCE
from judges.models import JudgeRun, JudgeVersion, RunPurpose
from judges.running import writes
from routing.errors import RoutingError
from routing.models import Plan, PlanSignals, PlanState, SignalSettings
from routing.plans.reasoning import unpack_signals
from routing.plans.trusting import choose_judge, find_version, full_name
from routing.predicting.labelling import label_pairs
from routing.signals.extending import Column, column_candidates, settings_key, settings_of
from routing.signals.likening import Embedded, Embedder, embedded_of, endpoint_in
from routing.signals.reading import read_judged
from routing.signals.surveying import KINDS, Surveyed, survey_signals
from routing.signals.tagging import TagQuote, quote_tags

# Above this a page would wait too long for signals that nobody has computed yet.
LIVE_PAIRS = 10_000


class Group(NamedTuple):
    """The signals of one kind, with their names as a person reads them."""

    title: str
    rows: list[tuple[str, Surveyed]]


class Survey(NamedTuple):
    """The signals in use about one judge; `nothing` says why there are none to show, `source` what they are from.

    `labelled` is how many pairs that judge and people both answered; None where that was not looked at.
    """

    judge: str
    groups: list[Group]
    pairs: int
    labelled: int | None
    source: str = ""
    nothing: str = ""


class Fetching(NamedTuple):
    """An embeddings endpoint and how many responses it has embedded; `working` while a worker holds the lease.

    `waiting_since`: no worker has begun although one was asked a minute ago or more.
    """

    endpoint: Embedder
    embedded: Embedded
    working: bool
    asked: bool
    waiting_since: datetime | None
    error: str

    @property
    def can_start(self) -> bool:
        """Say whether something is missing that no worker is at, or should be soon."""
        idle = not self.working and (not self.asked or self.waiting_since is not None)
        return idle and self.embedded.missing > 0


class Tagging(NamedTuple):
    """The judge that tags prompts, what the rest would cost, and its newest run."""

    version: JudgeVersion
    quote: TagQuote
    run: Following | None


def signal_survey(project: Project) -> Survey:
    """Return the signals in use, computed once for each state of the data.

    About the judge of the newest plan, or the one a plan would take. Where there are many pairs, those that the newest
    plan was drawn from: they are stored.
    """
    key = f"survey:{data_version(project)}:{settings_key(project)}"
    return remembered(key, lambda: _survey(project))


def columns_of(project: Project) -> list[Column]:
    """Return the columns that the pairs brought with them, read again when pairs were added."""
    there = Pair.objects.filter(project=project).aggregate(n=Count("id"), last=Max("created_at"))
    last = there["last"].timestamp() if there["last"] else 0
    return remembered(f"columns:{project.pk}:{there['n']}:{last}", lambda: column_candidates(project))


def taggers_of(project: Project) -> list[JudgeVersion]:
    """Return the versions that can tag prompts: the newest of each judge that writes, by name."""
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge", "rater")
    newest: dict[Any, JudgeVersion] = {}
    for version in versions.order_by("judge__name", "number"):
        if writes(version):
            newest[version.judge_id] = version
    return list(newest.values())


def tagging_of(settings: SignalSettings) -> Tagging | None:
    """Return how far the tags are; None where no judge tags prompts."""
    if settings.tagger is None:
        return None
    runs = JudgeRun.objects.filter(version=settings.tagger, purpose=RunPurpose.TAG).select_related("version__judge")
    run = runs.order_by("-created_at").first()
    return Tagging(settings.tagger, quote_tags(settings.tagger), follow(run) if run else None)


def fetching_of(project: Project, settings: SignalSettings | None = None) -> Fetching | None:
    """Return how far the vectors of an endpoint are; None where the embedder is none."""
    settings = settings or settings_of(project)
    endpoint = endpoint_in(settings.embedder)
    if endpoint is None:
        return None
    now, asked_at = timezone.now(), settings.embedding_asked_at
    working = settings.embedding_until is not None and settings.embedding_until > now
    return Fetching(
        endpoint,
        embedded_of(project, settings.embedder),
        working,
        asked_at is not None,
        asked_at if asked_at is not None and asked_at < now - PATIENCE else None,
        settings.embedding_error,
    )


def _survey(project: Project) -> Survey:
    pairs = Pair.objects.filter(project=project).count()
    plan = Plan.objects.filter(Q(state=PlanState.DRAFT) | Q(state=PlanState.APPLIED), project=project).first()
    try:
        version = find_version(project, plan.judge_name) if plan else choose_judge(project).version
    except RoutingError as error:
        return Survey("", [], pairs, None, nothing=str(error))
    if pairs <= LIVE_PAIRS:
        judged = read_judged(project, [version])
        labelled = label_pairs(project, judged)
        groups = judged.groups[labelled.rows].to_numpy(dtype=object)
        found = survey_signals(
            judged.signals, labelled.rows, labelled.wrong, groups, judge=version.judge.name, seed=project.seed
        )
        return Survey(full_name(version), _grouped(found), pairs, int(labelled.rows.sum()))
    stored = PlanSignals.objects.filter(plan=plan).first() if plan else None
    if plan is None or stored is None:
        nothing = f"With {pairs:,} pairs the signals are computed with a plan. Draw one, and they are shown here."
        return Survey(full_name(version), [], pairs, None, nothing=nothing)
    signals = unpack_signals(stored.data)
    none = signals.index.isin([])
    found = survey_signals(
        signals.loc[:, signals.notna().any()], none, none[:0], none[:0].astype(object), judge=version.judge.name
    )
    source = f"As the plan of {plan.created_at:%d %B, %H:%M} UTC was drawn from them."
    return Survey(full_name(version), _grouped(found), pairs, None, source)


def _grouped(found: Sequence[Surveyed]) -> list[Group]:
    by_kind = [
        Group(title, [(signal_name(one.name), one) for one in found if one.kind == kind])
        for kind, title in KINDS.items()
    ]
    return [group for group in by_kind if group.rows]
