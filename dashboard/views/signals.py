"""What the router looks at: the signals in use, and the switches for more."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import TiebreakError
from annotation.models import Project, User
from dashboard.access import managed
from dashboard.signal_forms import SignalForm, TagForm
from dashboard.signalling import fetching_of, signal_survey, tagging_of
from dashboard.views.showing import show_tab, status_of
from routing.signals.extending import settings_of
from routing.signals.likening import ask_for_embeddings
from routing.signals.tagging import tag_prompts


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def signals(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the signals in use and what each is worth; POST stores which further ones to use."""
    settings = settings_of(project)
    form = SignalForm(request.POST or None, project=project, settings=settings)
    if form.is_valid() and form.save():
        messages.success(request, "Stored. The next plan uses these signals; plans that are drawn keep theirs.")
        return redirect("signals", project.slug)
    context = {
        "form": form,
        "survey": signal_survey(project),
        "tagging": tagging_of(settings),
        "tag_form": TagForm(),
        "fetching": fetching_of(project, settings),
    }
    return show_tab(request, project, "signals.html", "signals", context, status=status_of(form))


@require_POST
@managed
def start_tags(request: HttpRequest, project: Project) -> HttpResponse:
    """Ask the chosen judge about the prompts that have no tags yet."""
    settings, form = settings_of(project), TagForm(request.POST)
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    if settings.tagger is None:
        messages.error(request, "No judge tags prompts. Choose one and store the choice first.")
    elif not form.is_valid():
        messages.error(request, f"Nothing was started: {form.errors['budget_usd'][0]}")
    else:
        try:
            run = tag_prompts(settings.tagger, started_by=request.user, **form.cleaned_data)
        except TiebreakError as error:
            messages.error(request, f"Nothing was started. {error}")
        else:
            count = run.verdicts.count()
            messages.success(request, f"{count:,} prompt{pluralize(count)} queued for a worker.")
    return redirect("signals", project.slug)


@require_POST
@managed
def fetch_embeddings(request: HttpRequest, project: Project) -> HttpResponse:
    """Have a worker fetch the vectors that are missing."""
    if ask_for_embeddings(project):
        messages.success(request, "A worker fetches the vectors; they are stored as they come.")
    else:
        messages.error(request, "Nothing was started: the broker takes no messages. Start it, then try again.")
    return redirect("signals", project.slug)


@require_GET
@managed
def embedding_progress(request: HttpRequest, project: Project) -> HttpResponse:
    """Show how far the vectors are: the part that htmx asks for again."""
    if request.headers.get("HX-Request") != "true":
        return redirect("signals", project.slug)
    return render(request, "dashboard/_fetching.html", {"project": project, "fetching": fetching_of(project)})
