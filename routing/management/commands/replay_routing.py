"""`manage.py replay_routing SLUG --judge NAME`: how good routing would have been on pairs that both answered."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotation.commanding import ProjectCommand
from routing.showing import console_on, show_replay
from routing.studies.replaying import replay_routing


class Command(ProjectCommand):
    help = "Replay routing on pairs that a judge and people answered: random, best signal, learned, oracle."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--judge", required=True, help='name of the judge, or "name · protocol"')
        parser.add_argument("--budgets", default="10,25,50", help="shares of human labels in %% (10,25,50)")
        parser.add_argument("--repeats", type=int, default=20, help="times the folds are drawn (20)")
        parser.add_argument("--proxy", action="store_true", help="also train a small reward model on each mix")
        parser.add_argument("--guarantee", action="store_true", help="also try the guarantee on 300 random splits")
        parser.add_argument("--seed", type=int, default=0, help="seed of the folds, the ties and the bootstrap (0)")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        budgets = _shares(options["budgets"])
        if options["seed"] < 0:
            raise CommandError(f"--seed takes a number of 0 or more, not {options['seed']}.")
        columns = (TextColumn("Repeats"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("repeats", total=options["repeats"])
            result = replay_routing(
                project,
                judge=options["judge"],
                budgets=budgets,
                repeats=options["repeats"],
                seed=options["seed"],
                proxy=options["proxy"],
                guarantee=options["guarantee"],
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        show_replay(result, console_on(self.stdout))
        return result


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part.strip().rstrip("%")) / 100 for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise CommandError(f"--budgets takes percentages such as 10,25,50, not {text!r}.")
    return shares
