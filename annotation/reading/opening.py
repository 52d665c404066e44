"""Opening a file: unpacking under a limit, and telling its format by content and name, never by a silent guess."""

import codecs
import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from django.conf import settings

from annotation.errors import AnnotationError
from annotation.reading.json_files import CHUNK_BYTES, read_json_array, read_json_lines
from annotation.reading.parquet import read_parquet
from annotation.reading.rows import FileRefused, RawRow
from annotation.reading.tables import read_table

FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "parquet")
NAMES = {"jsonl": "JSON Lines", "json": "a JSON array", "csv": "CSV", "tsv": "TSV", "parquet": "Parquet"}
HEAD_BYTES = 4096
# Text packs to a tenth, rarely to a fiftieth; what unpacks to more than this is made to fill a disk.
BOMB_RATIO = 200
BOMB_FREE_BYTES = 64 * 1024**2
UNPACKED_PER_UPLOAD = 5

_MAGIC = {
    b"PK\x03\x04": "a ZIP archive (or an Office file); unpack it",
    b"BZh": "compressed with bzip2; unpack it, or use gzip",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; unpack it, or use gzip",
    b"\x1f\x8b": "compressed twice; unpack it once",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"%PDF": "a PDF",
    b"\x93NUMPY": "a NumPy array",
    b"ARROW1": "an Arrow file; write Parquet instead",
    codecs.BOM_UTF32_LE: "encoded in UTF-32; save it as UTF-8",
    codecs.BOM_UTF32_BE: "encoded in UTF-32; save it as UTF-8",
    codecs.BOM_UTF16_LE: "encoded in UTF-16; save it as UTF-8",
    codecs.BOM_UTF16_BE: "encoded in UTF-16; save it as UTF-8",
    **{
        bytes([0x80, protocol]): "a Python pickle, which is never opened: it could run code" for protocol in range(2, 6)
    },
}


class _Unpacked(io.RawIOBase):
    """The bytes of a gzip file, up to a limit; every way in which gzip can be broken becomes a `FileRefused`."""

    def __init__(self, packed: IO[bytes], limit: int) -> None:
        self.packed = packed
        self.gzip = gzip.GzipFile(fileobj=packed, mode="rb")
        self.limit = limit
        self.size = 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Close the file below too."""
        if not self.closed:
            self.gzip.close()
            self.packed.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as `io.RawIOBase` asks."""
        try:
            data = self.gzip.read(len(buffer))
        except EOFError:
            raise FileRefused(0, "the gzip file is cut off; download or pack it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise FileRefused(0, f"the gzip file is damaged: {error}") from None
        self.size += len(data)
        if self.size > self.limit:
            raise FileRefused(0, f"the gzip file unpacks to more than the limit of {self.limit:,} bytes")
        if self.size > max(BOMB_FREE_BYTES, BOMB_RATIO * self.packed.tell()):
            raise FileRefused(0, f"the gzip file unpacks to more than {BOMB_RATIO} times its size: it is a bomb")
        buffer[: len(data)] = data
        return len(data)


class OpenFile:
    """A file whose format is known. `rows()` reads it from the start; each call reads again."""

    def __init__(self, path: Path, filename: str, *, format: str, numbered: bool) -> None:
        self.path = path
        self.filename = filename
        self.numbered = numbered
        self.limit: int = settings.IMPORT_LINE_LIMIT_BYTES
        self.unpacked_limit: int = settings.UPLOAD_LIMIT_BYTES * UNPACKED_PER_UPLOAD
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._unpacked: Path | None = None
        with path.open("rb") as file:
            self.packed = file.read(2) == b"\x1f\x8b"
        with self._bytes() as stream:
            self.format = _recognise(stream, filename, format)
            if self.packed:
                # Unpacking is far quicker than reading rows: what is cut off, damaged or a bomb is told at once.
                while stream.read(CHUNK_BYTES):
                    pass
        compressed = ", packed with gzip" if self.packed else ""
        self.notes.append(f"Read as {NAMES[self.format]}{compressed}.")
        if self.format in ("csv", "tsv"):
            header = (
                "without a header, since the map names columns by number" if numbered else "the first row as header"
            )
            self.notes[-1] = f"Read as {NAMES[self.format]}{compressed}, {header}."
        if filename.lower().endswith(".gz") and not self.packed:
            self.notes.append("The name ends in .gz, but the file is not packed.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _bytes(self) -> io.BufferedReader:
        file = self.path.open("rb")
        return io.BufferedReader(_Unpacked(file, self.unpacked_limit), CHUNK_BYTES) if self.packed else file

    def _seekable(self) -> Path:
        """Return a path of the unpacked bytes; Parquet is read from its end."""
        if not self.packed:
            return self.path
        if self._unpacked:
            return self._unpacked
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="import-"))
        unpacked = Path(folder, "unpacked")
        with self._bytes() as stream, unpacked.open("wb") as file:
            while data := stream.read(CHUNK_BYTES):
                file.write(data)
        self._unpacked = unpacked
        return unpacked

    def rows(self) -> Iterator[RawRow]:
        """Yield the file's rows in order. Raises `FileRefused` where it cannot be read on."""
        if self.format == "parquet":
            yield from read_parquet(self._seekable(), limit=self.limit, unpacked_limit=self.unpacked_limit)
            return
        with self._bytes() as stream:
            if self.format == "jsonl":
                yield from read_json_lines(stream, limit=self.limit)
            elif self.format == "json":
                yield from read_json_array(stream, limit=self.limit)
            else:
                delimiter = "," if self.format == "csv" else "\t"
                yield from read_table(stream, delimiter=delimiter, header=not self.numbered, limit=self.limit)


