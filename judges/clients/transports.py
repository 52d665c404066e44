"""How bytes reach a model server. Both transports keep the same guards.

An answer is bounded in size and declined in packed form, since a bound on packed bytes would not bound memory; proxies
and credentials of the environment are not used; redirects are not followed; connecting takes at most five seconds.
"""

import io
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp
import httpx2

CONNECT_TIMEOUT_SECONDS = 5.0
RESPONSE_LIMIT_BYTES = 1024 * 1024
# More at once than any worker asks, so that no call waits for a connection.
CONNECTIONS = 512
# Below what servers keep an idle connection (uvicorn: 5 s): one closed under a request looks like a broken answer.
IDLE_SECONDS = 4.0
# aiohttp warns of larger bodies given as bytes; read from memory in pieces, they do not hold up the loop.
WHOLE_BODY_BYTES = 1024 * 1024

_limit: ContextVar[int] = ContextVar("response_limit_bytes", default=RESPONSE_LIMIT_BYTES)


class ResponseTooLarge(httpx2.TransportError):
    """A server sent more than it may, or packed its answer."""


@contextmanager
def at_most(limit_bytes: int) -> Iterator[None]:
    """Within it, an answer may have this many bytes. For calls that ask for more than one completion."""
    token = _limit.set(limit_bytes)
    try:
        yield
    finally:
        _limit.reset(token)


def transport_of(name: str) -> httpx2.AsyncBaseTransport:
    """Return a new transport by its name in the setting JUDGE_TRANSPORT."""
    return TRANSPORTS[name]()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, limit_bytes: int) -> None:
        self._stream = stream
        self._limit = limit_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > self._limit:
                raise ResponseTooLarge(f"the answer is longer than {self._limit:,} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class HttpxTransport(httpx2.AsyncHTTPTransport):
    """The client's own transport, with the guards."""

    def __init__(self) -> None:
        limits = httpx2.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
        )
        super().__init__(limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the answer's body is bounded while it is read."""
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if _is_packed(response.headers):
            await response.aclose()
            raise _packed()
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError(f"an async transport returned {type(response.stream).__name__}")
        response.stream = _BoundedStream(response.stream, _limit.get())
        return response


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """The same over aiohttp, which costs half the processor time a call."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the answer's body is bounded while it is read."""
        request.headers["Accept-Encoding"] = "identity"
        timeout = request.extensions.get("timeout", {})
        try:
            response = await self._open().request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=_body_of(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("pool"), sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        except Exception as error:
            raise _in_our_words(error) from error
        if _is_packed(response.headers):
            response.close()
            raise _packed()
        return httpx2.Response(
            response.status, headers=response.raw_headers, stream=_AiohttpStream(response, _limit.get())
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Made on first use: a session belongs to the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._session


class _AiohttpStream(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, limit_bytes: int) -> None:
        self._response = response
        self._limit = limit_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for part in self._response.content.iter_any():
                size += len(part)
                if size > self._limit:
                    raise ResponseTooLarge(f"the answer is longer than {self._limit:,} bytes")
                yield part
        except (aiohttp.ClientError, OSError) as error:
            raise _in_our_words(error) from error

    async def aclose(self) -> None:
        # Gives the connection back where the answer was read to its end; cuts it otherwise.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


TRANSPORTS: Mapping[str, Callable[[], httpx2.AsyncBaseTransport]] = {
    "aiohttp": AiohttpTransport,
    "httpx": HttpxTransport,
}


def _body_of(request: httpx2.Request) -> bytes | io.BytesIO | AsyncIterator[bytes] | None:
    try:
        content = request.content
        return io.BytesIO(content) if len(content) > WHOLE_BODY_BYTES else content or None
    except httpx2.RequestNotRead:
        # An upload; its length is unknown to aiohttp, which names the encoding itself.
        request.headers.pop("transfer-encoding", None)
        if not isinstance(request.stream, httpx2.AsyncByteStream):
            raise TypeError(f"an async request streams {type(request.stream).__name__}") from None
        return aiter(request.stream)


def _in_our_words(error: Exception) -> Exception:
    """Return the exception of httpx that says the same, above all whether the request can have reached the server."""
    words = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx2.ConnectTimeout(words)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL | socket.gaierror):
        return httpx2.ConnectError(words)
    if isinstance(error, TimeoutError):
        return httpx2.ReadTimeout(words)
    if isinstance(error, aiohttp.ClientError | OSError):
        return httpx2.ReadError(words)
    return error


def _is_packed(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}


def _packed() -> ResponseTooLarge:
    return ResponseTooLarge("the answer is compressed although that was declined")
