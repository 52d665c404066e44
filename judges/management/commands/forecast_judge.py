from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from judges.commanding import finishing_on_interrupt, progress_of_run, version_of
from judges.forecasting import PROBE_PAIRS, Foretold, Range, foretell, start_probe
from judges.models import RunState
from judges.running import work_off


class Command(ProjectCommand):
    help = "Judge a few pairs, and foretell from them what the rest will take: time, GPU-hours and money."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="the judge; its newest version is measured")
        parser.add_argument("--pairs", type=int, default=PROBE_PAIRS, metavar="N", help=f"default: {PROBE_PAIRS}")
        parser.add_argument("--wait", action="store_true", help="judge them in this process, then foretell")
        parser.add_argument("--again", action="store_true", help="measure anew where there is a forecast")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        version = version_of(project, options["name"])
        told = None if options["again"] else foretell(version)
        if told is None:
            run = (
                version.runs.filter(forecast__measured_at=None, forecast__isnull=False)
                .exclude(state=RunState.DONE)
                .first()
            )
            run = run or start_probe(version, pairs=options["pairs"], send=not options["wait"])
            if options["wait"]:
                with finishing_on_interrupt(self.stderr.write), progress_of_run(f"probe of {version}") as progress:
                    work_off(run, progress=progress)
                told = foretell(version)
            run.refresh_from_db()
            if told is None:
                self.stdout.write(
                    f"{run.verdicts.count()} questions of the probe are with the workers. Run this again when they are "
                    f"answered, or add --wait to answer them here. {run.reason}".strip()
                )
                return {"judge": version.judge.name, "version": version.number, "run": str(run.pk), "foretold": None}
        for line in _lines(told):
            self.stdout.write(line)
        return {"judge": version.judge.name, "version": version.number, "foretold": _as_json(told)}


def _lines(told: Foretold) -> list[str]:
    rows = [
        ("pairs a second", told.pairs_per_second, "{:,.1f}"),
        ("hours", None if told.seconds is None else _hours(told.seconds), "{:,.2f}"),
        ("GPU-hours", told.gpu_hours, "{:,.2f}"),
        ("US dollars", told.usd, "{:,.2f}"),
    ]
    head = (
        f"{told.version}: measured on {told.measured_pairs:,} pairs of {told.measured_prompts:,} prompts; "
        f"{told.rest:,} pairs are left."
    )
    return [head, *(f"  {name + ':':<16}{_said(one, form)}" for name, one, form in rows)]


def _said(one: Range | None, form: str) -> str:
    if one is None:
        return "not known"
    if one.low is None or one.high is None:
        return f"{form.format(one.value)} (too few prompts for an interval)"
    return f"{form.format(one.value)} ({form.format(one.low)} to {form.format(one.high)})"


def _hours(seconds: Range) -> Range:
    low, high = (None if bound is None else bound / 3600 for bound in (seconds.low, seconds.high))
    return Range(seconds.value / 3600, low, high)


def _as_json(told: Foretold) -> dict[str, Any]:
    ranges = {"pairs_per_second", "seconds", "gpu_hours", "usd"}
    return {
        "pairs": told.measured_pairs,
        "prompts": told.measured_prompts,
        "measured_at": told.measured_at.isoformat(),
        "rest": told.rest,
        **{name: one and one._asdict() for name, one in told._asdict().items() if name in ranges},
    }
