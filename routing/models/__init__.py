"""Plans, routes and labels."""

from routing.models.labels import Label, LabelSource
from routing.models.plans import BudgetKind, Plan, PlanState, Route, RouteSource

__all__ = ["BudgetKind", "Label", "LabelSource", "Plan", "PlanState", "Route", "RouteSource"]
