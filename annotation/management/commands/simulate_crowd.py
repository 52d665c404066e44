from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from annotation.commanding import ProjectCommand
from annotation.models import Project, Task, TaskState
from annotation.simulating.browsing import OverHttp
from annotation.simulating.commanding import add_crowd_arguments, habits_typed, mix_typed
from annotation.simulating.people import draw_people
from annotation.simulating.registering import require_no_live_people
from annotation.simulating.reporting import CrowdReport, report_on
from annotation.simulating.running import simulate
from annotation.simulating.serving import gold_looker, served


class Command(ProjectCommand):
    help = (
        "Let made-up people answer a project's open pairs through its pages, over HTTP. They and their answers are"
        " marked as simulated everywhere, earn nothing, and are let at no project with live people."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_crowd_arguments(parser, people=12)
        parser.add_argument("--rate", type=float, help="arrivals an hour, at random times (default: all at once)")
        parser.add_argument("--visit", type=int, default=20, help="answers a visit (default: %(default)s)")
        parser.add_argument(
            "--speed", type=float, help="simulated seconds in a real one; 1 is real (default: without waiting)"
        )
        parser.add_argument("--at-once", type=int, default=1, help="requests at a time (default: %(default)s)")
        parser.add_argument("--url", help="a running server on this database (default: served for this run only)")
        parser.add_argument("--beside-people", action="store_true", help="also where live people work")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        if not options["beside_people"]:
            require_no_live_people(project)
        speed, at_once, visit = options["speed"], options["at_once"], options["visit"]
        if speed is not None and not 0 < speed < 1e6:
            raise CommandError(f"--speed takes a number above 0, not {speed:g}.")
        if not 1 <= at_once <= 64:
            raise CommandError(f"--at-once takes 1 to 64, not {at_once}.")
        if visit < 1:
            raise CommandError(f"--visit takes 1 or more, not {visit}.")
        seed, habits = options["seed"], habits_typed(options)
        mix = mix_typed(options, rate_per_hour=options["rate"])
        people = draw_people(mix, seed=seed)
        if not options["url"]:
            call_command("collectstatic", verbosity=0, interactive=False)
        with ExitStack() as stack:
            url = options["url"] or stack.enter_context(served())
            run = simulate(
                project,
                people,
                seed=seed,
                door=stack.enter_context(closing(OverHttp(url))),
                habits=habits,
                answers_a_visit=visit,
                # A named server has workers of its own.
                look=None if options["url"] else gold_looker(project),
                speed=speed,
                at_once=at_once,
                progress=stack.enter_context(self._progress(project)),
            )
        report = report_on(project, people, run, seed=seed, habits=habits, speed=speed)
        self._print(project, report, seed)
        return {"project": project.slug, "seed": seed, **report.as_dict()}

    @contextmanager
    def _progress(self, project: Project) -> Iterator[Callable[[int], None] | None]:
        """Show a bar on a terminal, as long as what is open asks for; gold and repeats come on top."""
        console = Console(stderr=True)
        if not console.is_terminal:
            yield None
            return
        open_tasks = Task.objects.filter(project=project, state=TaskState.OPEN)
        wanted = sum(votes - answered for votes, answered in open_tasks.values_list("votes_wanted", "answered"))
        columns = (SpinnerColumn(), TextColumn("Simulated answers"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=wanted)
            yield lambda done: bar.update(task, completed=done, total=max(wanted, done))

    def _print(self, project: Project, report: CrowdReport, seed: int) -> None:
        say = self.stdout.write
        truth = ", ".join(f"{number:,} {source}" for source, number in sorted(report.truth.items())) or "none yet"
        say(f"Simulated crowd of {report.people} at {project} (seed {seed}); truth of the pairs: {truth}.")
        row = "{:<10} {:>6} {:>8} {:>7} {:>6} {:>10} {:>7} {:>14} {:>8}"
        say(row.format("kind", "people", "answers", "right", "gold", "gold right", "paused", "after gold", "flagged"))
        for one in report.kinds:
            until = "-" if one.gold_until_paused is None else f"{one.gold_until_paused:.1f}"
            shares = (_percent(one.right), one.gold, _percent(one.gold_right))
            say(row.format(one.kind, one.people, one.answers, *shares, one.paused, until, one.flagged))
        say(
            f"{report.answers:,} simulated answers: {report.votes:,} votes, {report.gold:,} gold, {report.repeats:,}"
            f" repeats, {report.extras:,} beside the count. Pairs done {report.pairs_done:,}, open"
            f" {report.pairs_open:,}, contested {report.contested:,}."
        )
        right = _percent(report.accuracy)
        say(f"Consensus right on {right} of answered pairs. Wrongly paused: {report.wrongly_paused}.")
        pace = "" if report.answers_per_hour is None else f", {report.answers_per_hour:,.0f} answers an hour"
        say(f"{report.hours:.1f} simulated hours{pace}; {report.real_seconds:.1f} real seconds.")
        say(f"Real people would have cost ${report.cost_usd:,.2f}. Nothing was booked.")
        say(
            "Visits: " + (_counted(report.ended_as) or "none ended") + ". This run: " + (_counted(report.run) or "none")
        )
        if report.note:
            say(report.note)
        for fault in report.faults:
            say(f"FAULT {fault}")
        if not report.faults:
            say("Every invariant holds, and every answer is stored as it was meant and marked as simulated.")
        if report.interrupted:
            say("Stopped. The same command goes on from here.")
        elif report.pairs_open:
            say(f"{report.pairs_open:,} pairs are still open: more people, or another --seed, would answer them.")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in sorted(numbers.items()))
