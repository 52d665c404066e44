"""The Hub of datasets, through its own client; the only module that knows it.

The client tries several calls again by itself and waits for as long as the server says, redirects included. Here one
policy holds instead: a transport of our own ends a call at the first 429, 5xx or broken connection, in errors that the
client does not know and therefore lets through; `_patiently` repeats what is safe to repeat. A commit never is.
"""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from django.conf import settings
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_session,
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from exports.publishing.errors import (
    PlaceBusy,
    PlaceMissing,
    PlaceUnreachable,
    PublishingError,
    StaleParent,
    TagTaken,
)
from exports.publishing.places import CHUNK, ExportFile, PlacedFile, Seen, Tell, check_repository

T = TypeVar("T")

DATASET = "dataset"
TRIES = 4
A_MOMENT_SECONDS = 2.0
# A worker waits so long for a Hub that is busy; beyond that a person tries again later.
MOST_WAIT_SECONDS = 60.0
CONNECT_SECONDS = 10.0
pause: Callable[[float], None] = time.sleep
# What a sentence quotes of the Hub's own.
QUOTED = 200
REFUSED = {
    401: "The Hub does not take this site's token. Its operator makes a new one that may write and sets "
    "TIEBREAK_HUB_TOKEN (docs/publishing.md).",
    403: "This site's token may not do that at {target}. It needs the right to write there: the operator makes such a "
    "token, or name a repository below an account that it may write to.",
    412: "{target} was changed in the moment of publishing, so nothing was written. Look at what is there now, and "
    "publish again.",
}


