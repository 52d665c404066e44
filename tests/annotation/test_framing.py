"""Rows of queries become columns, and take little."""

import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pandas as pd

from annotation.aggregating.framing import ROWS_PER_FETCH, read_frame


def test_values_come_as_they_are_named() -> None:
    bare, spelled = "0190a0c0" + "7" * 24, "0190a0c0-7777-7777-7777-777777777777"
    rows: list[tuple[Any, ...]] = [(bare, "x", 2), (spelled, None, None)]
    frame = read_frame(rows, ["id", "text", "number"], ids=("id",), numbers=("number",))
    assert frame["id"].tolist() == [spelled, spelled]
    assert frame["text"].tolist() == ["x", ""]
    assert frame["number"].iloc[0] == 2.0
    assert math.isnan(frame["number"].iloc[1])
    assert [str(kind) for kind in frame.dtypes] == ["object", "object", "float64"]


def test_no_rows_make_an_empty_frame_of_the_same_columns() -> None:
    frame = read_frame([], ["text", "number"], numbers=("number",))
    pd.testing.assert_frame_equal(
        frame, pd.DataFrame({"text": pd.Series([], dtype=object), "number": pd.Series([], dtype=float)})
    )


def test_a_row_takes_a_pointer_a_text_and_not_its_tuple() -> None:
    """40,000 rows of five texts that recur: 8 bytes each, where tuples of texts of their own take 500 a row."""
    n = 8 * ROWS_PER_FETCH

    def rows() -> Iterator[tuple[str, ...]]:
        for number in range(n):
            yield tuple(f"a text that recurs {(number + place) % 50} times" for place in range(5))

    tracemalloc.start()
    frame = read_frame(rows(), list("abcde"))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert frame["b"].iloc[n - 1] == f"a text that recurs {n % 50} times"
    assert held / n < 60
    # A fetch of rows comes on top, and the lists that the columns are made of.
    assert peak / n < 200
