"""Reports that a person reads in a terminal as a table rather than figure by figure."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "Pairs": "n_pairs",
    "Agrees with people": "preference_two_way",
    "Picks first": "first_shown",
    "Flips": "flips",
    "Ties": "preference_ties",
    "Failed": "failed",
    "1,000 pairs": "cost_per_1000",
}


def show_judges(report: Mapping[str, Any], console: Console) -> None:
    """Print a row a judge, then why some may not label alone."""
    table = Table()
    table.add_column("Judge")
    table.add_column("May label alone")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for judge in report["judges"]:
        alone = "not run yet" if not judge["n_pairs"] else "yes" if judge["trusted"] else "no"
        table.add_row(_name(judge), alone, *(_cell(name, judge[key]) for name, key in COLUMNS.items()))
    console.print(table)
    for judge in report["judges"]:
        if judge["n_pairs"] and not judge["trusted"]:
            console.print(f"{_name(judge)}: {'; '.join(judge['reasons'])}.")


def _name(judge: Mapping[str, Any]) -> str:
    return f"{judge['judge']} v{judge['version']}"


def _cell(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return "-" if value["value"] is None else f"{value['value']:.1%} (n {value['n']:,})"
    if value is None:
        return "-"
    return f"${value:,.2f}" if name == "1,000 pairs" else f"{value:,}"
