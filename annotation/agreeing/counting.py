"""How often each kind of answer was given to each pair: what agreement and labels are both worked out of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def count_by_pair(
    pair_ids: "pd.Series[str]",
    kinds: "pd.Series[str]",
    of: Sequence[str],
    weights: "NDArray[np.floating[Any]] | None" = None,
) -> pd.DataFrame:
    """Return how many answers of each of these kinds a pair has, or what they weigh: a row a pair, sorted by id.

    Answers of another kind are left out, and pairs that have no others.
    """
    kind = pd.Index(of).get_indexer(pd.Index(kinds))
    counted = kind >= 0
    pair, pairs = pd.factorize(pair_ids.to_numpy(dtype=object)[counted], sort=True)
    weighed = None if weights is None else weights[counted]
    cells = np.bincount(pair * len(of) + kind[counted], weighed, len(pairs) * len(of))
    return pd.DataFrame(
        cells.reshape(-1, len(of)), index=pd.Index(pairs, name="pair_id", dtype=object), columns=list(of)
    )
