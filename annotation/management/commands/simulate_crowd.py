from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from annotation.commanding import ProjectCommand
from annotation.simulating import simulate_crowd, simulated_people


class Command(ProjectCommand):
    help = "Let made-up people, shown as simulated everywhere, answer the open tasks of the bundled sample."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--people", type=int, default=3, help="how many (default: %(default)s)")
        parser.add_argument(
            "--error-rates", default="0.05,0.15,0.25", help="how often each is wrong, 0 to 1 (default: %(default)s)"
        )
        parser.add_argument("--seed", type=int, default=0, help="of their mistakes (default: %(default)s)")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        people = simulated_people(_rates(options["error_rates"], people=options["people"]))
        report = simulate_crowd(project, people, seed=options["seed"], now=timezone.now())
        for person in people:
            answers = report.by_person[person.name]
            self.stdout.write(
                f"simulated: {person.name} (wrong {person.error_rate:.0%} of the time): {answers} answers"
            )
        self.stdout.write(f"{report.answers} simulated answers, {report.correct} of them the known better response")
        return report._asdict()


def _rates(text: str, *, people: int) -> list[float]:
    """Return an error rate a person. Raises `CommandError` for what is no number and for a wrong count."""
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        raise CommandError(f"--error-rates takes numbers with commas between them, not {text!r}.") from None
    if len(rates) != people:
        raise CommandError(f"--error-rates has {len(rates)} numbers for {people} people; give one for each.")
    return rates
