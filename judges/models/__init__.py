"""Judges, their versions, runs and verdicts."""

from judges.models.definitions import Judge, JudgeKind, JudgeVersion
from judges.models.runs import JudgeRun, Order, RunState, Verdict, VerdictState

__all__ = ["Judge", "JudgeKind", "JudgeRun", "JudgeVersion", "Order", "RunState", "Verdict", "VerdictState"]
