from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import TiebreakCommand
from annotation.simulating.commanding import add_crowd_arguments, habits_typed, mix_typed
from annotation.simulating.estimating import Design, Estimate, estimate
from annotation.standards import read_standards


class Command(TiebreakCommand):
    help = (
        "Say what a study would cost, take and find, by replications of simulated people. Asks nobody, stores nothing,"
        " and needs no project."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--pairs", type=int, required=True, help="how many pairs are asked")
        parser.add_argument("--votes", type=int, default=3, help="answers a pair (default: %(default)s)")
        add_crowd_arguments(parser, people=20)
        parser.add_argument("--a-day", type=float, help="people who arrive in a day (default: all at once)")
        parser.add_argument("--answers-each", type=int, help="the most one gives (default: an equal part of all)")
        parser.add_argument("--hours-a-day", type=float, default=2.0, help="one works in a day (default: %(default)s)")
        parser.add_argument("--pay-usd", default="0.30", help="for an answer (default: %(default)s)")
        parser.add_argument("--characters", type=int, default=1500, help="of a pair, both responses and the prompt")
        parser.add_argument("--gold", type=float, default=10.0, help="percent of answers (default: %(default)s)")
        parser.add_argument("--no-pausing", action="store_true", help="gold pauses nobody")
        parser.add_argument(
            "--difference",
            type=float,
            default=10.0,
            help="points between the win rates of two models, whose responses every pair compares (default: 10)",
        )
        parser.add_argument("--replications", type=int, default=400, help="(default: %(default)s)")

    def run(self, **options: Any) -> Mapping[str, Any]:
        try:
            pay_usd = Decimal(options["pay_usd"])
        except InvalidOperation:
            raise CommandError(f"--pay-usd takes US dollars, not {options['pay_usd']!r}.") from None
        pauses = not options["no_pausing"]
        design = Design(
            pairs=options["pairs"],
            votes=options["votes"],
            mix=mix_typed(options),
            standards=read_standards(
                {"gold_percent": options["gold"], "pause_on_gold": pauses, "exclude_on_pause": pauses}
            ),
            habits=habits_typed(options),
            pay_usd=pay_usd,
            answers_each=options["answers_each"],
            people_a_day=options["a_day"],
            hours_a_day=options["hours_a_day"],
            characters=options["characters"],
            difference=options["difference"] / 100,
        )
        found = estimate(design, seed=options["seed"], replications=options["replications"])
        self._print(design, found)
        return found.as_dict()

    def _print(self, design: Design, found: Estimate) -> None:
        say, usd = self.stdout.write, found.cost_usd
        who = ", ".join(f"{number} {kind}" for kind, number in design.mix.counts.items())
        say(f"{design.pairs:,} pairs of {design.votes} votes; at most {design.mix.people} people: {who}.")
        say(f"{found.replications} replications of simulated people, seed {found.seed}; in brackets 95 % of them.")
        say(f"cost          ${usd.mean:,.2f} (${usd.low:,.2f} to ${usd.high:,.2f})")
        say(f"days          {found.days.mean:.1f} ({found.days.low:.1f} to {found.days.high:.1f})")
        hours = found.hours_of_work
        say(f"hours of work {hours.mean:,.0f} ({hours.low:,.0f} to {hours.high:,.0f})")
        say(f"accuracy      {found.accuracy.mean:.1%} ({found.accuracy.low:.1%} to {found.accuracy.high:.1%})")
        say(
            f"power         {found.power:.0%} to see a difference of {100 * design.difference:g} points"
            f" ({found.power_of_truth:.0%} if every label were right)"
        )
        if found.bad_paused is not None:
            after = "" if found.gold_until_paused is None else f", after {found.gold_until_paused:.1f} gold answers"
            say(f"bad paused    {found.bad_paused:.0%}{after}")
        if found.wrongly_paused is not None:
            say(f"good paused   {found.wrongly_paused:.1%}")
        if found.finished < 1:
            say(
                f"In {1 - found.finished:.0%} of the replications some pairs did not get their votes: more people, or"
                " more answers each."
            )
