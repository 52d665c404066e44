"""`manage.py plan_routing SLUG --budget 25%`: draw a plan, show it, and open its tasks with `--apply`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from annotation.commanding import ProjectCommand
from routing.models import Plan
from routing.planning import Budget, apply_plan, draw_plan
from routing.showing import console_on, show_plan


class Command(ProjectCommand):
    help = "Draw a routing plan at a budget and show it; --apply opens its pairs to people."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        budget = parser.add_mutually_exclusive_group(required=True)
        budget.add_argument("--budget", help="share of the project's pairs that people answer: 25%% or 0.25")
        budget.add_argument("--budget-usd", help="what people's answers may cost, in US dollars")
        budget.add_argument("--target-agreement", help="agreement of labels with people to reach: 0.9")
        parser.add_argument("--judge", help="the judge whose labels stand elsewhere (default: the best trusted one)")
        parser.add_argument("--audit", type=float, default=0.05, help="share of all pairs drawn at random (0.05)")
        parser.add_argument("--seed", type=int, help="seed of the draw (default: the project's)")
        parser.add_argument("--apply", action="store_true", help="open the plan's pairs to people")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        if options["budget"] is not None:
            budget = Budget.parse(options["budget"])
        elif options["budget_usd"] is not None:
            budget = Budget.money(options["budget_usd"])
        else:
            budget = Budget.target(options["target_agreement"])
        seed = project.seed if options["seed"] is None else options["seed"]
        if seed < 0:
            raise CommandError(f"--seed takes a number of 0 or more, not {seed}.")
        with _busy("Reading signals and fitting the predictor"):
            plan = draw_plan(project, budget=budget, judge=options["judge"], audit_share=options["audit"], seed=seed)
        show_plan(plan, console_on(self.stdout))
        opened = None
        if options["apply"]:
            with _busy("Opening tasks and resolving labels"):
                opened = apply_plan(plan)
            self.stdout.write(f"Applied: {opened:,} pairs opened to people.")
        else:
            self.stdout.write("This is a draft; nothing was opened. Add --apply to open these pairs to people.")
        return _as_json(plan, opened)


def _busy(text: str) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.add_task(text, total=None)
    return progress


def _as_json(plan: Plan, opened: int | None) -> dict[str, Any]:
    return {
        "plan": str(plan.pk),
        "state": plan.state,
        "judge": plan.judge_name,
        "predictor": plan.predictor_kind,
        "seed": plan.seed,
        "audit_share": plan.audit_share,
        "tasks_opened": opened,
        **{name: value for name, value in plan.figures.items() if name not in ("judge", "predictor")},
        "judge_details": plan.figures["judge"],
        "predictor_details": plan.figures["predictor"],
    }