def open_file(path: Path, *, filename: str, format: str, numbered: bool = False) -> OpenFile:
    """Open a file and tell its format.

    `format` is one of `FORMATS`; `numbered` says that a table has no header. Raises `AnnotationError` for an unknown
    format or a file that is not there, `FileRefused` for what is in it.
    """
    if format not in FORMATS:
        raise AnnotationError(f"There is no format {format!r}; choose one of {', '.join(FORMATS)}.")
    if not path.is_file():
        raise AnnotationError(f"There is no file {path}.")
    return OpenFile(path, filename, format=format, numbered=numbered)


def _recognise(stream: io.BufferedReader, filename: str, format: str) -> str:
    """Return the format of a file by its first bytes and its name. Raises `FileRefused` with what it seems to be."""
    head = stream.read(HEAD_BYTES)
    name = filename.lower().removesuffix(".gz")
    extension = name.rpartition(".")[2] if "." in name else ""
    if not head:
        raise FileRefused(0, "the file is empty")
    if head.startswith(b"PAR1"):
        if format not in ("auto", "parquet"):
            raise FileRefused(0, f"the file is Parquet, not {NAMES[format]}")
        return "parquet"
    if format == "parquet" or (format == "auto" and extension == "parquet"):
        raise FileRefused(0, "this is no Parquet file: it does not begin with PAR1")
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise FileRefused(0, f"the file is {what}")
    if b"\x00" in head[:4]:
        raise FileRefused(0, "the file is binary, or encoded in UTF-16; save it as UTF-8")
    if format != "auto":
        return format
    if extension in ("csv", "tsv"):
        return extension
    return _json_kind(stream, head.removeprefix(codecs.BOM_UTF8), extension)


def _json_kind(stream: io.BufferedReader, head: bytes, extension: str) -> str:
    """Tell JSON Lines from an array by the first sign."""
    first = head.lstrip()[:1]
    if first == b"[":
        return "json"
    if extension in ("jsonl", "ndjson"):
        return "jsonl"
    if first == b"{":
        line = (head + stream.readline(settings.IMPORT_LINE_LIMIT_BYTES)).lstrip().split(b"\n", 1)[0].strip()
        if not line.endswith(b"}") and len(line) < settings.IMPORT_LINE_LIMIT_BYTES:
            raise FileRefused(
                1, "the file begins with one JSON object over several lines; write a list of records, or one a line"
            )
        return "jsonl"
    if extension == "json":
        raise FileRefused(1, f"a JSON file begins with '[' or '{{', this one with {first.decode('latin-1')!a}")
    raise FileRefused(
        0, "cannot tell what the file is: name it .jsonl, .json, .csv, .tsv or .parquet, or give the format"
    )
