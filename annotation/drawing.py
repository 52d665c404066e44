"""Draws about one person's leases, which the project's seed, the person and a number decide."""

import hashlib

from annotation.models import Project, Rater


def drawn(project: Project, rater: Rater, number: int, what: str) -> float:
    """Return a number from 0 up to 1. The same work draws the same; names go in, so that a copy draws it too."""
    digest = hashlib.sha256(f"{project.seed}\n{rater.name}\n{number}\n{what}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
