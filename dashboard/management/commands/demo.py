"""The whole main job on the bundled sample."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from annotation.commanding import TiebreakCommand
from dashboard.demonstrating import DemoReport, demonstrate


class TerminalNarrator:
    """Shows each stage as a bar; where the output is no terminal, as a line when it ends."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show a stage until it ends, with what it has done so far."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        begun = time.monotonic()
        finished = 0

        def done(count: int) -> None:
            nonlocal finished
            finished = count
            bar.update(task, completed=count, total=max(total or count, count))

        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield done
        self.console.print(f"[green]✓[/] {title} ({finished}, {time.monotonic() - begun:.1f} s)", highlight=False)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False)


class Command(TiebreakCommand):
    help = "Run the main job on the bundled sample (its people are simulated) and say what happened."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--seed", type=int, default=0, help="seed of the simulated crowd, the plans and the split")

    def run(self, **options: Any) -> Mapping[str, Any]:
        console = Console(soft_wrap=True)
        call_command("migrate", verbosity=0)
        # The crowd answers through the pages, which name their style sheets.
        call_command("collectstatic", verbosity=0, interactive=False)
        report = demonstrate(TerminalNarrator(console), seed=options["seed"])
        _print_summary(console, report)
        return {
            "project": report.project.slug,
            "labels": report.labels,
            "judges": report.judges,
            "plan": str(report.plan.id),
            "folder": report.snapshot.folder,
            "files": report.snapshot.files,
            "counts": report.snapshot.counts,
            "simulated_answers": report.answers,
            "people_would_cost_usd": report.people_usd,
            "models_usd": report.models_usd,
            "open_pairs": report.open_pairs,
            "notes": report.notes,
        }


def _print_summary(console: Console, report: DemoReport) -> None:
    project = report.project
    console.rule("What happened")
    sources = ", ".join(f"{count} by {source}" for source, count in sorted(report.labels.items()))
    console.print(f"Labels of {project.slug}: {sources}. The people are simulated.", highlight=False)
    console.print(_judge_table(report))
    console.print(
        f"Money: models ${report.models_usd:.2f}; people nothing, being simulated: their {report.answers} answers "
        f"would have cost ${report.people_usd:.2f} at ${project.pay_per_answer_usd:.2f} each.",
        highlight=False,
    )
    console.print(f"Files in {report.snapshot.folder}:", highlight=False)
    for file in report.snapshot.files:
        console.print(f"  {file['path']}  {file['rows']} rows  {file['bytes']:,} bytes", highlight=False)
    console.print(f'Load it: datasets.load_dataset("{report.snapshot.folder}")', highlight=False, markup=False)
    console.rule("Look at it")
    for login in report.logins:
        console.print(f"  {login.username}  {login.password}  {login.does}", highlight=False, markup=False)
    console.print(f"{report.open_pairs} pairs are open for you: sign in as ben once the site is up (make up).")
    console.rule("Your own judge and data")
    for line in (
        "manage.py create_project mine --manager ada",
        "manage.py import_pairs mine pairs.jsonl",
        "manage.py add_judge mine small --kind openai --base-url http://127.0.0.1:8080/v1 --model my-model",
        "manage.py run_judge mine small --wait",
    ):
        console.print(f"  .venv/bin/python {line}", highlight=False, markup=False)


def _judge_table(report: DemoReport) -> Table:
    table = Table("judge", "pairs", "agrees with people", "longer wins, same pairs", "picks the first shown", "trusted")
    for row in report.judges:
        figures = (_share(row[key]) for key in ("preference_two_way", "length_rule", "first_shown"))
        table.add_row(
            row["name"], str(row["n_pairs"]), *figures, "yes" if row["trusted"] else "; ".join(row["reasons"])
        )
    return table


def _share(figure: Mapping[str, Any]) -> str:
    """Return a share with its interval, or why there is none."""
    if figure["value"] is None:
        return str(figure["too_few"])
    interval = "" if figure["low"] is None else f" ({figure['low']:.0%} to {figure['high']:.0%})"
    return f"{figure['value']:.0%}{interval}, n {figure['n']}"
