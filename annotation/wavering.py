"""How steady people are: with themselves, when a pair comes again, and towards the side of the screen.

Pure: frames in, named results out. A hidden repeat shows the same two responses with the sides swapped
(`annotation.repeating`), so somebody who answers by content chooses the same response again, and somebody who answers
by place chooses the same place. `docs/reports.md` explains each number.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import SIDE_OF, Figure, share

DECISIVE = ("a", "b")


class Steadiness(NamedTuple):
    """How steady one person is, or all together.

    `repeats` counts the pairs asked again. `three_way` and `two_way` are the shares of them with the same answer, with
    "neither" as an answer and where both took a side. `same_place` are those that took a side both times and changed
    it: they chose the same place of the screen twice; `first_again` is the share of these for the place shown first.
    `first_shown` is the share for the response shown first, over all answers that stand and take a side.
    """

    repeats: int
    three_way: Figure
    two_way: Figure
    same_place: int
    first_again: Figure
    first_shown: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {name: value.as_dict() if isinstance(value, Figure) else value for name, value in self._asdict().items()}


def steadiness(repeats: pd.DataFrame, answers: pd.DataFrame, *, seed: int = 0) -> Steadiness:
    """Return how steady the answers of these frames are.

    `repeats` has a row a hidden repeat: `group` (of the prompt), `before` and `choice` (the stored choices) and
    `shown_order` (of the repeat). `answers` has a row an answer: `group`, `choice`, `shown_order`.
    """
    before, after = repeats["before"].map(SIDE_OF), repeats["choice"].map(SIDE_OF)
    same = (before == after).astype(float).where(before.notna() & after.notna())
    decisive = before.isin(DECISIVE) & after.isin(DECISIVE)
    flipped = decisive & (before != after)
    what = "hidden repeats"
    return Steadiness(
        repeats=len(repeats),
        three_way=share(same, repeats["group"], what=what, seed=seed),
        two_way=share(same.where(decisive), repeats["group"], what=f"decisive {what}", seed=seed),
        same_place=int(flipped.sum()),
        first_again=share(
            _is_first(repeats).where(flipped), repeats["group"], what=f"{what} with the same place", seed=seed
        ),
        first_shown=share(_is_first(answers), answers["group"], what="decisive answers", seed=seed),
    )


def _is_first(answers: pd.DataFrame) -> "pd.Series[float]":
    """Return 1 where the response shown first was chosen, 0 for the second; NaN without a side or a known order."""
    first = answers["shown_order"].str[:1]
    known = answers["choice"].isin(DECISIVE) & first.isin(DECISIVE)
    return (answers["choice"] == first).astype(float).where(known, np.nan)
