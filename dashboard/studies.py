"""What a page shows of a study: how far it is, and a replay's figures in the shape of its tables."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from annotation.models import Project
from dashboard.remembering import data_version, remembered
from routing.models import Study, StudyKind, StudyState
from routing.studies.replaying import ReplayJudge, replay_judges
from routing.studies.studying import seconds_left

FINISHED = (StudyState.DONE, StudyState.STOPPED, StudyState.FAILED)
STEPS = {StudyKind.REPLAY: "repeat", StudyKind.MIXES: "step"}
# Of the single signals, so many stand in the table; the file has all.
SIGNALS_LISTED = 12
WAYS = (("random", "Random"), ("best_signal", "Best signal"), ("learned", "Router"), ("oracle", "Perfect"))


class Followed(NamedTuple):
    """A study under way: what it is called, its steps, and about how long it will go on (None: not known yet).

    `kept` says what resuming it finds again once it was stopped.
    """

    study: Study
    title: str
    step: str
    seconds_left: float | None
    kept: str


def followed(study: Study) -> Followed:
    """Return what `_study.html` shows; one query at most."""
    kind = StudyKind(study.kind)
    title = "Replay" if kind == StudyKind.REPLAY else "Search over mixes"
    return Followed(study, f"{title} of {study.judge_name}", STEPS[kind], seconds_left(study), _kept(study, kind))


def _kept(study: Study, kind: StudyKind) -> str:
    if kind == StudyKind.MIXES:
        return "A search keeps nothing: resumed, it begins again."
    if not study.done_steps:
        return "Nothing was finished yet."
    repeats = "repeat it finished is" if study.done_steps == 1 else f"{study.done_steps:,} repeats it finished are"
    return f"The {repeats} kept."


def judges_to_replay(project: Project) -> list[ReplayJudge]:
    """Return `replay_judges`, computed once for each state of the data."""
    return remembered(f"replay-judges:{data_version(project)}", lambda: replay_judges(project))


class Listed(NamedTuple):
    """A row in the list of replays: the study, and its headline figures once it is done."""

    study: Study
    headline: dict[str, Any]


def listed(studies: Iterable[Study]) -> list[Listed]:
    """Return the rows of the list."""
    return [Listed(study, _headline(study.result)) for study in studies]


def _headline(result: dict[str, Any]) -> dict[str, Any]:
    if not result:
        return {}
    row = nearest(result["budgets"], 0.25)
    return {"pairs": result["pairs"], "auroc": result["auroc"]["learned"], "row": row}


def nearest(rows: list[dict[str, Any]], budget: float) -> dict[str, Any]:
    """Return the row of the budget nearest to one; the smaller of two."""
    return min(rows, key=lambda row: (abs(row["budget"] - budget), row["budget"]))


def replay_tables(result: dict[str, Any]) -> dict[str, Any]:
    """Return a replay's figures as the page's tables: every cell with its value and, where there is one, interval."""
    return {
        "headline": nearest(result["budgets"], 0.25),
        "ways": [title for _, title in WAYS],
        "targets": [
            {
                "target": row["target"],
                "reached": result["judge_accuracy"] >= row["target"],
                "cells": [{"mean": row[way], **row["intervals"][way]} for way, _ in WAYS],
                "router": {"mean": row["learned"], **row["intervals"]["learned"]},
            }
            for row in result["share_for_target"]
        ],
        "budgets": [
            {
                **row,
                "cells": [{"mean": row["agreement"][way], **row["intervals"][way]} for way, _ in WAYS],
                "asked": int(row["budget"] * result["pairs"] + 1e-9),
            }
            for row in result["budgets"]
        ],
        "signals": result["signals"][:SIGNALS_LISTED],
        "more_signals": len(result["signals"][SIGNALS_LISTED:]),
        "proxy": _proxy_rows(result.get("proxy")),
    }


def _proxy_rows(proxy: dict[str, Any] | None) -> dict[str, Any] | None:
    if not proxy:
        return None
    rows = [
        {
            "budget": row["budget"],
            "cells": [row["accuracy"][way] for way, _ in WAYS],
            "over_random": row["learned_minus"]["random"],
            "over_signal": row["learned_minus"]["best_signal"],
        }
        for row in proxy["budgets"]
    ]
    return {**proxy, "rows": rows}