class HfHub:
    """A dataset repository on the Hub."""

    def __init__(self, target: str) -> None:
        """Speak to `target` (NAMESPACE/NAME) with this site's token. Raises `PublishingError` without one."""
        check_repository(target)
        if not settings.HUB_TOKEN:
            raise PublishingError(
                "This site has no token of the Hub. Its operator sets TIEBREAK_HUB_TOKEN (docs/publishing.md)."
            )
        _settle_client()
        self.target = target
        self._api = HfApi(endpoint=settings.HUB_URL, token=settings.HUB_TOKEN)
        self._staged: dict[str, CommitOperationAdd] = {}

    def look(self) -> Seen | None:
        """Return the repository as it is, or None. Three requests, and one for each thousand files."""
        try:
            info = self._patiently(lambda: self._api.dataset_info(self.target))
        except PlaceMissing:
            return None
        head = info.sha or ""
        tree = self._patiently(
            lambda: list(self._api.list_repo_tree(self.target, repo_type=DATASET, revision=head, recursive=True))
        )
        refs = self._patiently(lambda: self._api.list_repo_refs(self.target, repo_type=DATASET))
        return Seen(
            head=head,
            # Whatever is not certainly private counts as public.
            is_public=info.private is not True,
            files={
                one.path: PlacedFile(one.lfs.sha256 if one.lfs else "", one.blob_id)
                for one in tree
                if isinstance(one, RepoFile)
            },
            tags={ref.name: ref.target_commit for ref in refs.tags},
        )

    def create(self) -> None:
        """Make the repository, private; one that is there is left as it is."""
        self._patiently(lambda: self._api.create_repo(self.target, repo_type=DATASET, private=True, exist_ok=True))

    def find(self, mark: str, *, after: str) -> str:
        """Return the commit with the mark among those after `after`; or nothing. A request for each page of commits."""
        for commit in self._patiently(lambda: self._api.list_repo_commits(self.target, repo_type=DATASET)):
            if mark in f"{commit.title}\n{commit.message}":
                return commit.commit_id
            if commit.commit_id == after:
                break
        return ""

    def read(self, path: str, *, commit: str, limit: int) -> bytes:
        """Return a file's first `limit` bytes at a commit. Raises `PlaceMissing`."""

        def fetch() -> bytes:
            content = bytearray()
            for chunk in self._chunks(path, commit):
                content += chunk
                if len(content) >= limit:
                    break
            return bytes(content[:limit])

        return self._patiently(fetch)

    def stage(self, files: Sequence[ExportFile], tell: Tell) -> None:
        """Upload what the Hub wants as large files, one after the other; small ones go with the commit."""
        self._staged = {file.path: CommitOperationAdd(file.path, str(file.at)) for file in files}
        for number, file in enumerate(files, start=1):
            tell(f"upload {number} of {len(files)}: {file.path}")
            self._patiently(lambda file=file: self._stage(file))  # type: ignore[misc]

    def _stage(self, file: ExportFile) -> None:
        self._api.preupload_lfs_files(
            self.target, [self._staged[file.path]], repo_type=DATASET, free_memory=False, num_threads=1
        )

    def commit(self, files: Sequence[ExportFile], *, delete: Sequence[str], parent: str, title: str, mark: str) -> str:
        """Commit what was staged onto `parent`, once. The caller has noted that it is sent."""
        operations: list[CommitOperationAdd | CommitOperationDelete] = [self._staged[file.path] for file in files]
        operations += [CommitOperationDelete(path, is_folder=False) for path in delete]
        made = self._once(
            lambda: self._api.create_commit(
                self.target,
                operations,
                commit_message=title,
                commit_description=mark,
                parent_commit=parent,
                repo_type=DATASET,
                num_threads=1,
            )
        )
        return made.oid

    def tag(self, name: str, commit: str) -> None:
        """Make a tag. Raises `TagTaken` where it stands for another commit."""
        try:
            self._patiently(lambda: self._api.create_tag(self.target, tag=name, revision=commit, repo_type=DATASET))
        except TagTaken:
            refs = self._patiently(lambda: self._api.list_repo_refs(self.target, repo_type=DATASET))
            if commit not in {ref.target_commit for ref in refs.tags if ref.name == name}:
                raise

    def hash_of(self, path: str, *, commit: str) -> str:
        """Download a file of a commit and return its SHA-256; empty where it is missing."""

        def fetch() -> str:
            digest = hashlib.sha256()
            for chunk in self._chunks(path, commit):
                digest.update(chunk)
            return digest.hexdigest()

        try:
            return self._patiently(fetch)
        except PlaceMissing:
            return ""

    def fetch(self, path: str, *, commit: str, to: Path) -> None:
        """Download a file of a commit. Raises `PlaceMissing`."""

        def fetch() -> None:
            with to.open("wb") as file:
                for chunk in self._chunks(path, commit):
                    file.write(chunk)

        self._patiently(fetch)

    def make_public(self) -> None:
        """Let everybody read the repository."""
        self._patiently(lambda: self._api.update_repo_settings(self.target, visibility="public", repo_type=DATASET))

    def wait_after(self, error: PlaceBusy | PlaceUnreachable) -> None:
        """Wait for as long as the Hub asks, or a moment. Raises the error where it asks for too long."""
        asked = error.wait_seconds if isinstance(error, PlaceBusy) else None
        if (asked or 0.0) > MOST_WAIT_SECONDS:
            raise error
        pause(A_MOMENT_SECONDS if asked is None else asked)

    # --- Calls ------------------------------------------------------------------------------------------------------

    def _chunks(self, path: str, commit: str) -> Any:
        """Yield a file's bytes. Its redirect leads to a store, which gets no token (`_Guarded`)."""
        url = hf_hub_url(self.target, path, repo_type=DATASET, revision=commit, endpoint=settings.HUB_URL)
        headers = {"authorization": f"Bearer {settings.HUB_TOKEN}", "accept-encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
            if response.status_code >= 400:
                response.read()
                raise self._refusal(response.status_code, "")
            try:
                yield from response.iter_bytes(CHUNK)
            except httpx2.TransportError as error:
                # A body that ends early; a connection that breaks before it is the transport's to tell.
                raise _unreachable(error) from None

    def _patiently(self, call: Callable[[], T]) -> T:
        """Make a call that may be made again: a few times, waiting for as long as the Hub asks."""
        for left in reversed(range(TRIES)):
            try:
                return self._once(call)
            except (PlaceBusy, PlaceUnreachable) as error:
                if not left:
                    raise
                self.wait_after(error)
        raise AssertionError("the last try returns or raises")

    def _once(self, call: Callable[[], T]) -> T:
        """Make a call; what goes wrong is said in words, without the token."""
        try:
            return call()
        except PublishingError:
            raise
        except HfHubHTTPError as error:
            raise self._refusal(error.response.status_code, error.server_message or "") from None
        except httpx2.HTTPError as error:
            raise _unreachable(error) from None
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            # An upload's own error is the cause of the client's; an answer that is none is a wrong value or key.
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, PublishingError):
                    raise cause from None
                if isinstance(cause, HfHubHTTPError):
                    raise self._refusal(cause.response.status_code, cause.server_message or "") from None
                cause = cause.__cause__
            raise PublishingError(
                f"{settings.HUB_URL} did not answer as the Hub does: {_quoted(str(error) or type(error).__name__)}"
            ) from None

    def _refusal(self, status: int, said: str) -> PublishingError:
        """Return what a status means for us."""
        quoted = f" It says: {_quoted(said)}" if said else ""
        if status == 404:
            return PlaceMissing(f"The Hub has nothing at {self.target}, or this site's token may not see it.{quoted}")
        if status == 409:
            return TagTaken(f"The Hub says that {self.target} has something else under that name already.{quoted}")
        words = REFUSED.get(status, "The Hub refused (status {status}) what was asked of {target}.")
        kind = StaleParent if status == 412 else PublishingError
        return kind(words.format(target=self.target, status=status) + quoted)


