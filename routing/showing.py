"""Plans and replays as tables in a terminal."""

from typing import IO, Any, cast

from rich.console import Console
from rich.table import Table

from routing.models import Plan

WAYS = ("random", "best_signal", "learned", "oracle")


def console_on(stream: Any) -> Console:
    """Return a console that writes to a command's output: as wide as the terminal, 110 columns without one."""
    # Django's wrapper has the methods of a text file that are needed, but not its type.
    return Console(file=cast(IO[str], stream), highlight=False, width=None if stream.isatty() else 110)


def show_plan(plan: Plan, console: Console) -> None:
    """Print what a manager needs to know before applying a plan."""
    figures = plan.figures
    judge, counts, predictor = figures["judge"], figures["counts"], figures["predictor"]
    table = Table(title=f"Plan for {plan.project}", show_header=False, title_justify="left")
    table.add_row("Judge", f"{judge['name']} ({'trusted' if judge['trusted'] else 'not trusted'})")
    for text in (*judge["reasons"], *judge["notes"]):
        table.add_row("", text)
    if not judge["labels"]:
        table.add_row("", "Its answers rank the pairs but label none; name it with --judge to use its labels.")
    table.add_row("Pairs", f"{figures['pairs']:,}, of which {figures['already_with_people']:,} are with people already")
    table.add_row("People, by doubt", f"{counts['people']:,}")
    table.add_row("People, at random", f"{counts['audit']:,} (audit slice)")
    if figures["second"]:
        second = figures["second"]
        price = f", up to {float(second['most_usd']):,.2f} USD" if second["most_usd"] is not None else ""
        table.add_row("Second judge", f"{counts['second']:,} to {second['name']}{price}")
    table.add_row("AI label" if judge["labels"] else "No label", f"{counts['ai']:,}")
    if counts["without_judge_label"]:
        table.add_row("Judge has no label", f"{counts['without_judge_label']:,}; run the judge on them")
    votes = figures["votes"]
    each = f"{votes['wanted']}" if votes["wanted"] == votes["most"] else f"{votes['wanted']} to {votes['most']}"
    table.add_row("Answers", f"{each} a pair; about {figures['hours']:,.1f} hours of people's time")
    table.add_row("", f"{figures['seconds_per_answer']:.0f} s an answer, {figures['pace']['note']}")
    table.add_row(
        "Cost", f"{float(figures['expected_usd']):,.2f} USD expected, {float(figures['cost_usd']):,.2f} USD at most"
    )
    table.add_row("Limited by", figures["budget"]["limited_by"])
    table.add_row("Expected agreement", _agreement(figures["agreement"]))
    table.add_row("Stop here", _stop(figures["frontier"]))
    if figures["drift"]:
        table.add_row("Drift", figures["drift"])
    table.add_row("Judge's accuracy", _accuracy(figures["judge_accuracy"]))
    kind = predictor["kind"] if predictor["calibrated"] else f"{predictor['kind']} (uncalibrated: it ranks)"
    table.add_row("Predictor", f"{kind}; {predictor['labels']:,} labelled pairs, judge wrong on {predictor['wrong']:,}")
    if predictor["note"]:
        table.add_row("", predictor["note"])
    console.print(table)
    if predictor["comparison"]:
        console.print(_comparison(predictor["comparison"]))


def show_replay(result: dict[str, Any], console: Console) -> None:
    """Print a replay: agreement by budget, then what the predictor is worth."""
    title = f"{result['judge']} on {result['pairs']:,} pairs in {result['groups']:,} groups: "
    table = Table(title=f"{title}{result['judge_accuracy']:.1%} right", title_justify="left")
    for name in ("Human share", "Random", "Best signal", "Learned", "Oracle", "Learned - random"):
        table.add_column(name, justify="right")
    for row in result["budgets"]:
        gain = row["learned_minus_random"]
        interval = f"{100 * gain['mean']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
        table.add_row(f"{row['budget']:.0%}", *(f"{row['agreement'][way]:.1%}" for way in WAYS), interval)
    for row in result["share_for_target"]:
        needed = row["intervals"]["learned"]
        interval = f"learned {100 * needed['low']:.1f} to {100 * needed['high']:.1f}"
        table.add_row(f"Needed for {row['target']:.0%}", *(f"{row[way]:.1%}" for way in WAYS), interval)
    console.print(table)
    best, gain = result["auroc_best_signal"], result["learned_minus_best_signal"]
    console.print(
        f"AUROC: learned ({result['predictor']}) {result['auroc']['learned']:.3f}, best signal {best['name']!r} "
        f"{best['value']:.3f}, difference {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}). "
        f"ECE {result['calibration']['ece']:.3f} ({result['calibration']['ece_low']:.3f} to "
        f"{result['calibration']['ece_high']:.3f}), Brier {result['calibration']['brier']:.3f}."
    )
    for row in result.get("guarantee", []):
        console.print(
            f"Guarantee of at most {row['alpha']:.0%} wrong: {row['coverage']['mean']:.1%} of labels accepted; more "
            f"were wrong in {row['above']:.1%} of {row['splits']} splits; none accepted in {1 - row['certified']:.1%}."
        )
    for row in result.get("proxy", {}).get("budgets", []):
        gain, accuracy = row["learned_minus"]["random"], row["accuracy"]
        console.print(
            f"Proxy reward model at {row['budget']:.0%}: random {accuracy['random']['mean']:.1%}, best signal "
            f"{accuracy['best_signal']['mean']:.1%}, learned {accuracy['learned']['mean']:.1%} "
            f"({100 * gain['mean']:+.1f} points over random, {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})."
        )
    excluded = result["excluded"]
    console.print(
        f"Left out: {excluded['without_judge']:,} pairs without the judge's label, {excluded['without_people']:,} "
        f"without people's, {excluded['contested']:,} on which people share the first place. "
        f"Protocol: {', '.join(filter(None, result['protocols'])) or 'not known'}."
    )


def _agreement(agreement: dict[str, Any]) -> str:
    if "note" in agreement:
        return str(agreement["note"])
    return (
        f"{agreement['before']:.1%} now, {agreement['after']:.1%} after the plan ({agreement['after_low']:.1%} to "
        f"{agreement['after_high']:.1%}), over {agreement['pairs']:,} pairs with a label"
    )


def _stop(frontier: dict[str, Any]) -> str:
    stop = frontier["stop_here"]
    if stop is None:
        return str(frontier["note"])
    return f"{stop['asked']:,} pairs, {stop['usd']:,.2f} USD expected, {stop['agreement']:.1%}. {stop['why']}"


def _accuracy(accuracy: dict[str, Any]) -> str:
    if "note" in accuracy:
        return str(accuracy["note"])
    interval = f"{accuracy['low']:.1%} to {accuracy['high']:.1%}"
    return f"{accuracy['estimate']:.1%} ({interval}), from {accuracy['answers']:,} answers ({accuracy['from']})"


def _comparison(candidates: list[dict[str, Any]]) -> Table:
    table = Table(title="On held-out prompt groups", title_justify="left")
    table.add_column("Predictor")
    for name in ("AUROC", "Log loss", "Brier", "ECE"):
        table.add_column(name, justify="right")
    for row in candidates:
        name = f"{row['kind']} (chosen)" if row["chosen"] else row["kind"]
        table.add_row(name, *(f"{row[figure]:.3f}" for figure in ("auroc", "log_loss", "brier", "ece")))
    return table
