from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from judges.commanding import budget_of, finishing_on_interrupt, progress_of_run, require_progress, version_of
from judges.models import JudgeRun, JudgeVersion
from judges.running import report_on, resume, unfinished_run, work_off
from routing.signals.tagging import quote_tags, tag_prompts


class Command(ProjectCommand):
    help = "Ask a judge what kind of prompt each prompt is; the tags are signals. Goes on where it was interrupted."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--judge", required=True, metavar="NAME", help="the judge; its newest version is asked")
        parser.add_argument("--limit", type=int, metavar="N", help="at most N prompts")
        parser.add_argument("--budget-usd", metavar="USD", help="never spend more than this in this run")
        parser.add_argument("--wait", action="store_true", help="work in this process, with progress, to the end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command; what is left undone is an error of the command, after its output."""
        super().handle(*args, **options)
        require_progress(self.asked, self.report, waited=options["wait"])

    def run(self, **options: Any) -> Mapping[str, Any]:
        version = version_of(self.project(options["slug"]), options["judge"])
        run = self._run(version, options)
        if options["wait"]:
            with finishing_on_interrupt(self.stderr.write), progress_of_run(f"tags by {version}") as progress:
                work_off(run, progress=progress)
        self.asked, self.report = run, report_on(run)
        report = self.report
        if not report.done + report.failed + report.pending:
            self.stdout.write(f"{version} has been asked about every prompt.")
        else:
            self.stdout.write(
                f"{version}: {report.done} prompts tagged, {report.failed} failed, {report.pending} waiting, "
                f"${report.spent_usd:.4f} spent ({report.state})."
            )
        if report.reason:
            self.stdout.write(report.reason)
        return {"run": str(run.pk), "judge": version.judge.name, "version": version.number, **report._asdict()}

    def _run(self, version: JudgeVersion, options: Mapping[str, Any]) -> JudgeRun:
        budget, send = budget_of(options["budget_usd"]), not options["wait"]
        if open_run := unfinished_run(version, tagging=True):
            self.stdout.write(f"Going on with the run of {open_run.created_at:%Y-%m-%d %H:%M} UTC.")
            return resume(open_run, budget_usd=budget, send=send)
        quote = quote_tags(version)
        if quote.prompts and quote.usd is not None and quote.most_usd is not None:
            # A file or a log keeps this line: what was known before the money was spent.
            self.stdout.write(
                f"{quote.prompts} prompts without tags: about ${quote.usd:.4f}, at most ${quote.most_usd:.4f}."
            )
        return tag_prompts(version, limit=options["limit"], budget_usd=budget, send=send)
