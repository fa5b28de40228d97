"""One kind, listed and watched: the client-go reflector's contract, as observations.

A list gives the present, a watch from its resourceVersion every change since. When the server no longer has the changes
since then (410), what happened in between is lost: that is said (`SourceGap`), everything is listed again, and deletions
are found by comparison. Servers that offer streaming lists (Kubernetes 1.32 on) send both as one stream.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NoReturn

import msgspec

from csitrace.errors import ConfigError, UnreachableError
from csitrace.model.events import (
    Body,
    ListCompleted,
    Observation,
    SourceDown,
    SourceGap,
    SourceUp,
    Witness,
)
from csitrace.model.kinds import Kind
from csitrace.sources.backoff import Backoff
from csitrace.sources.kubernetes.connection import Connection, StatusError, Stream
from csitrace.sources.kubernetes.liveness import Liveness
from csitrace.sources.kubernetes.store import Store, observation
from csitrace.sources.kubernetes.wire import (
    Bookmark,
    Change,
    Failure,
    PageDecoder,
    Unreadable,
    WatchDecoder,
    WatchMessage,
)

Emit = Callable[[list[Observation]], Awaitable[None]]

PAGE_LIMIT = 500
_LONGEST_WAIT = 60.0  # seconds that a server's Retry-After can impose
_SHORT_WATCH = 1.0  # seconds; a watch that ends sooner without a word is followed by a pause
_INITIAL_SILENCE = (
    10.0  # seconds; a server that does not end a streaming list by then does not know streaming lists
)
_DENIALS = {
    401: "the server does not accept the credentials for {what}",
    403: "may not list and watch {what}",
    404: "the server has no {what}",
}
_BAD_REQUESTS = frozenset(
    {400, 405, 406, 422}
)  # how servers without streaming lists answer to one; or an unreadable position
_CERTAIN_REFUSALS = 5  # in a row: what was allowed before no longer is (some 15 s)
_WATCH_ATTEMPTS = 3  # from one resourceVersion, after which it is taken to be what the server chokes on


class _ExpiredError(Exception):
    """The watch cannot be continued from where it was; the text says why."""


class Reflector:
    """Follows one kind in the first of `namespaces` that may be read; `""` is the whole cluster.

    It runs until cancelled. A scope that is refused (403, 404, credentials) is reported once and tried again, ever more slowly
    (`recheck`): servers that just started refuse for a moment what they will allow. While a narrower namespace serves instead,
    the wider one is not tried again.
    """

    def __init__(
        self,
        kind: Kind,
        connection: Connection,
        liveness: Liveness,
        emit: Emit,
        *,
        namespaces: tuple[str, ...] = ("",),
        label_selector: str = "",
        backoff: Backoff | None = None,
        recheck: Backoff | None = None,
        streaming: bool = True,
    ) -> None:
        self._kind = kind
        self._connection = connection
        self._liveness = liveness
        self._emit = emit
        self._namespaces = namespaces if kind.namespaced else ("",)
        self._place = 0
        self._selection = {"labelSelector": label_selector} if label_selector else {}
        self._backoff = backoff or Backoff()
        self._recheck = recheck or Backoff(1.0, 60.0)
        self._refusals = 0  # in a row, of this place
        self._streaming = streaming
        self._store = Store()
        self._pages = PageDecoder(kind)
        self._resource_version = ""
        self._listing = False  # the initial events of a streaming list are arriving
        self._has_listed = False  # in this place
        self._refused_watches = 0  # in a row, from one resourceVersion
        self._health: dict[str, SourceUp | SourceDown] = {}
        self._withheld: list[
            Body
        ] = []  # said with the next word on a narrower place: until then nothing is decided

    @property
    def scope(self) -> str:
        """`Pod`, or `Pod/shop` where one namespace alone is followed."""
        namespace = self._namespaces[self._place]
        return f"{self._kind.name}/{namespace}" if namespace else self._kind.name

    async def run(self) -> NoReturn:
        """Follow the kind until cancelled."""
        while True:
            try:
                if self._resource_version:
                    await self._watch({"resourceVersion": self._resource_version})
                elif self._streaming:
                    await self._watch({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"})
                else:
                    await self._list()
            except _ExpiredError as error:
                await self._lose_position(str(error))
                await asyncio.sleep(self._backoff.next())
            except StatusError as error:
                await self._on_status(error)
            except ConfigError as error:
                await self._down(str(error), denied=True)
                await asyncio.sleep(self._recheck.next())
            except UnreachableError as error:
                await self._down(str(error))
                self._liveness.suspect()
                if self._liveness.alive:
                    await asyncio.sleep(self._backoff.next())
                await self._liveness.wait_alive()

    async def _list(self) -> None:
        """All pages. When the server has forgotten the state that the pages are of, all again in one answer."""
        parameters = self._selection | {"limit": str(PAGE_LIMIT)}
        self._store.begin_list()
        while True:
            try:
                async with self._liveness.guard():
                    answer = await self._connection.get(self._path, parameters)
                page = self._pages.decode(answer)
            except StatusError as error:
                if error.status != 410 or "continue" not in parameters:
                    raise
                parameters = dict(self._selection)
                self._store.begin_list()
                continue
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise UnreachableError(f"{self._server} sent no list of {self._kind.resource}") from None
            self._liveness.heard()
            await self._up()
            bodies = [body for obj in page.objects for body in self._store.listed(obj)]
            bodies += [self._unread(item) for item in page.unreadable]
            if not page.continuation:
                break
            await self._tell(bodies)
            parameters = parameters | {"continue": page.continuation}
        await self._tell(bodies + self._end_list(page.resource_version))

    def _end_list(self, resource_version: str) -> list[Body]:
        """The list is complete: from here on the scope is watched from `resource_version`."""
        self._resource_version = resource_version
        self._has_listed = True
        return [*self._store.end_list(), self._completed()]

    def _completed(self) -> ListCompleted:
        return ListCompleted(
            witness=Witness.KUBERNETES,
            scope=self.scope,
            count=len(self._store),
            resource_version=self._resource_version,
        )

    async def _watch(self, position: dict[str, str]) -> None:
        """One watch to its end, be it the server's or a broken connection's; the next continues where it stood."""
        parameters = self._selection | position | {"watch": "1", "allowWatchBookmarks": "true"}
        async with self._liveness.guard():
            stream = await self._connection.stream(self._path, parameters)
        with contextlib.closing(stream):
            await self._up()
            self._refused_watches = 0
            self._listing = "sendInitialEvents" in position
            if self._listing:
                self._store.begin_list()
            began_at = asyncio.get_running_loop().time()
            decoder = WatchDecoder(self._kind)
            while piece := await self._read(stream):
                await self._digest(decoder.feed(piece))
        if asyncio.get_running_loop().time() - began_at < _SHORT_WATCH:
            await asyncio.sleep(self._backoff.next())

    async def _read(self, stream: Stream) -> bytes:
        """The next piece, empty when the stream is over. A broken connection is no news yet: the next request tells."""
        try:
            async with self._liveness.guard(), asyncio.timeout(_INITIAL_SILENCE if self._listing else None):
                piece = await stream.read()
        except TimeoutError:
            self._streaming = False
            return b""
        except UnreachableError:
            if not self._liveness.alive:
                raise
            self._liveness.suspect()
            return b""
        self._liveness.heard()
        return piece

    async def _digest(self, messages: list[WatchMessage]) -> None:
        """Tell what follows from `messages`, and move on in the server's history."""
        bodies: list[Body] = []
        failure: Failure | None = None
        was_listing = self._listing
        for message in messages:
            match message:
                case Change():
                    obj = message.object
                    if message.type == "DELETED":
                        bodies += self._store.deleted(obj)
                    elif self._listing:
                        bodies += self._store.listed(obj)
                    else:
                        bodies += self._store.changed(obj)
                    if not self._listing:
                        self._resource_version = obj.metadata.resource_version
                case Bookmark():
                    if not self._listing:
                        self._resource_version = message.resource_version
                    elif message.ends_initial_events:
                        self._listing = False
                        bodies += self._end_list(message.resource_version)
                case Unreadable():
                    bodies.append(self._unread(message))
                case Failure():
                    failure = message
        await self._tell(bodies)
        if failure is not None:
            raise _ExpiredError(f"the server ended the watch: {failure.code} {failure.message}")
        if not was_listing and messages:
            self._backoff.reset()

    def _unread(self, item: Unreadable) -> SourceGap:
        if self._listing or not self._resource_version:
            self._store.excuse(item.name)
        what = f"{self._kind.name} {item.name}" if item.name else f"something about {self._kind.resource}"
        return self._gap(f"{what} could not be read: {item.reason}", lost=1)

    async def _on_status(self, error: StatusError) -> None:
        """The server refused: for good (until rechecked), for this way of asking, or for now."""
        status = error.status
        if status in _DENIALS:
            await self._on_denial(status, f"{_DENIALS[status].format(what=self._what)} ({error})")
        elif status == 410 or (status in _BAD_REQUESTS and self._resource_version):
            await self._lose_position(str(error))
            await asyncio.sleep(self._backoff.next())
        elif status in _BAD_REQUESTS and self._streaming:
            self._streaming = False
        else:
            await self._down(str(error))
            if self._resource_version:
                self._refused_watches += 1
                if self._refused_watches >= _WATCH_ATTEMPTS:
                    await self._lose_position(str(error))
            await asyncio.sleep(max(self._backoff.next(), min(error.retry_after, _LONGEST_WAIT)))

    async def _on_denial(self, status: int, reason: str) -> None:
        """Refused: try the next narrower place; where it had been allowed, wait first; and from the narrowest, begin anew."""
        self._refusals += 1
        is_certain = not self._has_listed or self._refusals >= _CERTAIN_REFUSALS
        goes_on = status == 403 and is_certain and self._place + 1 < len(self._namespaces)
        await self._down(reason, denied=True, withhold=goes_on)
        if goes_on:
            self._move(self._place + 1)
            self._store.narrow(self._namespaces[self._place])
            return
        await asyncio.sleep(self._recheck.next())
        if is_certain and self._place:
            self._move(0)

    def _move(self, place: int) -> None:
        """Begin in another place, with a list."""
        self._place = place
        self._resource_version = ""
        self._has_listed = False
        self._refusals = 0

    async def _lose_position(self, reason: str) -> None:
        """What happened since the last message cannot be had any more: list again, and never from the same position."""
        self._resource_version = ""
        self._refused_watches = 0
        if self._has_listed:
            await self._tell([self._gap(reason)])

    def _gap(self, reason: str, lost: int | None = None) -> SourceGap:
        return SourceGap(witness=Witness.KUBERNETES, scope=self.scope, reason=reason, lost=lost)

    async def _up(self) -> None:
        """The scope is heard: said once, until it is not. A watch that goes on from where it was has nothing left to list."""
        if isinstance(self._health.get(self.scope), SourceUp):
            return
        self._recheck.reset()
        self._refusals = 0
        narrower = next((scope for scope in self._health if scope.startswith(f"{self.scope}/")), "")
        self._health.pop(narrower, None)  # it is heard as a part of this
        up = SourceUp(witness=Witness.KUBERNETES, scope=self.scope, detail=self._server, formerly=narrower)
        await self._say(up)
        if self._resource_version:
            await self._tell([self._completed()])

    async def _down(self, reason: str, *, denied: bool = False, withhold: bool = False) -> None:
        """The scope is not heard: said once, and once more when that becomes a refusal or no longer is one."""
        last = self._health.get(self.scope)
        if isinstance(last, SourceDown) and last.denied == denied:
            return
        down = SourceDown(witness=Witness.KUBERNETES, scope=self.scope, reason=reason, denied=denied)
        if withhold:
            self._health[self.scope] = down
            self._withheld.append(down)
        else:
            await self._say(down)

    async def _say(self, health: SourceUp | SourceDown) -> None:
        self._health[self.scope] = health
        withheld, self._withheld = self._withheld, []
        await self._tell([health, *withheld])

    async def _tell(self, bodies: list[Body]) -> None:
        if bodies:
            await self._emit([observation(body) for body in bodies])

    @property
    def _server(self) -> str:
        return f"API server {self._connection.server}"

    @property
    def _path(self) -> str:
        return self._kind.path(self._namespaces[self._place])

    @property
    def _what(self) -> str:
        """`volumeattachments.storage.k8s.io at the cluster scope`, as in the server's own messages."""
        namespace = self._namespaces[self._place]
        group = f".{self._kind.group}" if self._kind.group else ""
        place = f"in namespace {namespace}" if namespace else "at the cluster scope"
        return f"{self._kind.resource}{group} {place}"
