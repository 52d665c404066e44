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
# Texts a round of the tokenizer.
TEXTS_PER_ROUND = 512


def embed_texts(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return a row a text (n, 256) of length 1; a text without a word gives a row of zeros.

    Local, deterministic, about 5,000 texts of 100 words a second on one core. A text that occurs twice is read once.
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
    # As scipy wherever else: a page that shows signals need not wait for it.
    from scipy.sparse import csr_array

    tokenizer, table = _model()
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    tokens = [np.array(one.ids, dtype=np.int32) for one in encoded]
    # A row a text with a 1 for each of its tokens, the same one several times where it occurs so: products add them up.
    ends = np.cumsum([0, *(len(ids) for ids in tokens)], dtype=np.int32)
    ids = np.concatenate(tokens)
    counts = csr_array((np.ones(len(ids), dtype=table.dtype), ids, ends), shape=(len(texts), len(table)))
    return unit_rows(counts @ table)


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
