"""What a manager may ask of a plan beyond its budget; stored with the plan as JSON."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, Self

from routing.errors import RoutingError

FIXED, ADAPTIVE = "fixed", "adaptive"
VOTES = (FIXED, ADAPTIVE)
MONEY = ("second_budget_usd", "pay_per_hour_usd", "worth_usd")


class PlanOptions(NamedTuple):
    """How a plan spends its budget; the defaults ask for the plain plan.

    - `votes`: `fixed` asks for the project's votes on every pair; `adaptive` for two, and one more where they differ,
      up to the project's votes (at least three). `expert_on_split`: that one more is an expert's.
    - `group_cap`: at most so many pairs of a prompt group are chosen for their gain while other pairs are left; 0 for
      no cap. `spread`: choose over clusters of prompts in turn. `balance_by`: choose from each value of `category` or
      `language` in proportion to its pairs; '' for no balance.
    - `second_judge`: the pairs next in doubt after people's go to this judge first (a name as `find_version` reads it),
      for at most `second_budget_usd`.
    - `pay_per_hour_usd`: people are paid by time, so a pair costs its expected seconds; None pays the project's price
      an answer. `worth_usd`: what a corrected label is worth; the frontier's "stop here" is where one costs more.
    - `guarantee_alpha`: accept AI labels only as far as at most this share of them disagrees with people, with
      confidence 1 - `guarantee_delta`; None accepts all.
    """

    votes: str = FIXED
    expert_on_split: bool = False
    group_cap: int = 0
    spread: bool = False
    balance_by: str = ""
    second_judge: str = ""
    second_budget_usd: Decimal | None = None
    pay_per_hour_usd: Decimal | None = None
    worth_usd: Decimal | None = None
    guarantee_alpha: float | None = None
    guarantee_delta: float = 0.1

    def checked(self) -> Self:
        """Return the options. Raises `RoutingError` that names the option, its value and what it takes."""
        if self.votes not in VOTES:
            raise RoutingError(f"The option votes is {self.votes!r}; it takes one of: {', '.join(VOTES)}.")
        if self.expert_on_split and self.votes != ADAPTIVE:
            raise RoutingError("The option expert_on_split needs votes = adaptive: fixed votes know no split.")
        if self.group_cap < 0:
            raise RoutingError(f"The option group_cap is {self.group_cap}; it takes a number of pairs, 0 for no cap.")
        if self.balance_by not in ("", "category", "language"):
            raise RoutingError(f"The option balance_by is {self.balance_by!r}; it takes category or language.")
        for name in MONEY:
            value = getattr(self, name)
            if value is not None and not (value.is_finite() and value > 0):
                raise RoutingError(f"The option {name} is {value}; it takes US dollars above 0.")
        if self.second_budget_usd is not None and not self.second_judge:
            raise RoutingError("The option second_budget_usd needs a second_judge to spend it on.")
        if self.guarantee_alpha is not None and not 0 < self.guarantee_alpha < 1:
            raise RoutingError(f"The option guarantee_alpha is {self.guarantee_alpha}; it takes a share below 1.")
        if not 0 < self.guarantee_delta < 1:
            raise RoutingError(f"The option guarantee_delta is {self.guarantee_delta}; it takes a share below 1.")
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the options that differ from the defaults as JSON values; money is text."""
        asked = {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in asked.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the options that `to_json` wrote. Raises `RoutingError` for an unknown option or no number."""
        unknown = sorted(set(stored) - set(cls._fields))
        if unknown:
            raise RoutingError(f"A plan has no option {', '.join(unknown)}. It has: {', '.join(cls._fields)}.")
        values: dict[str, Any] = {name: _money(name, it) if name in MONEY else it for name, it in stored.items()}
        return cls(**values).checked()


def _money(name: str, value: Any) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        raise RoutingError(f"The option {name} is {value!r}; it takes US dollars above 0.") from None
