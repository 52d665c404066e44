"""People from crowd platforms: studies, who arrived, and a manager's word on what they handed in."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods

from annotation.crowd import reviewing, states, studies
from annotation.crowd.errors import CrowdError
from annotation.crowd.mturk import external_question
from annotation.crowd.reviewing import LEAST_MESSAGE, SHORT_MINUTES
from annotation.models import CrowdStudy, Platform, Project, Submission
from dashboard.access import managed
from dashboard.crowd_forms import FORMS, RejectionForm
from dashboard.views.showing import show, status_of

# Submissions on a page.
SHOWN = 200
# What Prolific does on a code, in words.
ACTIONS = {
    "AUTOMATICALLY_APPROVE": "approves by itself",
    "MANUALLY_REVIEW": "waits for your review",
    "REQUEST_RETURN": "asks the person to return it",
    "FIXED_SCREEN_OUT_PAYMENT": "pays the reward of a screen-out",
}


@require_http_methods(["GET", "HEAD"])
@managed
def crowd(request: HttpRequest, project: Project) -> HttpResponse:
    """List the studies of a project with how many arrived and how many wait."""
    waiting = Q(submissions__state=Submission.State.AWAITING_REVIEW)
    rows = project.crowd_studies.annotate(
        arrived=Count("submissions", distinct=True), waiting=Count("submissions", filter=waiting, distinct=True)
    )
    return show(request, project, "crowd.html", "crowd", {"studies": rows, "platforms": Platform.choices})


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def new_crowd_study(request: HttpRequest, project: Project, platform: str) -> HttpResponse:
    """Set a study up; nothing is made on the platform."""
    if platform not in FORMS:
        raise Http404
    form = FORMS[platform](request.POST or None)
    if form.is_valid():
        try:
            study = studies.set_up_study(project, platform=platform, **form.study())
        except CrowdError as error:
            form.add_error(None, str(error))
        else:
            return redirect("crowd_study", project.slug, study.pk)
    context = {"form": form, "platform": platform, "platform_name": Platform(platform).label}
    return show(request, project, "new_crowd_study.html", "crowd", context, status=status_of(form))


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def crowd_study(request: HttpRequest, project: Project, study_id: UUID) -> HttpResponse:
    """Show a study: its link, its codes, who arrived; POST does one thing to it or to chosen submissions."""
    study = get_object_or_404(project.crowd_studies, pk=study_id)
    rejection = RejectionForm(request.POST if request.POST.get("act") == "reject" else None)
    if request.method == "POST":
        act = _ACTS.get(request.POST.get("act", ""))
        if act is None:
            raise Http404
        if act is not _reject or rejection.is_valid():
            try:
                messages.success(request, act(request, study))
            except CrowdError as error:
                messages.error(request, str(error))
            return redirect("crowd_study", project.slug, study.pk)
    address = studies.arrival_url(study, _site(request))
    chosen_state = request.GET.get("state", "")
    rows = _rows(study).filter(state=chosen_state) if chosen_state in Submission.State.values else _rows(study)
    context: dict[str, Any] = {
        "study": study,
        "address": address,
        "codes": _codes(study),
        "question": external_question(address) if study.platform == Platform.MTURK else "",
        "rows": list(rows[:SHOWN]),
        "total": rows.count(),
        "counts": _counts(study),
        "chosen_state": chosen_state,
        "form": rejection,
        "picked": set(request.POST.getlist("submission")),
        "least_message": LEAST_MESSAGE,
        "checks_needed": 1 if study.settings.get("minutes", 0) <= SHORT_MINUTES else 2,
    }
    return show(request, project, "crowd_study.html", "crowd", context, status=status_of(rejection))


def _site(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def _rows(study: CrowdStudy) -> "QuerySet[Submission]":
    answered = Q(guest__rater__assignments__state__in=["submitted", "extra"])
    rows = study.submissions.select_related("guest__rater").order_by("-arrived_at")
    return rows.annotate(answers=Count("guest__rater__assignments", filter=answered))


def _codes(study: CrowdStudy) -> list[dict[str, str]]:
    """Return each code, who gets it, and what the platform does on it, in words."""
    rows = study.codes.order_by("kind")
    return [
        {
            "code": row.code,
            "kind": row.get_kind_display().lower(),
            "said": ", ".join(ACTIONS.get(one["action"], one["action"]) for one in row.actions),
        }
        for row in rows
    ]


def _counts(study: CrowdStudy) -> list[tuple[str, str, int]]:
    """Return each state that there is, its name, and how many are in it."""
    found = dict(study.submissions.order_by().values_list("state").annotate(n=Count("pk")))
    return [(state.value, state.label, found[state.value]) for state in Submission.State if state.value in found]


# --- What can be done -----------------------------------------------------------------------------------------------


def _picked(request: HttpRequest, study: CrowdStudy) -> list[Submission]:
    ids = request.POST.getlist("submission")
    rows = study.submissions.select_related("guest__rater", "study__project")
    try:
        found = list(rows.filter(pk__in=ids))
    except (ValidationError, ValueError) as error:
        raise CrowdError("Some of these submissions are not there.") from error
    if len(found) != len(set(ids)):
        raise CrowdError("Some of these submissions are not there any more. Look at the list again.")
    return found


def _approve(request: HttpRequest, study: CrowdStudy) -> str:
    return f"Approved: {reviewing.approve(study, _picked(request, study))}."


def _reject(request: HttpRequest, study: CrowdStudy) -> str:
    form = RejectionForm(request.POST)
    if not form.is_valid():
        raise CrowdError("The rejection is not complete.")
    return f"Rejected: {reviewing.reject(study, _picked(request, study), form.rejection())}."


def _screen_out(request: HttpRequest, study: CrowdStudy) -> str:
    add_places = request.POST.get("add_places") == "on"
    return f"Screened out: {reviewing.screen_out(study, _picked(request, study), add_places=add_places)}."


def _set_state(request: HttpRequest, study: CrowdStudy) -> str:
    studies.set_state(study, request.POST.get("state", ""))
    return "People can arrive." if study.state == CrowdStudy.State.OPEN else "Nobody new can arrive."


def _link(request: HttpRequest, study: CrowdStudy) -> str:
    studies.link_study(study, request.POST.get("external_id", ""))
    return f"This is {study.external_id} on {study.get_platform_display()}."


def _create(request: HttpRequest, study: CrowdStudy) -> str:
    made = studies.create_on_prolific(study, _site(request))
    return f"The draft is on Prolific as {made.id}. Choose there who may take part, then publish it."


def _refresh(request: HttpRequest, study: CrowdStudy) -> str:
    found = states.refresh(study)
    return f"{found.changed} changed; {found.never_arrived} on Prolific never arrived here."


def _compare(request: HttpRequest, study: CrowdStudy) -> str:
    found = studies.differences_on_prolific(study, _site(request))
    if found:
        raise CrowdError("Prolific has it otherwise. " + " ".join(found))
    return "Prolific has the same address, check, codes and currency."


_ACTS: dict[str, Callable[[HttpRequest, CrowdStudy], str]] = {
    "approve": _approve,
    "reject": _reject,
    "screen_out": _screen_out,
    "state": _set_state,
    "link": _link,
    "create": _create,
    "refresh": _refresh,
    "compare": _compare,
}
