"""Joining a project: by an invitation, or where its manager opened it to all."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from annotation.joining import invitations
from annotation.joining.errors import JoiningError, NotInvited, TriedTooOften
from annotation.joining.openid import configuring
from annotation.joining.openid.flowing import Errand
from annotation.joining.throttling import ADDRESS_TRIES, MADE, address_of, count_try
from annotation.models import Membership, Project, Role, User
from annotation.views.access import in_own_language
from annotation.views.openid import first_page, leave
from annotation.views.signing_in import TOO_MANY_REQUESTS, go_in

Join = Callable[[User], Membership]


class AccountForm(forms.Form):
    """A new account."""

    username = forms.CharField(
        label=gettext_lazy("User name"),
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}),
        help_text=gettext_lazy("Letters, digits and @ . + - _; the manager of the project sees it."),
    )
    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("Eight characters or more; a few words that nobody would guess are good."),
    )
    email = forms.EmailField(
        label=gettext_lazy("Mail address"),
        required=False,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        help_text=gettext_lazy("To sign in by a link when you have lost the password."),
    )


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@in_own_language
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Show what an invitation is to; POST joins, with the account that is signed in or a new one."""
    now = timezone.now()
    try:
        count_try("invitation", address_of(request), limit=ADDRESS_TRIES, now=now)
        invitation = invitations.invitation_by(token, now=now)
    except (NotInvited, TriedTooOften) as error:
        status = TOO_MANY_REQUESTS if isinstance(error, TriedTooOften) else 404
        return render(request, "annotation/join.html", {"error": str(error)}, status=status)

    def become(user: User) -> Membership:
        return invitations.join_by(invitation, user, now=now)

    if "by_provider" in request.POST:
        return leave(request, Errand(invitation=str(invitation.pk)))
    return _joined(request, invitation.project, invitation.role, become)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@in_own_language
def join_open(request: HttpRequest, slug: str) -> HttpResponse:
    """Join a project whose manager opened it; what is not open is not there."""
    project = get_object_or_404(Project, slug=slug, sign_up_open=True)
    if "by_provider" in request.POST:
        return leave(request, Errand(project=slug))
    return _joined(request, project, Role.ANNOTATOR, lambda user: invitations.join_open(project, user))


def _joined(request: HttpRequest, project: Project, role: str, become: Join) -> HttpResponse:
    user = request.user if isinstance(request.user, User) else None
    form = AccountForm(request.POST if request.method == "POST" and user is None else None)
    error, status = "", 200
    if request.method == "POST" and (user is not None or form.is_valid()):
        try:
            return _become(request, user, form, become)
        except invitations.AccountInvalid as invalid:
            for field, said in invalid.problems.items():
                form.add_error(field if field in form.fields else None, said)
        except JoiningError as refused:
            error, status = str(refused), TOO_MANY_REQUESTS if isinstance(refused, TriedTooOften) else 409
    if form.is_bound and form.errors:
        status = 422
    context = {
        "project": project,
        "role": role,
        "form": form,
        "refused": error,
        "here": request.path,
        "provider": configuring.label(),
    }
    return render(request, "annotation/join.html", context, status=status)


def _become(request: HttpRequest, user: User | None, form: AccountForm, become: Join) -> HttpResponse:
    """Make a member, with an account where there is none yet: both or neither."""
    if user is not None:
        membership = become(user)
        messages.success(request, _("You are in the project now."))
        return redirect(first_page(membership))
    count_try("account", address_of(request), limit=MADE, now=timezone.now())
    values = form.cleaned_data
    with transaction.atomic():
        made = invitations.make_account(values["username"], values["password"], email=values["email"])
        membership = become(made)
    return go_in(request, made, first_page(membership))
