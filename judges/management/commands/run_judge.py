from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotation.commanding import ProjectCommand
from annotation.models import Project
from judges.models import JudgeRun, JudgeVersion, VerdictState
from judges.running import RunReport, report_on, resume, retry_failed, start_run, unfinished_run, work_off

# Of the reasons why questions failed, the most frequent.
REASONS_SHOWN = 3


class Command(ProjectCommand):
    help = "Have a judge label the pairs it has not been asked about; go on with a run that was interrupted."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="the judge; its newest version is asked")
        parser.add_argument("--budget-usd", metavar="USD", help="never spend more than this in this run")
        parser.add_argument("--limit", type=int, metavar="N", help="at most N pairs")
        parser.add_argument("--retry-failed", action="store_true", help="ask the last run's failed questions again")
        parser.add_argument("--wait", action="store_true", help="work in this process, with progress, to the end")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        version = _version(project, options["name"])
        run = self._run(version, options)
        if options["wait"]:
            with _progress(str(version)) as progress:
                report = work_off(run, progress=progress)
        else:
            report = report_on(run)
        self._say(project, version, report, waited=options["wait"])
        if report.failed and not report.reason:
            self._say_why(run)
        return {"run": str(run.pk), "judge": version.judge.name, "version": version.number, **report._asdict()}

    def _run(self, version: JudgeVersion, options: Mapping[str, Any]) -> JudgeRun:
        budget, send = _budget(options["budget_usd"]), not options["wait"]
        last = version.runs.first()
        if options["retry_failed"] and last:
            self.stdout.write(f"{retry_failed(last, send=send)} failed questions go back into the last run.")
            last.refresh_from_db()
        open_run = unfinished_run(version)
        if open_run:
            self.stdout.write(f"Going on with the run of {open_run.created_at:%Y-%m-%d %H:%M} UTC.")
            return resume(open_run, budget_usd=budget, send=send)
        return start_run(version, limit=options["limit"], budget_usd=budget, send=send)

    def _say(self, project: Project, version: JudgeVersion, report: RunReport, *, waited: bool) -> None:
        money = "" if not report.spent_usd else f", ${report.spent_usd:.4f} spent"
        self.stdout.write(
            f"{version}: {report.done} answered, {report.failed} failed, {report.pending} waiting{money} "
            f"({report.state})."
        )
        if report.reason:
            self.stdout.write(report.reason)
        if report.failed:
            self.stdout.write(
                f"Ask the failed ones again: manage.py run_judge {project.slug} {version.judge} --retry-failed"
            )
        if not waited and report.pending:
            self.stdout.write(
                "Workers answer these (manage.py up, or celery -A config worker -Q judges). "
                f"Watch: manage.py report {project.slug} judges. Or work here: add --wait."
            )

    def _say_why(self, run: JudgeRun) -> None:
        failed = run.verdicts.filter(state=VerdictState.FAILED).values_list("error")
        for error, count in failed.annotate(n=Count("id")).order_by("-n", "error")[:REASONS_SHOWN]:
            self.stdout.write(f"  {count} failed: {error}")


def _version(project: Project, name: str) -> JudgeVersion:
    judge = project.judges.filter(name=name).first()
    if judge is None:
        known = ", ".join(project.judges.values_list("name", flat=True)) or "none yet"
        raise CommandError(
            f"There is no judge {name!r} in {project.slug}. Judges: {known}. "
            f"Add one: manage.py add_judge {project.slug} {name} --kind ..."
        )
    return judge.latest()


def _budget(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise CommandError(f"--budget-usd takes US dollars, as in 2.50, not {text!r}.") from None


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda finished, total: bar.update(task, completed=finished, total=total)
