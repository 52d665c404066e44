"""Immutable exports, and where they were published."""

from exports.models.erasures import Erasure
from exports.models.publications import Place, Publication, PublicationState
from exports.models.snapshots import Snapshot, SnapshotState

__all__ = ["Erasure", "Place", "Publication", "PublicationState", "Snapshot", "SnapshotState"]
