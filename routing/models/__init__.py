"""Signals, plans, routes, fits, studies and labels."""

from routing.models.adjudications import Adjudication, Cause
from routing.models.fits import PredictorFit
from routing.models.labels import Label, LabelSource
from routing.models.plans import BudgetKind, Plan, PlanSignals, PlanState, Route, RouteSource
from routing.models.signals import ResponseEmbedding, SignalSettings, SignalTable, TableKind
from routing.models.studies import Study, StudyKind, StudyState

__all__ = [
    "Adjudication",
    "BudgetKind",
    "Cause",
    "Label",
    "LabelSource",
    "Plan",
    "PlanSignals",
    "PlanState",
    "PredictorFit",
    "ResponseEmbedding",
    "Route",
    "RouteSource",
    "SignalSettings",
    "SignalTable",
    "Study",
    "StudyKind",
    "StudyState",
    "TableKind",
]
