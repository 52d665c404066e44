"""Texts as vectors: a small model that ships with a package, in this process, without a network.

The model has a fixed vector for each token of its vocabulary; a text is the mean of its tokens' vectors (WordLlama, MIT
licence, 256 dimensions, 16 MB). It knows words and no order of words, and is fast enough for every response there is.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIMENSIONS = 256
# What a text is about shows in its first thousand words or so; the rest of very long ones is not read.
CHARACTERS_READ = 6_000
# Texts a round of the tokenizer, and tokens a round of adding up: 32 MB of vectors at a time.
TEXTS_PER_ROUND = 512
TOKENS_PER_ROUND = 32_768


def embed_texts(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return a row a text (n, 256) of length 1; a text without a word gives a row of zeros.

    Local, deterministic, about 3,000 texts of 100 words a second on one core. A text that occurs twice is read once.
    """
    places: dict[str, int] = {}
    where = np.fromiter((places.setdefault(text[:CHARACTERS_READ], len(places)) for text in texts), dtype=np.intp)
    distinct = list(places)
    vectors = np.zeros((len(distinct), DIMENSIONS), dtype=np.float32)
    for start in range(0, len(distinct), TEXTS_PER_ROUND):
        chunk = distinct[start : start + TEXTS_PER_ROUND]
        vectors[start : start + len(chunk)] = _means(chunk)
    rows: npt.NDArray[np.float32] = vectors[where]
    return rows


def cosines(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the cosine of each row of length 1 with the row beside it; NaN where one of them is all zeros."""
    products = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    known = np.any(left, axis=1) & np.any(right, axis=1)
    return np.where(known, np.clip(products, -1.0, 1.0), np.nan)


def unit_rows(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return the rows scaled to length 1; rows of zeros stay so."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    scaled = np.zeros(vectors.shape, dtype=np.float64)
    np.divide(vectors, lengths, out=scaled, where=lengths > 0)
    return scaled.astype(np.float32)


def _means(texts: list[str]) -> npt.NDArray[np.float32]:
    """Return the mean vector of each text's tokens, scaled to length 1."""
    tokenizer, table = _model()
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    tokens = [np.array(one.ids, dtype=np.int32) for one in encoded]
    sums = np.zeros((len(texts), DIMENSIONS), dtype=np.float64)
    owners = np.repeat(np.arange(len(texts)), [len(ids) for ids in tokens])
    ids = np.concatenate(tokens)
    for start in range(0, len(ids), TOKENS_PER_ROUND):
        part, whose = ids[start : start + TOKENS_PER_ROUND], owners[start : start + TOKENS_PER_ROUND]
        first = np.flatnonzero(np.diff(whose, prepend=-1))
        sums[whose[first]] += np.add.reduceat(table[part], first, axis=0)
    return unit_rows(sums)


@cache
def _model() -> tuple[Any, npt.NDArray[np.float32]]:
    """Return the tokenizer and the vectors of its tokens, read once a process. Nothing is fetched."""
    # Not every process needs it, and it takes half a second.
    import wordllama

    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(disable_download=True, cache_dir=folder)
    # Its own tokenizing pads every text to the longest, which takes gigabytes where one is long.
    model.tokenizer.no_padding()
    return model.tokenizer, model.embedding
