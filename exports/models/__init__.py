"""Immutable exports."""

from exports.models.snapshots import Snapshot, SnapshotState

__all__ = ["Snapshot", "SnapshotState"]
