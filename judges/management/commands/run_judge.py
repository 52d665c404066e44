from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count

from annotation.commanding import ProjectCommand
from annotation.models import Project
from judges.commanding import budget_of, finishing_on_interrupt, progress_of_run, require_progress, version_of
from judges.models import JudgeKind, JudgeRun, JudgeVersion, RunPurpose, VerdictState
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
        parser.add_argument("--fresh", action="store_true", help="take no answer that was kept from another run")
        parser.add_argument("--wait", action="store_true", help="work in this process, with progress, to the end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command; what is left undone is an error of the command, after its output."""
        super().handle(*args, **options)
        require_progress(self.asked, self.report, waited=options["wait"])

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        version = version_of(project, options["name"])
        run = self._run(version, options)
        if options["wait"]:
            with finishing_on_interrupt(self.stderr.write), progress_of_run(str(version)) as progress:
                work_off(run, progress=progress)
        self.asked, self.report = run, report_on(run)
        report = self.report
        self._say(project, version, report, waited=options["wait"])
        if report.failed and report.reason == "":
            self._say_why(run)
        return {"run": str(run.pk), "judge": version.judge.name, "version": version.number, **report._asdict()}

    def _run(self, version: JudgeVersion, options: Mapping[str, Any]) -> JudgeRun:
        budget, send = budget_of(options["budget_usd"]), not options["wait"]
        last = version.runs.exclude(purpose=RunPurpose.TAG).first()
        if options["retry_failed"] and last:
            self.stdout.write(f"{retry_failed(last, send=send)} failed questions go back into the last run.")
            last.refresh_from_db()
        open_run = unfinished_run(version)
        if open_run and options["fresh"] and not open_run.fresh:
            raise CommandError(
                f"The run of {open_run.created_at:%Y-%m-%d %H:%M} UTC is unfinished and takes kept answers. Finish it "
                "first: leave out --fresh."
            )
        if open_run:
            self.stdout.write(f"Going on with the run of {open_run.created_at:%Y-%m-%d %H:%M} UTC.")
            return resume(open_run, budget_usd=budget, send=send)
        return start_run(version, limit=options["limit"], budget_usd=budget, fresh=options["fresh"], send=send)

    def _say(self, project: Project, version: JudgeVersion, report: RunReport, *, waited: bool) -> None:
        if not report.done + report.failed + report.pending:
            self.stdout.write(f"{version} has been asked about every pair.")
            return
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
            queue = "judges.gpu -P solo" if version.judge.kind == JudgeKind.GPU else "judges"
            self.stdout.write(
                f"Workers answer these (manage.py up, or celery -A config worker -Q {queue}). "
                f"Watch them at /projects/{project.slug}/judges/{version.pk}/, or work here: add --wait."
            )

    def _say_why(self, run: JudgeRun) -> None:
        failed = run.verdicts.filter(state=VerdictState.FAILED).values_list("error")
        for error, count in failed.annotate(n=Count("id")).order_by("-n", "error")[:REASONS_SHOWN]:
            self.stdout.write(f"  {count} failed: {error}")
