"""How much the two responses of a pair mean the same, by the project's embedder.

The local model is fast enough to be asked whenever pairs are new. Vectors from an endpoint cost money and time: they
are fetched by a worker or a command, stored a response, and pairs that lack one have no figure yet.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
from django.db.models import Q
from django.utils import timezone

from annotation.errors import TiebreakError
from annotation.models import Pair, Project, Response
from annotation.models.pairs import content_hash
from annotation.publishing import wake
from judges.defining import check_address
from judges.embedding import TEXTS_AT_ONCE, fetch_embeddings
from routing.errors import RoutingError
from routing.models import ResponseEmbedding, SignalSettings, TableKind
from routing.signals.embedding import CHARACTERS_READ, cosines, embed_texts, unit_rows
from routing.signals.measuring import joined
from routing.signals.tabling import load_table, store_table
from routing.signals.wording import COSINE

# Goes up whenever the same texts would be compared differently.
VERSION = "2"
LOCAL = "local"
TASK = "routing.tasks.embed_project"
TABLE_KEY = "likeness"
PAIRS_PER_ROUND = 1000
# A worker that stores nothing for so long is taken for dead.
LEASE = timedelta(minutes=10)


class Embedder(NamedTuple):
    """An embeddings endpoint: its address (normal form) and the model asked there."""

    base_url: str
    model: str

    def __str__(self) -> str:
        return f"{self.base_url} {self.model}"

    @property
    def host(self) -> str:
        """Return where the texts would go."""
        return self.base_url.partition("://")[2].partition("/")[0]


class Embedded(NamedTuple):
    """How many of a project's responses have a vector of its embedder."""

    done: int
    total: int

    @property
    def missing(self) -> int:
        """Return how many have none yet."""
        return self.total - self.done


class EmbeddingLease:
    """One worker's turn at a project's vectors: `embedding_until`, which nobody else writes while it holds."""

    def __init__(self, project: Project, embedder: str) -> None:
        self._settings = SignalSettings.objects.filter(project=project)
        self._embedder = embedder
        self._until: datetime | None = None

    def take(self) -> bool:
        """Begin, unless another worker is at it; say whether."""
        now = timezone.now()
        free = Q(embedding_until=None) | Q(embedding_until__lt=now)
        self._until = now + LEASE
        taken = self._settings.filter(free, embedder=self._embedder)
        return bool(taken.update(embedding_until=self._until, embedding_asked_at=None, embedding_error=""))

    def renew(self) -> bool:
        """Hold it for longer; say no where another worker took it, or a manager chose another embedder."""
        until = timezone.now() + LEASE
        held = self._settings.filter(embedding_until=self._until, embedder=self._embedder)
        if not held.update(embedding_until=until):
            return False
        self._until = until
        return True

    def give_back(self, error: str) -> None:
        """End it, unless another worker has it by now; `error` is kept where the embedder is still this one."""
        mine = self._settings.filter(embedding_until=self._until)
        mine.filter(embedder=self._embedder).update(embedding_error=error)
        mine.update(embedding_until=None)


def parse_embedder(text: str) -> str:
    """Return an embedder as it is stored: '' for none, `local`, or address and model of an endpoint in normal form.

    Raises `RoutingError` for anything else, `JudgeError` for an address that must not be asked.
    """
    words = text.split()
    if not words or words == [LOCAL]:
        return "".join(words)
    if len(words) != 2:
        raise RoutingError(
            f"{text!r} is no embedder. Give {LOCAL!r}, nothing, or the address of an embeddings endpoint and its "
            "model, as in: https://api.openai.com/v1 text-embedding-3-small"
        )
    return str(Embedder(check_address(words[0]), words[1]))


def endpoint_in(embedder: str) -> Embedder | None:
    """Return the endpoint that an embedder as stored names, None for the local model or none."""
    base_url, _, model = embedder.partition(" ")
    return Embedder(base_url, model) if model else None


def read_likeness(project: Project, embedder: str, pair_ids: pd.Index) -> pd.DataFrame:
    """Return a row a pair with `cosine`, that of the vectors of its two responses; no column without an embedder.

    `pair_ids` are strings; NaN where a text is empty or a vector is not there. What was computed before is kept; only
    pairs that are new, or whose vectors came meanwhile, are looked at. Nothing is sent anywhere.
    """
    if not embedder:
        return pd.DataFrame(index=pair_ids)
    version = f"{VERSION} {content_hash(embedder)[:32]}"
    kept = load_table(project, TableKind.MEASURES, key=TABLE_KEY, version=version)
    if kept is None:
        kept = pd.DataFrame(columns=[COSINE], index=pair_ids[:0], dtype=float)
    new = pair_ids.difference(kept.index, sort=False)
    endpoint = endpoint_in(embedder)
    parts = list(_compare_fetched(endpoint, new) if endpoint else _compare_locally(new))
    frame = pd.concat([part for part in (kept, *parts) if len(part)]) if parts else kept
    there = frame[frame.index.isin(pair_ids)]
    if parts or len(there) < len(kept):
        store_table(project, TableKind.MEASURES, there, key=TABLE_KEY, version=version)
    return there.reindex(pair_ids).astype(float)


def embedded_of(project: Project, embedder: str) -> Embedded:
    """Return how many of a project's responses have a stored vector of an endpoint. Two queries."""
    responses = Response.objects.filter(prompt__project=project)
    done = ResponseEmbedding.objects.filter(response__prompt__project=project, model=embedder).count()
    return Embedded(done, responses.count())


