"""People's quality as a manager sees and steers it: one person, the gold, and the rules."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import GoldInvalid, StandardsInvalid
from annotation.excluding import exclude_answers, include_answers, open_exclusion
from annotation.gilding import read_answer, revoke_gold, set_gold
from annotation.models import Assignment, Choice, Gold, GoldSource, Pair, Project, Rater, RaterKind, User
from annotation.scoring import marks_of
from annotation.standards import set_standards, standards_of
from dashboard.access import managed
from dashboard.quality_forms import GoldForm, ReasonForm, RevokeForm, StandardsForm
from dashboard.remembering import report
from dashboard.sign_names import sign_row, why_paused
from dashboard.views.showing import show_tab, status_of
from exports.models import Erasure, SnapshotState
from routing.models import LabelSource

GOLD_LISTED = 200


@require_GET
@managed
def person(request: HttpRequest, project: Project, rater_id: UUID) -> HttpResponse:
    """Show what one person did and how well, with what can be done about it."""
    rater = _person(project, rater_id)
    return _show_person(request, project, rater)


@require_POST
@managed
def steer_person(request: HttpRequest, project: Project, rater_id: UUID, action: str) -> HttpResponse:
    """Take somebody's answers out of the count, or back into it."""
    rater, by, now = _person(project, rater_id), _by(request), timezone.now()
    form = ReasonForm(request.POST)
    match action:
        case "include":
            number = include_answers(rater, by=by, now=now)
            said = f"{number} answers of {rater.name} count again. Labels are being made anew."
        case "exclude" if not form.is_valid():
            return _show_person(request, project, rater, {"exclude_form": form}, status=422)
        case "exclude":
            number = exclude_answers(rater, reason=form.cleaned_data["reason"], by=by, now=now)
            said = f"{number} answers of {rater.name} do not count any more. Their pairs are open again."
        case _:
            messages.error(request, f"There is no action {action!r} on a person.")
            return redirect("person", project.slug, rater.pk)
    messages.success(request, said)
    return redirect("person", project.slug, rater.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def checks(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the gold and the rules; POST stores the rules."""
    form = StandardsForm(request.POST or None, initial=StandardsForm.initial_of(standards_of(project)))
    if form.is_valid():
        try:
            set_standards(project, form.value())
        except StandardsInvalid as error:
            form.add_error(error.setting if error.setting in form.fields else None, str(error))
        else:
            messages.success(request, "Stored. It holds for every pair handed out from now on.")
            return redirect("checks", project.slug)
    live = Gold.objects.live().filter(project=project)
    context = {
        "form": form,
        "gold": [_gold_row(gold) for gold in _with_answers(live)[:GOLD_LISTED]],
        "gold_pairs": live.count(),
        "revoke_form": RevokeForm(),
    }
    return show_tab(request, project, "checks.html", "checks", context, status=status_of(form))


@require_POST
@managed
def gild_pair(request: HttpRequest, project: Project, pair_id: UUID) -> HttpResponse:
    """Set a pair as gold."""
    pair = get_object_or_404(Pair.objects.in_project(project), pk=pair_id)
    form = GoldForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was stored: mark at least one answer that is right.")
        return redirect("pair", project.slug, pair.pk)
    values = form.cleaned_data
    label = getattr(pair, "label", None)
    from_label = label is not None and label.source == LabelSource.ADJUDICATED and label.choice in values["accepted"]
    source = GoldSource.LABEL if from_label else GoldSource.MANAGER
    try:
        answer = read_answer(values["accepted"], values["kind"])
        set_gold(pair, answer, source=source, note=values["note"], by=_by(request))
    except GoldInvalid as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "This pair is gold. Who answered it before is scored by it as well.")
    return redirect("pair", project.slug, pair.pk)


@require_POST
@managed
def revoke(request: HttpRequest, project: Project, gold_id: UUID) -> HttpResponse:
    """Revoke a known answer."""
    gold = get_object_or_404(Gold, pk=gold_id, project=project)
    form = RevokeForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was revoked: say why.")
    elif revoke_gold(gold, reason=form.cleaned_data["reason"], by=_by(request), now=timezone.now()):
        messages.success(request, "Revoked. It scores nobody, and who was paused for it is looked at again.")
    return redirect("checks", project.slug)


def _person(project: Project, rater_id: UUID) -> Rater:
    people = Rater.objects.filter(project=project, kind=RaterKind.PERSON).select_related("project", "user")
    return get_object_or_404(people, pk=rater_id)


def _by(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def _show_person(
    request: HttpRequest, project: Project, rater: Rater, more: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    quality = _of(report(project, "quality")["people"], rater)
    steadiness = report(project, "steadiness")
    marks = marks_of(project, [rater.pk]).get(rater.pk, [])
    pairs = Pair.objects.in_bulk({mark.pair_id for mark in marks})
    gold = {one.pair_id: one for one in Gold.objects.live().filter(pair__in=pairs)}
    context = {
        "rater": rater,
        "row": _of(report(project, "people")["people"], rater),
        "steady": _of(steadiness["people"], rater),
        "sample": steadiness.get("sample"),
        "quality": quality,
        "beside": Assignment.objects.answered().beside().filter(rater=rater).count(),
        "signs": [sign_row(sign) for sign in (quality or {}).get("signs", [])],
        "marks": [
            (pairs[mark.pair_id], mark, _choices(gold[mark.pair_id].accepted), Choice(mark.choice).label)
            for mark in reversed(marks)
            if mark.pair_id in gold
        ],
        "why_paused": why_paused(rater),
        "exclusion": open_exclusion(rater),
        "past_exclusions": rater.exclusions.filter(undone_at__isnull=False).order_by("-created_at"),
        "exclude_form": ReasonForm(),
        **_erased(rater),
        **(more or {}),
    }
    return show_tab(request, project, "person.html", "people", context, status=status)


def _erased(rater: Rater) -> dict[str, Any]:
    """Return what is known of an erased person: the erasure, and what may still hold their answers."""
    erasure = Erasure.objects.filter(rater=rater).select_related("by").first()
    if erasure is None:
        return {}
    return {
        "erasure": erasure,
        "snapshots": erasure.snapshots.exclude(state=SnapshotState.DELETED).order_by("number"),
        "publications": erasure.publications.order_by("created_at"),
    }


def _of(rows: list[dict[str, Any]], rater: Rater) -> dict[str, Any] | None:
    return next((row for row in rows if row["person"] == rater.name), None)


def _choices(accepted: list[str]) -> str:
    return ", ".join(Choice(one).label for one in accepted)


def _with_answers(live: Any) -> Any:
    standing = Q(pair__preferences__is_current=True, pair__preferences__criterion__isnull=True)
    by_people = standing & Q(pair__preferences__rater__kind=RaterKind.PERSON)
    return live.select_related("pair").annotate(given=Count("pair__preferences", filter=by_people)).order_by("-pk")


def _gold_row(gold: Any) -> tuple[Gold, str]:
    return gold, _choices(gold.accepted)
