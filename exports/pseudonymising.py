"""Names that stand for people in files: the same person is the same name within a project and seed, and nobody else."""

import hashlib
import hmac

from django.conf import settings

from annotation.models import Project

PSEUDONYM_LETTERS = 16


def pseudonym_key(project: Project, seed: int) -> bytes:
    """Return the key of one project's exports at one seed, derived from this installation's `SECRET_KEY`.

    Exports of one project with the same seed can be joined by person; another project or another seed cannot.
    """
    message = f"tiebreak/export/pseudonyms\x1f{project.slug}\x1f{seed}"
    return hmac.new(settings.SECRET_KEY.encode(), message.encode(), hashlib.sha256).digest()


def pseudonym(key: bytes, name: str) -> str:
    """Return the pseudonym of a rater's name: `person-` and 16 hexadecimal digits of an HMAC-SHA256."""
    return f"person-{hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:PSEUDONYM_LETTERS]}"
