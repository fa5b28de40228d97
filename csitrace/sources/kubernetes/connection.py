"""HTTP to one API server: bytes out of it, errors in one line, credentials renewed when it refuses them.

Lists and watches are large, so nothing here looks into a body; `wire` decodes bytes straight into the fields that are kept.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from csitrace import __version__
from csitrace.errors import CsitraceError, UnreachableError
from csitrace.sources.kubernetes.access import Access

Renew = Callable[[], Awaitable[Access]]

_REQUEST_TIMEOUT = 60.0  # seconds for a request that has an end, unless --request-timeout says otherwise
_CONNECT_TIMEOUT = 5.0
_READ_BUFFER = (
    1 << 18
)  # bytes; a list page is some MB, and each refill of the buffer costs a turn of the event loop
_ERROR_BODY = 1 << 16
_MESSAGE = 300  # characters of a server's message that are shown


class StatusError(CsitraceError):
    """The server answered, but with an error. `retry_after`: seconds it asks to wait, 0 where it does not ask."""

    exit_code = 3

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class _Status(msgspec.Struct):
    """metav1.Status, as far as it is for people."""

    message: str = ""
    reason: str = ""


class Stream:
    """The body of an answer that has no foreseeable end."""

    def __init__(self, response: aiohttp.ClientResponse, server: str) -> None:
        self._response = response
        self._server = server

    async def read(self) -> bytes:
        """All that has arrived and at least one byte; empty at the end. Raises `UnreachableError` when the connection breaks."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"API server {self._server}: {_explain(error)}") from None

    def close(self) -> None:
        self._response.close()


class Connection:
    """An open client of one API server, used as an async context manager.

    `renew` gives fresh credentials after a 401; without it, or when the fresh ones are refused as well, the 401 stands.
    """

    def __init__(self, access: Access, renew: Renew | None = None) -> None:
        self._access = access
        self._renew = renew
        self._renewing = asyncio.Lock()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @property
    def server(self) -> str:
        return self._access.server

    async def get(self, path: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The whole body of an answer 200. Raises `StatusError`, `UnreachableError`, or `ConfigError` when renewing fails."""
        response = await self._request(path, parameters)
        try:
            async with asyncio.timeout(self._timeout):
                return await response.read()
        except TimeoutError:
            raise UnreachableError(self._say(f"gave no full answer in {self._timeout:g} s")) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(self._say(_explain(error))) from None
        finally:
            response.release()

    async def stream(self, path: str, parameters: Mapping[str, str]) -> Stream:
        """An answer 200 whose body is read as it comes; the caller closes it. Raises as `get`."""
        return Stream(await self._request(path, parameters), self.server)

    async def websocket(
        self, path: str, parameters: Mapping[str, str], protocol: str
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket that speaks `protocol`; the caller closes it. Raises as `get`."""
        access = self._access
        try:
            return await self._upgrade(access, path, parameters, protocol)
        except StatusError as error:
            if error.status != 401 or self._renew is None:
                raise
        await self._renewed(access, self._renew)
        return await self._upgrade(self._access, path, parameters, protocol)

    async def _upgrade(
        self, access: Access, path: str, parameters: Mapping[str, str], protocol: str
    ) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._session.ws_connect(
                    access.server + path,
                    params=parameters,
                    protocols=[protocol],
                    headers=_identity(access),
                    ssl=access.tls if access.tls is not None else True,
                    server_hostname=access.server_name,
                    proxy=access.proxy,
                    max_msg_size=0,
                )
        except aiohttp.WSServerHandshakeError as error:  # its body is lost; the status says enough
            raise StatusError(error.status, self._say(f"{error.status} for {path}")) from None
        except aiohttp.ClientError as error:
            raise UnreachableError(self._say(_explain(error))) from None
        except TimeoutError:
            raise UnreachableError(self._say(f"gave no answer in {self._timeout:g} s")) from None
        except OSError as error:
            raise UnreachableError(self._say(_explain(error))) from None

    async def _request(self, path: str, parameters: Mapping[str, str] | None) -> aiohttp.ClientResponse:
        access = self._access
        try:
            return await self._attempt(access, path, parameters)
        except StatusError as error:
            if error.status != 401 or self._renew is None:
                raise
        await self._renewed(access, self._renew)
        return await self._attempt(self._access, path, parameters)

    async def _renewed(self, refused: Access, renew: Renew) -> None:
        """Have fresh credentials; of many requests refused at the same time, one asks for all."""
        async with self._renewing:
            if self._access is refused:
                self._access = await renew()

    @property
    def _timeout(self) -> float:
        wanted = self._access.request_timeout_ns
        return wanted / 1e9 if wanted else _REQUEST_TIMEOUT

    async def _attempt(
        self, access: Access, path: str, parameters: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._session.get(
                    access.server + path,
                    params=parameters,
                    headers=_headers(access),
                    allow_redirects=False,
                    ssl=access.tls if access.tls is not None else True,
                    server_hostname=access.server_name,
                    proxy=access.proxy,
                )
                if response.status == 200:
                    return response
                try:
                    body = await response.content.read(_ERROR_BODY)
                finally:
                    response.close()
        except aiohttp.ClientError as error:  # before TimeoutError, which some of them are, too
            raise UnreachableError(self._say(_explain(error))) from None
        except TimeoutError:
            raise UnreachableError(self._say(f"gave no answer in {self._timeout:g} s")) from None
        except OSError as error:
            raise UnreachableError(self._say(_explain(error))) from None
        raise StatusError(response.status, self._say(_reason(response, body)), _retry_after(response))

    def _say(self, what: str) -> str:
        return f"API server {self.server}: {what}"


def _headers(access: Access) -> list[tuple[str, str]]:
    accepted = [
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity" if access.near else "gzip"),
    ]
    return [*accepted, *_identity(access)]


def _identity(access: Access) -> list[tuple[str, str]]:
    """Who asks. Alone for upgrades: the server answers 406 to one that accepts JSON."""
    headers = [("User-Agent", f"csitrace/{__version__}"), *access.impersonation]
    if access.authorization:
        headers.append(("Authorization", access.authorization))
    return headers


def _reason(response: aiohttp.ClientResponse, body: bytes) -> str:
    """What an error answer says: the Status's message, or else the first words of the body."""
    try:
        said = msgspec.json.decode(body, type=_Status).message
    except msgspec.DecodeError:
        said = body.decode(errors="replace")
    said = " ".join(said.split())[:_MESSAGE]
    head = f"{response.status} {response.reason or ''}".rstrip()
    return f"{head}: {said}" if said else head


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds; an HTTP date, which API servers do not send, counts as not asked."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _explain(error: Exception) -> str:
    """A transport error for people; the libraries' own texts are made of class names."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {getattr(error.certificate_error, 'verify_message', '')}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, (aiohttp.ClientConnectorSSLError, aiohttp.ClientSSLError)):
        return "does not speak TLS as expected"
    if isinstance(error, aiohttp.ServerTimeoutError):
        return f"no connection in {_CONNECT_TIMEOUT:g} s"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "its proxy cannot be reached"
    if isinstance(error, OSError):
        return os.strerror(error.errno).lower() if error.errno else "connection failed"
    if isinstance(error, aiohttp.ClientResponseError):
        return "does not speak HTTP as expected"
    return "the connection broke"
