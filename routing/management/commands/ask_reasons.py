from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from judges.commanding import budget_of, progress_of_run, version_of
from judges.running import report_on, work_off
from routing.labels.explaining import ask_reasons


class Command(ProjectCommand):
    help = "Ask a judge for the reasons of its answers where its label stands, or where people dispute."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="the judge; its newest version is asked")
        parser.add_argument("--budget-usd", metavar="USD", help="never spend more than this in this run")
        parser.add_argument("--wait", action="store_true", help="work in this process, with progress, to the end")

    def run(self, **options: Any) -> Mapping[str, Any]:
        version = version_of(self.project(options["slug"]), options["name"])
        run = ask_reasons(version, budget_usd=budget_of(options["budget_usd"]), send=not options["wait"])
        if options["wait"]:
            with progress_of_run(f"reasons of {version}") as progress:
                work_off(run, progress=progress)
        report = report_on(run)
        self.stdout.write(
            f"{version}: {report.done} reasons given, {report.failed} failed, {report.pending} waiting "
            f"({report.state})."
        )
        if report.reason:
            self.stdout.write(report.reason)
        return {"run": str(run.pk), "judge": version.judge.name, "version": version.number, **report._asdict()}
