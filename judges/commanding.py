"""What the commands about judges share: the judge named on the line, money, and the bar of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation

from django.core.management.base import CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotation.models import Project
from judges.models import JudgeVersion


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
