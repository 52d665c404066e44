"""A person's own settings of the annotation screen."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from annotation.errors import AnnotationError
from annotation.models import User
from annotation.personalising import changed_interface, save_interface, stored_interface
from annotation.views.access import INTERFACE, in_own_language, interface_for, is_htmx, visit_of


@require_POST
@in_own_language
def save(request: HttpRequest) -> HttpResponse:
    """Keep the settings that were sent, and go back to where they were made."""
    user = request.user
    if not isinstance(user, User) and visit_of(request) is None:
        return HttpResponse(status=401)
    back = request.POST.get("next", "")
    try:
        if isinstance(user, User):
            save_interface(user, request.POST.dict())
        else:
            changed = changed_interface(interface_for(request), request.POST.dict())
            request.session[INTERFACE] = stored_interface(changed)
    except AnnotationError as error:
        if is_htmx(request):
            return JsonResponse({"message": str(error), "field": ""}, status=422)
        messages.error(request, str(error))
    if is_htmx(request):
        return HttpResponse(status=204)
    safe = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    # An address and nothing else: `redirect` would take it for the name of a view first.
    return HttpResponseRedirect(back) if safe else redirect("annotate_index")
