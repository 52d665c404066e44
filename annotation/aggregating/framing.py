"""Query results as frames: some thousand rows at a time are tuples, and a text that comes again soon is held once."""

from array import array
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any

import pandas as pd

from annotation.ids import spelled_ids

ROWS_PER_FETCH = 5000
# Rows come ordered by pair: a text that is not among so many last ones is hardly to come again.
TEXTS_KEPT = 10_000
NOT_KNOWN = float("nan")


def read_frame(
    rows: Iterable[Sequence[Any]], columns: Sequence[str], *, ids: Collection[str] = (), numbers: Collection[str] = ()
) -> pd.DataFrame:
    """Return rows of `values_list`, read as they come (`iterator`), as a frame of `columns`.

    Texts are objects ('' for null), `ids` come as `id_text` gives them and are spelled out, `numbers` are floats, NaN
    for null. Holds 8 bytes a value and each text about once: a fraction of what the rows take as tuples.
    """
    held: list[Any] = [array("d") if name in numbers else [] for name in columns]
    known: dict[str, str] = {}
    left = iter(rows)
    while chunk := list(islice(left, ROWS_PER_FETCH)):
        if len(known) > TEXTS_KEPT:
            known = {}
        for name, values, found in zip(columns, zip(*chunk, strict=True), held, strict=True):
            if name in numbers:
                found.extend([NOT_KNOWN if value is None else value for value in values])
            else:
                texts = spelled_ids(values) if name in ids else ["" if text is None else text for text in values]
                found.extend([known.setdefault(text, text) for text in texts])
    kinds = ["float64" if name in numbers else "object" for name in columns]
    return pd.DataFrame(
        {name: pd.Series(values, dtype=kind) for name, values, kind in zip(columns, held, kinds, strict=True)}
    )
