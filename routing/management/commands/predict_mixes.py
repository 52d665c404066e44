"""`manage.py predict_mixes SLUG --judge NAME`: what whole mixes of people's and judges' labels are worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from annotation.commanding import ProjectCommand
from routing.showing import console_on
from routing.studies.exchanging import export_mixes, recommend_from_scores
from routing.studies.mixing import MixOptions, search_mixes

WAYS = ("random", "router", "recommended")


class Command(ProjectCommand):
    help = (
        "Search over mixes of people's and judges' labels (an experiment): candidate mixes, a small reward model for"
        " each, and a forecast of their scores with its own error. --export and --scores run it with reward models"
        " trained elsewhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        usual = MixOptions()
        parser.add_argument("--judge", required=True, help='name of the judge, or "name · protocol"')
        parser.add_argument("--budgets", default="10,25,50", help="shares of people's labels in %% (10,25,50)")
        parser.add_argument("--mixes", type=int, default=usual.mixes, help=f"mixes to score ({usual.mixes})")
        parser.add_argument(
            "--candidates",
            type=int,
            default=usual.candidates,
            help=f"mixes to search for each budget ({usual.candidates:,})",
        )
        parser.add_argument("--seed", type=int, default=0, help="seed of the mixes, the folds and the bootstrap (0)")
        parser.add_argument("--export", type=Path, metavar="CSV", help="write mixes to train on elsewhere, and stop")
        parser.add_argument("--scores", type=Path, metavar="CSV", help="scores of reward models: mix_id, score")
        parser.add_argument("--exported", type=Path, metavar="CSV", help="with --scores: the file --export wrote")
        parser.add_argument("--out", type=Path, metavar="JSONL", help="with --scores: write the recommended mixes")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        asked = MixOptions(_shares(options["budgets"]), options["mixes"], options["candidates"]).checked()
        judge, seed = options["judge"], options["seed"]
        if seed < 0:
            raise CommandError(f"--seed takes a number of 0 or more, not {seed}.")
        if (options["scores"] is None) != (options["exported"] is None):
            raise CommandError("--scores and --exported go together: the scores, and the file of mixes they belong to.")
        if options["out"] is not None and options["scores"] is None:
            raise CommandError("--out goes with --scores: it takes the mixes that those recommend.")
        if options["export"] is not None and options["scores"] is not None:
            raise CommandError("--export comes before --scores: give one of them.")
        if options["export"] is not None:
            written = export_mixes(project, judge=judge, options=asked, seed=seed, path=options["export"])
            self.stdout.write(f"{written.mixes:,} mixes of {written.pairs:,} pairs:")
            for path in written.files:
                self.stdout.write(f"  {path}")
            return {"mixes": written.mixes, "pairs": written.pairs, "files": [str(path) for path in written.files]}
        if options["scores"] is not None:
            result = recommend_from_scores(
                project,
                judge=judge,
                options=asked,
                seed=seed,
                mixes=options["exported"],
                scores=options["scores"],
                out=options["out"],
            )
        else:
            columns = (TextColumn("Steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task("steps", total=None)
                result = search_mixes(
                    project,
                    judge=judge,
                    options=asked.to_json(),
                    seed=seed,
                    progress=lambda done, total: bar.update(task, completed=done, total=total),
                )
        _show(result, console_on(self.stdout))
        return result


def _show(result: Mapping[str, Any], console: Console) -> None:
    """Print the forecasts, and each budget's mixes or why none is recommended."""
    trained_here = "all_people" in result
    of = f"{result['pairs']:,} pairs that people and {result['judge']} both answered"
    console.print(f"An experiment on {of}.")
    if trained_here:
        console.print(
            f"Proxy reward model on held-out answers of people: {result['all_people']:.1%} with people's labels alone,"
            f" {result['all_judge']:.1%} with the judge's alone."
        )
    console.print(_forecasts(result["forecasts"]))
    if result["refusal"]:
        console.print(f"{result['refusal']} No mix is recommended.")
    table = Table(title="Mixes by budget", title_justify="left")
    for title in ("People", "Mix", "Forecast", "Seen on pairs kept apart", "Recommended leads by, points"):
        table.add_column(title, justify="left" if title == "Mix" else "right")
    form = "{:.1%}" if trained_here else "{:.4g}"
    for row in result["budgets"]:
        for way in WAYS:
            if way in row["predicted"]:
                check = row.get("check", {"accuracy": {}, "lead": {}})
                seen, lead = check["accuracy"].get(way), check["lead"].get(way)
                lead = lead if "recommended" in row["predicted"] else None
                table.add_row(
                    f"{row['budget']:.0%}",
                    way,
                    form.format(row["predicted"][way]),
                    _interval(seen, "{:.1%}") if seen else "",
                    _interval({end: 100 * value for end, value in lead.items()}, "{:+.1f}") if lead else "",
                )
    console.print(table)


def _forecasts(forecasts: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Forecasts of mixes they had not seen", title_justify="left")
    for title in ("Forecast", "Spearman, same budget", "Spearman, all", "RMSE", ""):
        table.add_column(title, justify="left" if title in {"Forecast", ""} else "right")
    for one in forecasts:
        table.add_row(
            one["words"],
            _interval(one["spearman"], "{:.2f}"),
            f"{one['spearman_overall']:.2f}",
            _interval(one["rmse"], "{:.4f}"),
            "used" if one["chosen"] else "",
        )
    return table


def _interval(figure: Mapping[str, float], form: str) -> str:
    return f"{form.format(figure['mean'])} ({form.format(figure['low'])} to {form.format(figure['high'])})"


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part.strip().rstrip("%")) / 100 for part in text.split(","))
    except ValueError:
        raise CommandError(f"--budgets takes percentages such as 10,25,50, not {text!r}.") from None
