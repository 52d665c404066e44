"""Immutable exports, and where they were published."""

from exports.models.publications import Place, Publication, PublicationState
from exports.models.snapshots import Snapshot, SnapshotState

__all__ = ["Place", "Publication", "PublicationState", "Snapshot", "SnapshotState"]
