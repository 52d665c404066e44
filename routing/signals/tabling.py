"""Frames of pairs kept as Parquet in the database, so that only what is new is computed again.

A table is a copy of what can be computed at any time: readers ask for the version of the code and the fingerprint of
the data they want, and get nothing where either differs.
"""

import io

import pandas as pd
from django.utils import timezone

from annotation.models import Project
from routing.models import SignalTable, TableKind


def load_table(
    project: Project,
    kind: TableKind,
    *,
    version: str,
    key: str = "",
    fingerprint: str = "",
    columns: list[str] | None = None,
    pair_ids: list[str] | None = None,
) -> pd.DataFrame | None:
    """Return the kept frame (index `pair_id`), None where there is none of this version and fingerprint. One query.

    `columns` and `pair_ids` narrow it; what is left out is not held.
    """
    kept = (
        SignalTable.objects.filter(project=project, kind=kind, key=key, version=version, fingerprint=fingerprint)
        .values_list("data", flat=True)
        .first()
    )
    if kept is None:
        return None
    wanted = None if pair_ids is None else [("pair_id", "in", pair_ids)]
    return pd.read_parquet(io.BytesIO(kept), columns=columns, filters=wanted)


def store_table(
    project: Project, kind: TableKind, frame: pd.DataFrame, *, version: str, key: str = "", fingerprint: str = ""
) -> None:
    """Keep a frame in place of the one there is. One statement: of two processes at once the last stands, whole."""
    data = io.BytesIO()
    frame.to_parquet(data, compression="zstd")
    table = SignalTable(
        project=project,
        kind=kind,
        key=key,
        version=version,
        fingerprint=fingerprint,
        rows=len(frame),
        data=data.getvalue(),
        made_at=timezone.now(),
    )
    SignalTable.objects.bulk_create(
        [table],
        update_conflicts=True,
        unique_fields=["project", "kind", "key"],
        update_fields=["version", "fingerprint", "rows", "data", "made_at"],
    )
