"""How people come into a project: invitations, open sign-up, and links to sign in for who lost theirs."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from annotation.joining import invitations, links
from annotation.joining.errors import JoiningError
from annotation.models import Membership, Project, Role, User
from dashboard.access import managed
from dashboard.views.showing import show, status_of


class InvitationForm(forms.Form):
    """A new invitation."""

    role = forms.ChoiceField(label="Role", choices=[(role.value, role.label) for role in reversed(Role)])
    limit = forms.IntegerField(
        label="People", min_value=1, max_value=invitations.MOST_PEOPLE, initial=1, help_text="How many may join by it."
    )
    days = forms.IntegerField(label="Days", min_value=1, max_value=invitations.MOST_DAYS, initial=7)
    note = forms.CharField(label="For whom", required=False, max_length=120, help_text="For your own list.")


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def joining(request: HttpRequest, project: Project) -> HttpResponse:
    """Show invitations; POST makes or withdraws one, opens sign-up, or makes a link. A link is in one answer only."""
    act = request.POST.get("act", "") if request.method == "POST" else ""
    form = InvitationForm(request.POST if act == "invite" else None, initial={"role": Role.ANNOTATOR.value})
    made: dict[str, Any] = {}
    if act == "invite":
        if form.is_valid() and (made := _invite(request, project, form)):
            form = InvitationForm(initial={"role": Role.ANNOTATOR.value})
    elif act == "link":
        made = _make_link(request, project)
    elif act in _ACTS:
        _ACTS[act](request, project)
    elif act:
        raise Http404
    if act not in ("", "invite") and not made:
        return redirect("joining", project.slug)
    context = {
        "form": form,
        "invitations": project.invitations.select_related("created_by"),
        "members": Membership.objects.filter(project=project).exclude(role=Role.MANAGER).select_related("user"),
        "open_address": request.build_absolute_uri(reverse("join_open", args=[project.slug])),
        "now": timezone.now(),
        **made,
    }
    return show(request, project, "joining.html", "people", context, status=status_of(form))


def _invite(request: HttpRequest, project: Project, form: InvitationForm) -> dict[str, Any]:
    """Make an invitation and return what the page shows of it; what cannot be is said at the form."""
    try:
        invited = invitations.invite(project, by=_user(request), now=timezone.now(), **form.cleaned_data)
    except JoiningError as error:
        form.add_error(None, str(error))
        return {}
    address = reverse("join", args=[invited.token])
    return {"link": request.build_absolute_uri(address), "made": invited.invitation}


def _make_link(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Make a link for a member and return what the page shows of it; what cannot be is said on the next page."""
    try:
        member = User.objects.filter(pk=_id(request.POST.get("member", ""))).first()
        if member is None:
            raise JoiningError("There is no such member in this project.")
        token = links.link_for(project, member, by=_user(request), now=timezone.now())
    except JoiningError as error:
        messages.error(request, str(error))
        return {}
    return {"link": request.build_absolute_uri(reverse("sign_in_by_link", args=[token])), "member": member}


def _revoke(request: HttpRequest, project: Project) -> None:
    try:
        found = project.invitations.filter(pk=_id(request.POST.get("invitation", ""))).first()
    except JoiningError as error:
        messages.error(request, str(error))
        return
    if found is None:
        messages.error(request, "There is no such invitation.")
    else:
        invitations.revoke(found, now=timezone.now())


def _set_sign_up(request: HttpRequest, project: Project) -> None:
    invitations.set_sign_up(project, is_open=request.POST.get("open") == "yes")


_ACTS: dict[str, Callable[[HttpRequest, Project], None]] = {"revoke": _revoke, "sign_up": _set_sign_up}


def _user(request: HttpRequest) -> User:
    user = request.user
    assert isinstance(user, User)  # noqa: S101  (`managed` saw to it)
    return user


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise JoiningError("That is no id of anybody here.") from error