def embed_responses(project: Project, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Fetch the vectors of all responses that have none from the project's endpoint; return how many were stored.

    In portions of 256 texts, each stored before the next is asked, so that whatever ends it little is paid twice. One
    worker a project: `embedding_until` is its lease. Returns 0 where the embedder is no endpoint. Once a manager has
    chosen another embedder, or another worker has the lease, nothing more is sent. What ends it early is raised
    (`RoutingError`, `judges.errors.JudgeError`) and kept in `embedding_error`.
    """
    settings = SignalSettings.objects.filter(project=project).first()
    endpoint = endpoint_in(settings.embedder) if settings else None
    if settings is None or endpoint is None:
        return 0
    lease = EmbeddingLease(project, str(endpoint))
    if not lease.take():
        raise RoutingError("Another worker is fetching these embeddings. Wait for it, or for ten minutes.")
    error = "A fault of Tiebreak ended it. The log has the details."
    try:
        stored = _fetch(project, endpoint, lease, progress)
        error = ""
    except TiebreakError as failure:
        error = str(failure)
        raise
    finally:
        lease.give_back(error)
    return stored


def ask_for_embeddings(project: Project) -> bool:
    """Have a worker fetch a project's missing vectors; False where the broker takes no message."""
    settings = SignalSettings.objects.filter(project=project)
    # Before the message: a worker may have begun by the time it is sent.
    settings.update(embedding_asked_at=timezone.now(), embedding_error="")
    if wake([TASK], {"project_id": str(project.pk)}):
        return True
    settings.update(embedding_asked_at=None)
    return False


def _fetch(
    project: Project,
    endpoint: Embedder,
    lease: EmbeddingLease,
    progress: Callable[[int, int], None] | None,
) -> int:
    there = ResponseEmbedding.objects.filter(model=str(endpoint), response__prompt__project=project)
    lacking = Response.objects.filter(prompt__project=project).exclude(pk__in=there.values("response"))
    missing = list(lacking.order_by("id").values_list("pk", flat=True))
    stored = 0
    for start in range(0, len(missing), TEXTS_AT_ONCE):
        rows = Response.objects.filter(pk__in=missing[start : start + TEXTS_AT_ONCE]).order_by("id")
        texts = {pk: joined(messages)[:CHARACTERS_READ] for pk, messages in rows.values_list("pk", "messages")}
        vectors = _vectors(endpoint, texts)
        ResponseEmbedding.objects.bulk_create(
            [ResponseEmbedding(response_id=pk, model=str(endpoint), vector=vectors.get(pk, b"")) for pk in texts],
            ignore_conflicts=True,
        )
        stored += len(texts)
        if progress:
            progress(min(start + TEXTS_AT_ONCE, len(missing)), len(missing))
        if not lease.renew():
            break
    return stored


def _vectors(endpoint: Embedder, texts: dict[UUID, str]) -> dict[UUID, bytes]:
    """Return the vectors of these texts as they are stored; servers refuse empty texts, so those have none."""
    asked = {pk: text for pk, text in texts.items() if text.strip()}
    if not asked:
        return {}
    vectors = unit_rows(fetch_embeddings(endpoint.base_url, endpoint.model, list(asked.values())))
    return {pk: row.tobytes() for pk, row in zip(asked, vectors.astype(np.float16), strict=True)}


def _compare_locally(pair_ids: pd.Index) -> Iterator[pd.DataFrame]:
    """Yield the figures of pairs, a thousand at a time: pairs of one prompt are near each other and share texts."""
    for ids in _rounds(pair_ids):
        rows = Pair.objects.filter(pk__in=ids).order_by("id")
        pairs = list(rows.values_list("id", "response_a__messages", "response_b__messages"))
        vectors = embed_texts([joined(messages) for _, *both in pairs for messages in both])
        yield _figures([row[0] for row in pairs], cosines(vectors[0::2], vectors[1::2]))


def _compare_fetched(endpoint: Embedder, pair_ids: pd.Index) -> Iterator[pd.DataFrame]:
    """Yield the figures of the pairs whose two responses both have a stored vector."""
    stored = ResponseEmbedding.objects.filter(model=str(endpoint))
    for ids in _rounds(pair_ids):
        pairs = list(Pair.objects.filter(pk__in=ids).order_by("id").values_list("id", "response_a", "response_b"))
        wanted = {response for _, *both in pairs for response in both}
        vectors = dict(stored.filter(response__in=wanted).values_list("response", "vector"))
        ready = [(pk, vectors[a], vectors[b]) for pk, a, b in pairs if a in vectors and b in vectors]
        if ready:
            yield _figures([pk for pk, *_ in ready], np.array([_cosine(a, b) for _, a, b in ready]))


def _cosine(a: bytes | memoryview, b: bytes | memoryview) -> float:
    left, right = (np.frombuffer(one, dtype=np.float16).astype(np.float32) for one in (a, b))
    # An empty response has no vector, and a model that changed its length under one name cannot be compared.
    return float(cosines(left[None], right[None])[0]) if len(left) == len(right) > 0 else float("nan")


def _figures(ids: Sequence[UUID], cosine: npt.NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame({COSINE: cosine}, index=pd.Index([str(pk) for pk in ids], name="pair_id", dtype=object))


def _rounds(pair_ids: pd.Index) -> Iterator[list[UUID]]:
    waiting = iter(pair_ids)
    while ids := [UUID(pair_id) for pair_id in islice(waiting, PAIRS_PER_ROUND)]:
        yield ids