class _Guarded(httpx2.BaseTransport):
    """Ends a call at the first sign of trouble, and lets the token go to the Hub's own address only."""

    def __init__(self) -> None:
        self._inner = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on. Raises `PlaceBusy` and `PlaceUnreachable`, which the client does not know."""
        if _origin(str(request.url)) != _origin(settings.HUB_URL):
            request.headers.pop("authorization", None)
        try:
            response = self._inner.handle_request(request)
            if request.method != "GET" or "/api/" in request.url.path:
                # All but a file's content is read here, so that an answer that breaks off is one of ours as well.
                response.read()
        except httpx2.TransportError as error:
            raise _unreachable(error) from None
        if response.status_code == 429:
            wait = _retry_after(response)
            response.close()
            asks = "to wait" if wait is None else f"to wait {wait:.0f} seconds"
            raise PlaceBusy(f"The Hub is asked too often; it asks {asks}. Publish again after that.", wait_seconds=wait)
        if response.status_code >= 500 or response.status_code == 408:
            response.close()
            raise PlaceUnreachable(f"The Hub has a fault of its own (status {response.status_code}). Try again later.")
        if response.is_redirect and "/resolve/" not in request.url.path:
            response.close()
            raise PublishingError(
                "The Hub says that this repository has moved. Name it as it is called now; nothing was sent elsewhere."
            )
        return response

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def _settle_client() -> None:
    """Set the client of this process up: our transport and time-outs, no token of its own, one way of uploading."""
    if getattr(_settle_client, "done", False):
        return
    # Large files go by Git LFS, the one way that the tests speak; the other store has a client of its own.
    constants.HF_HUB_DISABLE_XET = True
    constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True
    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars()
    set_client_factory(_client)
    _settle_client.done = True  # type: ignore[attr-defined]


def _client() -> httpx2.Client:
    timeout = httpx2.Timeout(settings.HUB_TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
    return httpx2.Client(transport=_Guarded(), timeout=timeout, follow_redirects=False)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that a server asks to wait: `Retry-After`, or the `t` of `RateLimit`; None where neither."""
    said = response.headers.get("retry-after", "").strip()
    if said.isdecimal() and said.isascii():
        return float(said)
    window = re.search(r";\s*t\s*=\s*(\d+)", response.headers.get("ratelimit", ""))
    return float(window[1]) if window else None


def _unreachable(error: Exception) -> PlaceUnreachable:
    return PlaceUnreachable(
        f"The Hub at {settings.HUB_URL} gave no clear answer ({type(error).__name__}). Try again: what is there is "
        "looked at before anything is sent."
    )


def _quoted(text: str) -> str:
    """Return somebody else's sentence, short, on one line and without the token."""
    if settings.HUB_TOKEN:
        text = text.replace(settings.HUB_TOKEN, "…")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:QUOTED]
