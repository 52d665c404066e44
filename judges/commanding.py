"""What the commands about judges share: the judge named on the line, money, the bar of a run, and its end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from types import FrameType

from django.core.management.base import CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotation.models import Project
from judges.models import JudgeRun, JudgeVersion, RunState, VerdictState
from judges.running import RunReport
from judges.working import stopping


def version_of(project: Project, name: str) -> JudgeVersion:
    """Return the newest version of the judge of that name. Raises `CommandError` with the names that exist."""
    judge = project.judges.filter(name=name).first()
    if judge is None:
        known = ", ".join(project.judges.values_list("name", flat=True)) or "none yet"
        raise CommandError(
            f"There is no judge {name!r} in {project.slug}. Judges: {known}. "
            f"Add one: manage.py add_judge {project.slug} {name} --kind ..."
        )
    return judge.latest()


def budget_of(text: str | None) -> Decimal | None:
    """Return what --budget-usd says. Raises `CommandError` for what is no number."""
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise CommandError(f"--budget-usd takes US dollars, as in 2.50, not {text!r}.") from None


@contextmanager
def progress_of_run(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar in the terminal; what it yields is told how many questions of how many are finished."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda finished, total: bar.update(task, completed=finished, total=total)


@contextmanager
def finishing_on_interrupt(say: Callable[[str], object]) -> Iterator[None]:
    """Let the first Ctrl-C begin no further question and wait for those under way; the second ends at once.

    Raises `CommandError` at the end where it was stopped. For the main thread only.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        say("Stopping when the questions under way are answered; Ctrl-C again ends at once, and what is paid is lost.")

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
        if stopping.is_set():
            raise CommandError("Stopped. Run the command again to go on.")
    finally:
        stopping.clear()
        signal.signal(signal.SIGINT, previous)


def require_progress(run: JudgeRun, report: RunReport, *, waited: bool) -> None:
    """Raise `CommandError` for a run that brought no answer, or that this process was to end and did not."""
    if report.state != RunState.RUNNING and report.failed + report.pending and not report.done:
        raise CommandError("No question was answered.")
    if waited and report.state == RunState.RUNNING and report.pending:
        held = run.verdicts.filter(state=VerdictState.CLAIMED).order_by("-lease_until").first()
        until = "" if held is None else f", until {held.lease_until:%H:%M} UTC at the latest"
        raise CommandError(f"{report.pending} questions are held by another process{until}. Run it again to go on.")
