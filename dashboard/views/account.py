"""A person's own second step of signing in."""

import qrcode
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from qrcode.image.svg import SvgPathImage

from annotation.joining import second_step as steps
from annotation.joining.errors import CodeWrong, TriedTooOften
from annotation.models import User


@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def second_step(request: HttpRequest) -> HttpResponse:
    """Set the second step up, or end it with a code. The recovery codes are in one answer and nowhere else."""
    user = request.user
    # Not through `signed_in`, which leads here who has none yet.
    if not isinstance(user, User):
        return redirect_to_login(request.get_full_path())
    has_one = steps.has_second_step(user)
    context: dict[str, object] = {"has_one": has_one, "needs_one": steps.needs_second_step(user)}
    status = 200
    if request.method == "POST":
        code, now = request.POST.get("code", "")[:40], timezone.now()
        try:
            if has_one:
                steps.check(user, code, now=now)
                steps.end_second_step(user)
                messages.success(request, "The second step is off.")
                return redirect("second_step")
            return render(request, "dashboard/second_step.html", {"codes": steps.confirm(user, code, now=now)})
        except (CodeWrong, TriedTooOften) as error:
            context["error"], status = str(error), 429 if isinstance(error, TriedTooOften) else 422
    if not has_one:
        set_up = steps.begin(user)
        context |= {"secret": set_up.secret, "picture": _picture(set_up.uri)}
    return render(request, "dashboard/second_step.html", context, status=status)


def _picture(uri: str) -> SafeString:
    """Return a QR code as SVG; what is in it is our own, and the library writes paths alone."""
    drawn: str = qrcode.make(uri, image_factory=SvgPathImage, border=2).to_string(encoding="unicode")
    return mark_safe(drawn)  # noqa: S308
