"""`manage.py plan_routing SLUG --budget 25%`: draw a plan, show it, and open its tasks with `--apply`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from annotation.commanding import ProjectCommand
from annotation.models import Project
from routing.models import Plan
from routing.plans.applying import apply_plan
from routing.plans.budgeting import Budget
from routing.plans.options import VOTES, PlanOptions
from routing.plans.planning import draw_plan
from routing.plans.replanning import replan
from routing.showing import console_on, show_plan

# Arguments that are options of the plan under the same name, where given.
OPTIONS = (
    "votes",
    "expert_on_split",
    "group_cap",
    "spread",
    "balance_by",
    "second_judge",
    "second_budget_usd",
    "pay_per_hour_usd",
    "worth_usd",
    "guarantee_alpha",
    "guarantee_delta",
)


class Command(ProjectCommand):
    help = "Draw a routing plan at a budget and show it; --apply opens its pairs to people."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        budget = parser.add_mutually_exclusive_group(required=True)
        budget.add_argument("--budget", help="share of the project's pairs that people answer: 25%% or 0.25")
        budget.add_argument("--pairs", help="number of pairs that people answer: 200")
        budget.add_argument("--budget-usd", help="what people's answers may cost, in US dollars")
        budget.add_argument("--target-agreement", help="agreement of labels with people to reach: 0.9")
        budget.add_argument(
            "--replan",
            action="store_true",
            help="draw the applied plan again from the answers since, with what is left",
        )
        parser.add_argument("--judge", help="the judge whose labels stand elsewhere (default: the best trusted one)")
        parser.add_argument("--audit", type=float, default=0.05, help="share of all pairs drawn at random (0.05)")
        parser.add_argument("--seed", type=int, help="seed of the draw (default: the project's)")
        parser.add_argument("--apply", action="store_true", help="open the plan's pairs to people")
        votes = parser.add_argument_group("answers a pair, and what they cost")
        votes.add_argument("--votes", choices=VOTES, help="fixed: the project's number; adaptive: two, more on a split")
        votes.add_argument("--expert-on-split", action="store_true", help="an expert decides where two people differ")
        votes.add_argument("--pay-per-hour-usd", help="people are paid by time: US dollars an hour")
        votes.add_argument("--worth-usd", help="what a corrected label is worth: where to stop")
        choice = parser.add_argument_group("which pairs")
        choice.add_argument(
            "--group-cap", type=int, help="at most so many pairs of a prompt group while others are left"
        )
        choice.add_argument("--spread", action="store_true", help="choose over clusters of prompts in turn")
        choice.add_argument("--balance-by", choices=("category", "language"), help="choose in proportion to its values")
        choice.add_argument("--second-judge", help="a judge that is asked about the pairs next in doubt")
        choice.add_argument("--second-budget-usd", help="what the second judge may cost, in US dollars")
        accepted = parser.add_argument_group("guarantee")
        accepted.add_argument(
            "--guarantee-alpha", type=float, help="most AI labels that may disagree with people: 0.15"
        )
        accepted.add_argument("--guarantee-delta", type=float, help="chance that this fails (0.1)")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        seed = project.seed if options["seed"] is None else options["seed"]
        if seed < 0:
            raise CommandError(f"--seed takes a number of 0 or more, not {seed}.")
        with _busy("Reading signals and fitting the predictor"):
            plan = _draw(project, seed, options)
        show_plan(plan, console_on(self.stdout))
        opened = None
        if options["apply"]:
            with _busy("Opening tasks and resolving labels"):
                opened = apply_plan(plan)
            self.stdout.write(f"Applied: {opened:,} pairs opened to people.")
        else:
            self.stdout.write("This is a draft; nothing was opened. Add --apply to open these pairs to people.")
        return _as_json(plan, opened)


def _draw(project: Project, seed: int, options: Mapping[str, Any]) -> Plan:
    asked = {name: options[name] for name in OPTIONS if options[name] not in (None, False)}
    if options["replan"]:
        if asked:
            raise CommandError(f"--replan keeps the plan's options; leave out: {', '.join(sorted(asked))}.")
        return replan(project, judge=options["judge"], seed=options["seed"])
    return draw_plan(
        project,
        budget=_budget(options),
        judge=options["judge"],
        audit_share=options["audit"],
        seed=seed,
        options=PlanOptions.from_json(asked),
    )


def _budget(options: Mapping[str, Any]) -> Budget:
    if options["budget"] is not None:
        return Budget.parse(options["budget"])
    if options["pairs"] is not None:
        return Budget.of_pairs(options["pairs"])
    if options["budget_usd"] is not None:
        return Budget.money(options["budget_usd"])
    return Budget.target(options["target_agreement"])


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
        "options": plan.options,
        "tasks_opened": opened,
        **{name: value for name, value in plan.figures.items() if name not in ("judge", "predictor")},
        "judge_details": plan.figures["judge"],
        "predictor_details": plan.figures["predictor"],
    }
