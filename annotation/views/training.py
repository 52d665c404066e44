"""Practice and the gate: what a person does between the guidelines and the first pair."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from annotation import learning
from annotation.errors import TrainingChanged, TryNotCounted
from annotation.learning import Stage, stage_of, steps_of
from annotation.models import Project, Rater
from annotation.training import Gate, training_of
from annotation.training_forms import GateForm, PracticeForm
from annotation.training_screens import gate_screen, offered_in, practice_screen
from annotation.views.access import as_rater

# Python reads no number of thousands of digits.
LONGEST_NUMBER = 9
# The page of each stage.
PAGES = {
    Stage.GUIDELINES: "annotate_guidelines",
    Stage.PRACTICE: "practice",
    Stage.GATE: "gate",
    Stage.REFUSED: "gate",
    Stage.WORK: "annotate",
}


def go_on(project: Project, rater: Rater) -> HttpResponse:
    """Lead to the page of the stage that a person is at."""
    return redirect(PAGES[stage_of(project, rater)], project.slug)


@require_http_methods(["GET", "HEAD", "POST"])
@as_rater
def practice(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Show the next practice pair; POST says whether an answer is what was expected, and why."""
    stage = stage_of(project, rater)
    if stage in (Stage.GUIDELINES, Stage.REFUSED) or not training_of(project).practice:
        return go_on(project, rater)
    if stage is Stage.PRACTICE or request.method == "POST":
        return _practise(request, project, rater, rater.practice_done + 1, again=False)
    context = {"project": project, "stage": stage, "steps": steps_of(project, stage), "next_page": PAGES[stage]}
    return render(request, "annotation/practice_done.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@as_rater
def practice_again(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Show a practice pair that was done before; nothing is stored."""
    number = request.GET.get("number", "1")
    is_number = number.isascii() and number.isdecimal() and len(number) <= LONGEST_NUMBER
    if stage_of(project, rater) not in (Stage.GATE, Stage.WORK) or not is_number:
        return go_on(project, rater)
    return _practise(request, project, rater, int(number), again=True)


def _practise(request: HttpRequest, project: Project, rater: Rater, number: int, *, again: bool) -> HttpResponse:
    """Show a practice pair, with what was made of the answer where one was sent."""
    training = training_of(project)
    form = PracticeForm(request.POST if request.method == "POST" else None, choices=offered_in(project, training))
    error = form.error_line()
    number = form.number_sent or number
    choice = "" if error else form.choice_sent
    try:
        if choice:
            learning.answer_practice(training, rater, number, choice)
        screen = practice_screen(project, training, rater, number, again=again, choice=choice, error=error)
    except TrainingChanged as changed:
        messages.info(request, str(changed))
        return go_on(project, rater)
    stage = stage_of(project, rater)
    context = {
        "project": project,
        "screen": screen,
        "next_page": PAGES[stage],
        "stage": stage,
        "steps": steps_of(project, stage if again else Stage.PRACTICE),
    }
    return render(request, "annotation/practice.html", context, status=422 if error else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@as_rater
def gate(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Show the questions, or how they went; POST counts a try."""
    asked, stage = training_of(project).gate, stage_of(project, rater)
    if asked is None or stage in (Stage.GUIDELINES, Stage.PRACTICE):
        return go_on(project, rater)
    form = None
    if request.method == "POST":
        form = GateForm(request.POST, gate=asked)
        if stage is not Stage.GATE or form.is_stale or form.is_valid():
            return _counted(request, project, rater, asked, form)
    context = {
        "project": project,
        "stage": stage,
        "steps": steps_of(project, stage),
        "screen": gate_screen(asked, rater, is_open=stage is Stage.GATE, form=form),
    }
    return render(request, "annotation/gate.html", context, status=200 if form is None else 422)


def _counted(request: HttpRequest, project: Project, rater: Rater, asked: Gate, form: GateForm) -> HttpResponse:
    """Count a try, and lead to the page that says how it went: a reload of that sends nothing again."""
    try:
        learning.answer_gate(asked, rater, form.answers(), number=form.try_sent, key=form.key_sent, now=timezone.now())
    except (TrainingChanged, TryNotCounted) as error:
        messages.info(request, str(error))
    return redirect("gate", project.slug)
