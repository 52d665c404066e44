"""Adjudication: a manager sends pairs, an adjudicator decides them after a look of their own."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.configuring import questionnaire_of
from annotation.models import Assignment, Choice, Membership, Pair, Project, Rater, Role
from annotation.questions import Asked
from annotation.showing import sample_screen
from dashboard.access import adjudicated, managed
from dashboard.quality_forms import DecisionForm, QueueForm, names_in
from dashboard.views.showing import show_tab, status_of
from routing.errors import RoutingError
from routing.labels.adjudicating import (
    Vote,
    adjudicate,
    candidates,
    causes_of,
    looks_of,
    open_adjudication,
    set_aside,
    votes_on,
    waiting,
)
from routing.models import Adjudication, Cause

LISTED = 50


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def adjudication(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the pairs on which people differ, the first to decide first; POST sends some to adjudicators."""
    form = QueueForm(request.POST or None)
    if form.is_valid():
        number = open_adjudication(project, limit=form.cleaned_data["limit"])
        messages.success(request, f"{number} pairs wait for an adjudicator.")
        return redirect("adjudication", project.slug)
    decided = Adjudication.objects.filter(pair__project=project, is_current=True).select_related("pair", "rater")
    context = {
        "form": form,
        "candidates": candidates(project, limit=LISTED),
        "waiting_pairs": waiting(project),
        "adjudicators": Membership.objects.filter(project=project, role=Role.ADJUDICATOR).count(),
        "decided": decided.order_by("-created_at")[:LISTED],
        "decided_pairs": decided.count(),
        "causes": [(Cause(cause).label, number) for cause, number in causes_of(project).items()],
    }
    return show_tab(request, project, "adjudication.html", "adjudication", context, status=status_of(form))


@require_POST
@managed
def put_aside(request: HttpRequest, project: Project, pair_id: UUID) -> HttpResponse:
    """Take back a decision."""
    pair = get_object_or_404(Pair.objects.in_project(project), pk=pair_id)
    if set_aside(pair):
        messages.success(request, "The decision is set aside; the label follows from the votes again.")
    else:
        messages.info(request, "There is no decision on this pair, so nothing changed.")
    return redirect("pair", project.slug, pair.pk)


@require_GET
@adjudicated
def looks(request: HttpRequest, rater: Rater) -> HttpResponse:
    """List what an adjudicator has looked at: to be decided first, then decided."""
    seen = list(looks_of(rater)[:LISTED])
    decided = Adjudication.objects.filter(pair__in=[one.task.pair_id for one in seen], is_current=True)
    by_pair = {one.pair_id: one for one in decided}
    rows = [(one, by_pair.get(one.task.pair_id)) for one in seen]

    def said(one: Assignment, choice: str) -> str:
        return names_in(one.shown_order).get(choice, Choice.UNSURE.label)

    context = {
        "project": rater.project,
        "to_decide": [(one, said(one, _own(one))) for one, decision in rows if decision is None],
        "decided": [
            (one, decision, said(one, _own(one)), said(one, decision.choice)) for one, decision in rows if decision
        ],
        "waiting_pairs": waiting(rater.project),
    }
    return render(request, "dashboard/looks.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@adjudicated
def decide(request: HttpRequest, rater: Rater, pair_id: UUID) -> HttpResponse:
    """Show the votes on a pair that this adjudicator has looked at, and take the decision. Before a look it is 404."""
    look = get_object_or_404(looks_of(rater), task__pair=pair_id)
    pair = Pair.objects.with_texts().get(pk=pair_id)
    said = names_in(look.shown_order)
    form = DecisionForm(request.POST or None, initial={"choice": _own(look)}, said=said)
    if form.is_valid():
        try:
            adjudicate(pair, rater, **form.cleaned_data, now=timezone.now())
        except RoutingError as error:
            form.add_error("causes", str(error))
        else:
            messages.success(request, "Decided. It is the label of this pair now.")
            return redirect("looks", rater.project.slug)
    before = Adjudication.objects.filter(pair=pair, is_current=True).first()
    context = {
        "project": rater.project,
        "pair": pair,
        "form": form,
        "own": said.get(_own(look), Choice.UNSURE.label),
        "sides": _sides(pair, look.shown_order),
        "votes": [(vote, said.get(vote.choice, Choice.UNSURE.label), _letter(vote, look)) for vote in votes_on(pair)],
        "before": said[before.choice] if before else "",
    }
    return render(request, "dashboard/decide.html", context, status=status_of(form))


def _own(look: Assignment) -> str:
    return look.preference.choice if look.preference is not None else ""


def _letter(vote: Vote, look: Assignment) -> str:
    """Return what the screen called the side that a person saw first, in the order of this adjudicator's look."""
    if not vote.saw_first:
        return ""
    return "A" if vote.saw_first == look.shown_order[:1] else "B"


def _sides(pair: Pair, shown_order: str) -> list[tuple[str, str]]:
    """Return both responses as the adjudicator saw them: in that order, without the names of their makers."""
    responses = {"a": pair.response_a, "b": pair.response_b}
    asked = Asked(questionnaire_of(pair.project), (), len(shown_order))
    shown = sample_screen(pair.prompt, [responses[side] for side in shown_order], asked)
    return [(one.name, one.raw) for one in shown.responses]
