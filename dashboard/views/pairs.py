"""Pairs and everything that was said about one."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from annotation.models import Choice, Gold, Pair, Preference, Project, RaterKind, Task, TaskState
from annotation.opening import SLATES
from dashboard import planning
from dashboard.access import managed
from dashboard.listing import STATES, page_of_pairs
from dashboard.quality_forms import GoldForm
from dashboard.views.showing import show
from judges.flagging import KINDS, flags_of_pair
from judges.models import ResponseFlag, Verdict
from routing.models import Adjudication, Cause, Label, LabelSource, PlanState, Route


@require_GET
@managed
def pairs(request: HttpRequest, project: Project) -> HttpResponse:
    """List pairs by where they stand; the address holds the filter."""
    state, choice = request.GET.get("state", ""), request.GET.get("choice", "")
    text = request.GET.get("id", "").strip().replace("\x00", "")
    page = page_of_pairs(project, state=state, choice=choice, text=text, after=as_uuid(request.GET.get("after", "")))
    context = {
        "page": page,
        "states": [(name, title) for name, (title, _) in STATES.items()],
        "choices": Choice.choices,
        "state": state if state in STATES else "",
        "choice": choice,
        "text": text,
        "is_filtered": bool(state or choice or text),
    }
    return show(request, project, "pairs.html", "pairs", context)


@require_GET
@managed
def pair(request: HttpRequest, project: Project, pair_id: UUID) -> HttpResponse:
    """Show a pair with its texts, its label and why, people's answers and judges' verdicts."""
    found = get_object_or_404(Pair.objects.in_project(project).with_texts(), pk=pair_id)
    votes = Preference.objects.filter(pair=found, rater__kind=RaterKind.PERSON).select_related("rater", "criterion")
    verdicts = Verdict.objects.filter(pair=found).select_related("version__judge")
    routes = Route.objects.filter(pair=found, plan__state=PlanState.APPLIED).select_related("plan", "pair")
    last = routes.order_by("-plan__applied_at").first()
    label = Label.objects.filter(pair=found).first()
    adjudication = Adjudication.objects.filter(pair=found, is_current=True).select_related("rater", "look").first()
    context = {
        "pair": found,
        "adjudication": adjudication,
        "adjudication_causes": [Cause(one).label for one in adjudication.causes] if adjudication else [],
        "label": label,
        "votes": votes.order_by("created_at", "id"),
        "verdicts": verdicts.order_by("version__judge__name", "version__number", "order"),
        "flags": [(side, _in_words(flags)) for side, flags in flags_of_pair(found).items() if flags],
        "gold": Gold.objects.live().filter(pair=found).first(),
        "gold_form": None if project.template in SLATES else GoldForm(initial={"accepted": _decided(label)}),
        "tasks": Task.objects.filter(pair=found).exclude(state=TaskState.CLOSED).order_by("tier"),
        "routed": planning.reasoned(last.plan, [last]) if last is not None else [],
    }
    return show(request, project, "pair.html", "pairs", context)


def _in_words(flags: list[ResponseFlag]) -> list[tuple[str, str]]:
    """Return what a response's flags say, each with the place that raised it."""
    return [(KINDS.get(flag.kind, flag.kind), flag.quote) for flag in flags]


def _decided(label: Label | None) -> list[str]:
    """Return the answer that an adjudicator gave: the one to begin with where the pair is set as gold."""
    return [label.choice] if label is not None and label.source == LabelSource.ADJUDICATED else []


def as_uuid(text: str) -> UUID | None:
    """Return the id in an address, or None where it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
