"""What can go wrong in exporting and reporting, in words for a person."""

from annotation.errors import TiebreakError


class ExportError(TiebreakError):
    """An export that cannot be written as it was asked for."""


class FolderTaken(ExportError):
    """The folder to write to holds something else."""


class NothingToExport(ExportError):
    """No pair makes a row under these settings."""
