"""Signing in: by password or by a link, then the second step where somebody has one. Every way ends in `go_in`."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from annotation.joining import links, second_step
from annotation.joining.errors import CodeWrong, JoiningError, NotInvited, TriedTooOften
from annotation.joining.openid import configuring
from annotation.joining.second_step import PROVEN
from annotation.joining.throttling import ACCOUNT_TRIES, ADDRESS_TRIES, MADE, address_of, count_try, forget_tries
from annotation.models import User
from annotation.views.access import INTERFACE, SUBMISSION, in_own_language

# What a session holds between the two steps: who gave the first, when, and where they wanted to go.
AWAITING = "awaiting_code"
AWAITING_FOR = timedelta(minutes=10)
TOO_MANY_REQUESTS = 429


def go_in(request: HttpRequest, user: User, then: str, *, proven: bool = False) -> HttpResponse:
    """Sign somebody in whose first step was right, after the second where they have one; then go to an own address.

    `proven`: a provider that the operator trusts with it has asked for a second step already.
    """
    for left in (SUBMISSION, INTERFACE, PROVEN):
        request.session.pop(left, None)
    if not proven and second_step.has_second_step(user):
        request.session.cycle_key()
        request.session[AWAITING] = {"user": str(user.pk), "at": timezone.now().isoformat(), "then": then}
        return redirect("sign_in_code")
    login(request, user)
    if proven:
        request.session[PROVEN] = True
    return HttpResponseRedirect(then)


class SignIn(LoginView):
    """The page for a user name and a password."""

    template_name = "annotation/sign_in.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say also whether a link can be mailed, and which provider there is."""
        return super().get_context_data(**kwargs, mail_is_sent=settings.MAIL_IS_SENT, provider=configuring.label())

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """Count the try before the password is looked at."""
        name = request.POST.get("username", "")[:150].casefold()
        now = timezone.now()
        try:
            count_try("sign in", address_of(request), limit=ADDRESS_TRIES, now=now)
            count_try("password", name, limit=ACCOUNT_TRIES, now=now)
        except TriedTooOften as error:
            context = self.get_context_data(form=AuthenticationForm(request), refused=str(error))
            return self.render_to_response(context, status=TOO_MANY_REQUESTS)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponseRedirect:
        """Go on to the second step, or in."""
        user = form.get_user()
        forget_tries("password", str(form.cleaned_data["username"])[:150].casefold())
        assert isinstance(user, User)  # noqa: S101  (there is no other kind of account)
        response = go_in(self.request, user, self.get_success_url())
        assert isinstance(response, HttpResponseRedirect)  # noqa: S101
        return response


@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@in_own_language
def code(request: HttpRequest) -> HttpResponse:
    """Ask for the code of the second step."""
    awaiting = request.session.get(AWAITING)
    now = timezone.now()
    if not awaiting or datetime.fromisoformat(awaiting["at"]) + AWAITING_FOR < now:
        request.session.pop(AWAITING, None)
        return redirect("sign_in")
    user = User.objects.filter(pk=UUID(awaiting["user"]), is_active=True).first()
    if user is None or not second_step.has_second_step(user):
        request.session.pop(AWAITING, None)
        return redirect("sign_in")
    if request.method != "POST":
        return render(request, "annotation/sign_in_code.html")
    try:
        second_step.check(user, request.POST.get("code", "")[:40], now=now)
    except (CodeWrong, TriedTooOften) as error:
        status = TOO_MANY_REQUESTS if isinstance(error, TriedTooOften) else 422
        return render(request, "annotation/sign_in_code.html", {"error": str(error)}, status=status)
    del request.session[AWAITING]
    login(request, user)
    return HttpResponseRedirect(awaiting["then"])


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@in_own_language
def ask_for_link(request: HttpRequest) -> HttpResponse:
    """Ask for a link by mail; the answer is the same whether there is such a person or not."""
    if not settings.MAIL_IS_SENT:
        raise Http404("This site sends no mail.")
    if request.method != "POST":
        return render(request, "annotation/ask_for_link.html")
    named = request.POST.get("named", "").strip()[:254]
    try:
        count_try("mail", address_of(request), limit=MADE, now=timezone.now())
        count_try("mail to", named.casefold(), limit=3, now=timezone.now())
        links.ask_for_link(named, site=request.build_absolute_uri("/").rstrip("/"))
    except (TriedTooOften, JoiningError) as error:
        status = TOO_MANY_REQUESTS if isinstance(error, TriedTooOften) else 503
        return render(request, "annotation/ask_for_link.html", {"error": str(error), "named": named}, status=status)
    return render(request, "annotation/ask_for_link.html", {"was_sent": True})


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@in_own_language
def by_link(request: HttpRequest, token: str) -> HttpResponse:
    """Show whom a link signs in; POST uses it. To open it uses nothing, as programs that look at mails do."""
    now = timezone.now()
    try:
        count_try("sign in", address_of(request), limit=ADDRESS_TRIES, now=now)
        if request.method == "POST":
            return go_in(request, links.use_link(token, now=now), resolve_url(settings.LOGIN_REDIRECT_URL))
        context = {"whose": links.whose(token, now=now), "token": token}
    except (NotInvited, TriedTooOften) as error:
        status = TOO_MANY_REQUESTS if isinstance(error, TriedTooOften) else 404
        return render(request, "annotation/sign_in_link.html", {"error": str(error)}, status=status)
    return render(request, "annotation/sign_in_link.html", context)
