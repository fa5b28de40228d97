"""One node's agent, whichever pod that is now."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

from csitrace.model.events import Observation, Witness
from csitrace.sources.agents.pods import AgentPod
from csitrace.sources.agents.portforward import PodPort, PortForward
from csitrace.sources.backoff import Backoff
from csitrace.sources.feed import FeedSource
from csitrace.sources.kubernetes.connection import Connection

HEARTBEAT_MS = 5_000
"""How often an agent is asked for a sign of life: of 200 of them, one every 25 ms."""

SILENCE_S = 2.5 * HEARTBEAT_MS / 1000
OPEN_S = 10.0
"""How long an agent's first word may take, through the API server and the kubelet."""

Emit = Callable[[Observation], Awaitable[None]]


class NodeAgent:
    """Listens to the agent's pod on one node. What a former pod told is known when the next one speaks."""

    def __init__(
        self,
        node_name: str,
        connection: Connection,
        socket: Path,
        emit: Emit,
        gate: asyncio.Semaphore,
        *,
        silence_s: float = SILENCE_S,
        open_s: float = OPEN_S,
    ) -> None:
        self.node_name = node_name
        self._emit = emit
        self._forward = PortForward(connection, socket)
        self._source = FeedSource(
            f"unix://{socket}",
            name=f"the agent on {node_name}",
            missed_as=(Witness.KERNEL, node_name),
            silence_s=silence_s,
            open_s=open_s,
            heartbeat_ms=round(silence_s * 400),
            backoff=Backoff(0.5, 30.0),
            gate=gate,
            why=self._why,
        )
        self._pod: AgentPod | None = None
        self._listening: asyncio.Task[None] | None = None

    async def follow(self, pod: AgentPod) -> None:
        """Listen to this pod; to the one that is listened to already, go on. One that became ready is not kept waiting."""
        known, self._pod = self._pod, pod
        is_same = known is not None and (known.uid, known.port) == (pod.uid, pod.port)
        if is_same and known is not None and (known.is_ready or not pod.is_ready):
            return
        await self._stop()
        self._forward.target = PodPort(pod.namespace, pod.name, pod.port)
        self._source.renamed(f"agent {pod.full_name} on {self.node_name}")
        self._listening = asyncio.create_task(self._listen())

    async def miss(self, reason: str, denied: bool = False) -> None:
        """There is no agent to listen to."""
        await self._stop()
        self._pod = None
        for observation in self._source.silenced(reason, denied):
            await self._emit(observation)

    async def close(self) -> None:
        await self._stop()
        await self._forward.close()

    async def _stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
            self._listening = None

    async def _listen(self) -> None:
        try:
            await self._forward.start()
            async with aclosing(self._source.observe()) as observations:
                async for observation in observations:
                    await self._emit(observation)
        except Exception as error:  # noqa: BLE001 - the boundary where one agent's fault becomes a fact, and no other agent's
            for observation in self._source.silenced(
                f"{self._source.called} cannot be heard: {type(error).__name__}: {error}"
            ):
                await self._emit(observation)

    def _why(self) -> tuple[str, bool]:
        reason, denied = self._forward.failure
        if not reason:
            return "", False
        state = self._pod.crash if self._pod is not None else ""
        crash = f"; its container is in {state}" if state else ""
        return (reason if denied else f"{self._source.called}: {reason}{crash}"), denied
