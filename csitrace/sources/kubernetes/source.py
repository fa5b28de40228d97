"""All kinds of one cluster as one stream of observations."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Self

from csitrace.model.events import Observation, Witness
from csitrace.model.kinds import EVENT, KINDS, LEASE, Kind
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.config import ConnectionOptions, load_access
from csitrace.sources.kubernetes.connection import Connection, Renew
from csitrace.sources.kubernetes.liveness import Liveness
from csitrace.sources.kubernetes.reflector import Reflector

_BATCHES = (
    64  # that may wait for a slow consumer; then reading stops, and in the end the server ends the watches
)

_CLUSTER_OBJECTS_EVENTS = "default"
"""The namespace of Events about objects that have none: volumes, attachments, nodes (client-go, `record.makeEvent`)."""


class KubernetesSource:
    """What the cluster claims: list and watch of `kinds`.

    `namespace`: follow only this one, of the kinds that a user's own objects are of (leases belong to sidecars and nodes, which
    live elsewhere); None: the whole cluster, or where that is refused, the namespace of the context. `selectors`: label
    selectors by kind name.
    """

    witness = Witness.KUBERNETES

    def __init__(
        self,
        access: Access,
        *,
        kinds: Iterable[Kind] = KINDS,
        namespace: str | None = None,
        selectors: Mapping[str, str] | None = None,
        renew: Renew | None = None,
        streaming: bool = True,
    ) -> None:
        """`renew`: see `Connection`. Not `streaming`: do not ask for streaming lists."""
        self._access = access
        self._kinds = tuple(kinds)
        self._namespace = namespace
        self._selectors = selectors or {}
        self._renew = renew
        self._streaming = streaming

    @classmethod
    async def open(
        cls,
        options: ConnectionOptions,
        *,
        kinds: Iterable[Kind] = KINDS,
        all_namespaces: bool = True,
        selectors: Mapping[str, str] | None = None,
        interactive: bool = False,
    ) -> Self:
        """With kubectl's flags; without `all_namespaces`, the namespace of the flags or else of the context.

        Raises `ConfigError`. Does not connect yet.
        """
        access = await load_access(options, interactive=interactive)
        return cls(
            access,
            kinds=kinds,
            namespace=None if all_namespaces else access.namespace,
            selectors=selectors,
            renew=lambda: load_access(options),
        )

    @property
    def name(self) -> str:
        return self._access.server

    @property
    def title(self) -> str:
        """What people call the cluster: the context, or else the server."""
        return self._access.context or self._access.server

    def connection(self) -> Connection:
        """Another client of the same server, as the same user, to be entered."""
        return Connection(self._access, self._renew)

    async def observe(self) -> AsyncGenerator[Observation, None]:
        """See `Source.observe`. A server that cannot be reached is a `SourceDown` of every scope, and is waited for."""
        batches: asyncio.Queue[list[Observation] | None] = asyncio.Queue(_BATCHES)
        listening = asyncio.create_task(self._listen(batches))
        try:
            while (batch := await batches.get()) is not None:
                for item in batch:
                    yield item
            await listening  # it ends only by failing
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _listen(self, batches: "asyncio.Queue[list[Observation] | None]") -> None:
        try:
            async with Connection(self._access, self._renew) as connection, asyncio.TaskGroup() as tasks:
                liveness = Liveness(connection)
                tasks.create_task(liveness.run())
                for kind in self._kinds:
                    for namespaces in self._places(kind):
                        reflector = Reflector(
                            kind,
                            connection,
                            liveness,
                            batches.put,
                            namespaces=namespaces,
                            label_selector=self._selectors.get(kind.name, ""),
                            streaming=self._streaming,
                        )
                        tasks.create_task(reflector.run(), name=f"reflector {reflector.scope}")
        except BaseExceptionGroup:
            await batches.put(None)
            raise

    def _places(self, kind: Kind) -> list[tuple[str, ...]]:
        """One reflector for each entry; of its namespaces the first that may be read is followed."""
        fallback = ("", self._access.namespace)
        if self._namespace is None or kind is LEASE:
            return [fallback]
        if kind is EVENT and self._namespace != _CLUSTER_OBJECTS_EVENTS:
            return [(self._namespace,), (_CLUSTER_OBJECTS_EVENTS,)]
        return [(self._namespace,)]
