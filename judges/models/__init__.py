"""Judges, their versions, servers, runs and verdicts."""

from judges.models.batches import Batch, BatchState
from judges.models.definitions import COMBINED, RULES, Judge, JudgeKind, JudgeVersion
from judges.models.flags import ResponseFlag, ResponseScan
from judges.models.forecasts import Forecast
from judges.models.runs import SECOND_PASSES, JudgeRun, Order, RunPurpose, RunState, Verdict, VerdictState
from judges.models.servers import CachedReply, ModelServer, ServedModel, ServerShare

__all__ = [
    "COMBINED",
    "RULES",
    "SECOND_PASSES",
    "Batch",
    "BatchState",
    "CachedReply",
    "Forecast",
    "Judge",
    "JudgeKind",
    "JudgeRun",
    "JudgeVersion",
    "ModelServer",
    "Order",
    "ResponseFlag",
    "ResponseScan",
    "RunPurpose",
    "RunState",
    "ServedModel",
    "ServerShare",
    "Verdict",
    "VerdictState",
]
