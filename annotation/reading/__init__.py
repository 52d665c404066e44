"""From a file of any supported format to raw rows with line numbers, in flat memory."""

from annotation.reading.opening import FORMATS, OpenFile, open_file
from annotation.reading.rows import FileRefused, RawRow

__all__ = ["FORMATS", "FileRefused", "OpenFile", "RawRow", "open_file"]
