from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from exports.reporting import REPORTS, make_report
from exports.reporting.stating import is_figure
from exports.showing import show_judges
from routing.showing import console_on


class Command(ProjectCommand):
    help = "Print a report about a project: every number with its n, or why there is none."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("report", choices=sorted(REPORTS))
        parser.add_argument("--full", action="store_true", help="every figure, also of the report on judges")

    def run(self, **options: Any) -> dict[str, Any]:
        project = self.project(options["slug"])
        report = make_report(project, options["report"])
        if "sample" in report:
            self.stdout.write(report["sample"]["sentence"])
        if options["report"] == "judges" and not options["full"]:
            show_judges(report, console_on(self.stdout))
            self.stdout.write(f"Every figure with its interval: --full, --json, or /projects/{project.slug}/judges/.")
            return report
        for line in _lines(report):
            self.stdout.write(line)
        return report


def _lines(value: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """Yield a report as indented lines of names and values."""
    pad = "  " * indent
    for key, part in value.items():
        name = key.replace("_", " ")
        if is_figure(part):
            yield f"{pad}{name:<32} {_figure(part)}"
        elif isinstance(part, Mapping) and part:
            yield f"{pad}{name}:"
            yield from _lines(part, indent + 1)
        elif isinstance(part, list) and any(isinstance(one, Mapping) for one in part):
            yield f"{pad}{name}:"
            for one in part:
                yield from _lines(one, indent + 1)
                yield ""
        else:
            yield f"{pad}{name:<32} {_scalar(part)}"


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return str(figure["too_few"])
    interval = "" if figure["low"] is None else f"  (95 %: {figure['low']:.4f} to {figure['high']:.4f})"
    return f"{figure['value']:.4f}{interval}  n {figure['n']:,}"


def _scalar(value: Any) -> str:
    if value is None or value in ({}, []):
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
