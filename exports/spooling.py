"""Records on disk, in the order of the files: an export holds one prompt's pairs in memory, never all.

The index keeps 72 bytes a pair in memory. The file is this process's own and goes with it.
"""

import pickle
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from exports.deciding import Entry
from exports.splitting import SIDES, Split

DIGEST_BYTES = 32


class Spool:
    """A file of entries: appended in any order, read prompt by prompt, or by the place at which one was added."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("w+b")
        self._offsets = array("q")
        self._keys = bytearray()

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self._offsets.append(self._file.tell())
        self._keys += bytes.fromhex(entry.record.prompt_id) + bytes.fromhex(entry.record.id)
        pickle.dump(entry, self._file, protocol=pickle.HIGHEST_PROTOCOL)

    def get(self, place: int) -> Entry:
        """Return the entry that was added at a place. Not between `add`s."""
        self._file.seek(self._offsets[place])
        entry: Entry = pickle.load(self._file)  # noqa: S301  (this process wrote it, into a folder only its user reads)
        return entry

    def prompts(self, tested: NDArray[np.bool_]) -> Iterator[tuple[Split, list[Entry]]]:
        """Yield the entries of one prompt after the other, with their side of the split, by prompt and pair id."""
        keys = np.frombuffer(self._keys, dtype=f"S{2 * DIGEST_BYTES}") if self._keys else np.zeros(0, dtype="S1")
        # As numbers: a text type would take trailing zero bytes for nothing.
        words = keys.view(">u8").reshape(len(self), -1)
        order = np.lexsort(words.T[::-1])
        del keys, words
        batch: list[Entry] = []
        side: Split = "train"
        # A number at a time: as a list they would take five times as much.
        for place in map(int, order):
            entry = self.get(place)
            if batch and batch[0].record.prompt_id != entry.record.prompt_id:
                yield side, batch
                batch = []
            batch.append(entry)
            side = SIDES[int(tested[place])]
        if batch:
            yield side, batch

    def close(self) -> None:
        """Close the file; whoever made its folder removes it."""
        self._file.close()
