"""Frames of pairs kept in the database: read back to the bit, or not at all."""

import numpy as np
import pandas as pd
import pytest

from annotation.models import Project
from routing.models import SignalTable, TableKind
from routing.signals.tabling import load_table, store_table
from tests.builders import make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project(with_people=False)


def frame(*pairs: str, value: float = 0.1) -> pd.DataFrame:
    values = {"value": value, "count": 3, "language": "en", "unknown": np.nan}
    return pd.DataFrame(values, index=pd.Index(pairs, name="pair_id", dtype=object))


def test_a_table_is_read_as_it_was_stored_in_the_same_order(project: Project) -> None:
    kept = frame("p2", "p1", "p3", value=1 / 3)
    store_table(project, TableKind.MEASURES, kept, version="1")
    read = load_table(project, TableKind.MEASURES, version="1")
    assert read is not None
    assert read.index.tolist() == ["p2", "p1", "p3"]
    assert read.index.name == "pair_id"
    assert (read["value"] == 1 / 3).all()
    assert read["unknown"].isna().all()
    assert read["count"].tolist() == [3, 3, 3]


def test_a_table_of_other_code_data_or_kind_counts_as_none(project: Project) -> None:
    store_table(project, TableKind.SIGNALS, frame("p1"), version="1", key="gpt", fingerprint="then")
    found = load_table(project, TableKind.SIGNALS, version="1", key="gpt", fingerprint="then")
    assert found is not None
    assert found.index.tolist() == ["p1"]
    assert load_table(project, TableKind.SIGNALS, version="2", key="gpt", fingerprint="then") is None
    assert load_table(project, TableKind.SIGNALS, version="1", key="gpt", fingerprint="now") is None
    assert load_table(project, TableKind.SIGNALS, version="1", key="bard", fingerprint="then") is None
    assert load_table(project, TableKind.MEASURES, version="1", key="gpt", fingerprint="then") is None
    assert load_table(make_project("other", with_people=False), TableKind.SIGNALS, version="1", key="gpt") is None


def test_a_table_replaces_the_one_before(project: Project) -> None:
    store_table(project, TableKind.MEASURES, frame("p1", value=1.0), version="1")
    store_table(project, TableKind.MEASURES, frame("p1", "p2", value=2.0), version="2")
    table = SignalTable.objects.get()
    assert (table.rows, table.version) == (2, "2")
    read = load_table(project, TableKind.MEASURES, version="2")
    assert read is not None
    assert read["value"].tolist() == [2.0, 2.0]


def test_the_same_frame_is_stored_as_the_same_bytes(project: Project) -> None:
    store_table(project, TableKind.MEASURES, frame("p1"), version="1")
    first = bytes(SignalTable.objects.get().data)
    store_table(project, TableKind.MEASURES, frame("p1"), version="1")
    assert bytes(SignalTable.objects.get().data) == first
