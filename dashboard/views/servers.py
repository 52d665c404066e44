"""The servers a project's judges are asked at: how fast they may be asked, and why one rests."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from annotation.models import Project
from dashboard.access import managed
from dashboard.judge_forms import LimitsForm
from dashboard.views.pairs import as_uuid
from dashboard.views.showing import show, status_of
from judges.models import JudgeVersion, ModelServer


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def servers(request: HttpRequest, project: Project) -> HttpResponse:
    """List the servers; POST changes the limits of one, which only the operator of the installation may."""
    addresses = JudgeVersion.objects.filter(judge__project=project).exclude(base_url="").values("base_url")
    found = ModelServer.objects.filter(base_url__in=addresses).order_by("base_url")
    may_change = bool(request.user.is_staff or request.user.is_superuser)
    changed: tuple[UUID, LimitsForm] | None = None
    if request.method == "POST":
        if not may_change:
            raise PermissionDenied("Limits of servers hold for all projects; only the operator changes them.")
        server = get_object_or_404(found, pk=as_uuid(request.POST.get("server", "")))
        form = LimitsForm(request.POST)
        if form.is_valid():
            _change(server, form)
            messages.success(request, f"{server.base_url} is asked within these limits now.")
            return redirect("servers", project.slug)
        changed = (server.pk, form)
    rows = [(server, _form_of(server, changed) if may_change else None) for server in found]
    context = {"rows": rows, "now": timezone.now(), "may_change": may_change}
    return show(request, project, "servers.html", "judges", context, status=status_of(changed[1]) if changed else 200)


def _form_of(server: ModelServer, changed: tuple[UUID, LimitsForm] | None) -> LimitsForm:
    if changed is not None and changed[0] == server.pk:
        return changed[1]
    names = LimitsForm.base_fields
    return LimitsForm(initial={name: getattr(server, name) for name in names}, auto_id=f"id_{server.pk}_%s")


def _change(server: ModelServer, form: LimitsForm) -> None:
    ModelServer.objects.filter(pk=server.pk).update(
        **form.cleaned_data, concurrency=min(server.concurrency, form.cleaned_data["max_concurrency"])
    )
