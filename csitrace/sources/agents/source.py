"""All agents of a cluster as one stream of observations."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from csitrace.model.events import (
    ALL_NODES,
    ListCompleted,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    Observation,
    SourceDown,
    SourceUp,
    Witness,
)
from csitrace.model.kinds import NODE
from csitrace.sources.agents.duplicates import Duplicates
from csitrace.sources.agents.node import OPEN_S, SILENCE_S, NodeAgent
from csitrace.sources.agents.pods import AGENT_POD, LABEL, NAMESPACE, AgentPod
from csitrace.sources.feed import FeedSource
from csitrace.sources.kubernetes.connection import Connection
from csitrace.sources.kubernetes.liveness import Liveness
from csitrace.sources.kubernetes.reflector import Reflector

AT_ONCE = 16
"""How many agents may be connected to at the same time; those that are heard do not count."""

_QUEUE_SIZE = 4096


class AgentsSource:
    """What the agents tell of their nodes, and of which nodes nothing is heard, and why.

    `connect`: makes a client of the API server. `namespace`: look for agents there only; empty: in all, or where that is refused,
    in the manifest's. `besides`: nodes that are heard without an agent; `feeds`: drivers likewise.
    """

    witness = Witness.KERNEL
    name = "agents"

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        namespace: str = "",
        selector: str = LABEL,
        besides: Collection[str] = (),
        feeds: Iterable[FeedSource] = (),
        silence_s: float = SILENCE_S,
        open_s: float = OPEN_S,
    ) -> None:
        self._connect = connect
        self._namespaces = (namespace,) if namespace else ("", NAMESPACE)
        self._selector = selector
        self._besides = frozenset(besides)
        self._duplicates = Duplicates(feeds)
        self._silence_s = silence_s
        self._open_s = open_s
        self._pods: dict[str, AgentPod] = {}
        self._nodes: set[str] = set()
        self._agents: dict[str, NodeAgent] = {}
        self._pods_known = False
        self._nodes_known = False
        self._unfound = ("", False)
        self._told_of_all = ""
        self._changed = asyncio.Event()

    async def observe(self) -> AsyncGenerator[Observation, None]:
        """See `Source.observe`."""
        queue: asyncio.Queue[Observation | None] = asyncio.Queue(_QUEUE_SIZE)
        listening = asyncio.create_task(self._listen(queue))
        try:
            while (observation := await queue.get()) is not None:
                yield observation
            await listening  # it ends only by failing
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _listen(self, queue: "asyncio.Queue[Observation | None]") -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="csitrace-") as directory:  # for this user alone
                async with self._connect() as connection, asyncio.TaskGroup() as tasks:
                    liveness = Liveness(connection)
                    tasks.create_task(liveness.run())
                    pods = Reflector(
                        AGENT_POD,
                        connection,
                        liveness,
                        self._take_pods,
                        namespaces=self._namespaces,
                        label_selector=self._selector,
                    )
                    tasks.create_task(pods.run())
                    tasks.create_task(Reflector(NODE, connection, liveness, self._take_nodes).run())
                    tasks.create_task(self._attend(connection, Path(directory), queue))
        except BaseException:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(None)
            raise

    async def _take_pods(self, observations: list[Observation]) -> None:
        for observation in observations:
            match observation.body:
                case ObjectListed() | ObjectAdded() | ObjectModified() as stored:
                    if isinstance(stored.object, AgentPod):
                        self._pods[stored.object.uid] = stored.object
                case ObjectDeleted() as deleted:
                    self._pods.pop(deleted.object.uid, None)
                case ListCompleted():
                    self._pods_known, self._unfound = True, ("", False)
                case SourceUp():
                    self._unfound = ("", False)
                case SourceDown() as down:
                    self._unfound = (f"agents cannot be looked for: {down.reason}", down.denied)
        self._changed.set()

    async def _take_nodes(self, observations: list[Observation]) -> None:
        """The nodes that should have an agent. Who may not list them hears of those that have one."""
        for observation in observations:
            match observation.body:
                case ObjectListed() | ObjectAdded() as stored:
                    self._nodes.add(stored.object.name)
                case ObjectDeleted() as deleted:
                    self._nodes.discard(deleted.object.name)
                case ListCompleted() | SourceDown():
                    self._nodes_known = True
        self._changed.set()

    async def _attend(
        self, connection: Connection, directory: Path, queue: "asyncio.Queue[Observation | None]"
    ) -> None:
        """Have one listener for each node, on the pod that speaks for it now."""
        gate = asyncio.Semaphore(AT_ONCE)

        def added(node_name: str) -> NodeAgent:
            async def emit(observation: Observation) -> None:
                if not self._duplicates.among(node_name, observation):
                    await queue.put(observation)

            socket = directory / f"{len(self._agents)}.sock"
            return NodeAgent(
                node_name, connection, socket, emit, gate, silence_s=self._silence_s, open_s=self._open_s
            )

        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                for observation in self._of_all():
                    await queue.put(observation)
                for node_name, pod in self._wanted().items():
                    if node_name not in self._agents:
                        self._agents[node_name] = added(node_name)
                    await self._direct(self._agents[node_name], pod)
        finally:
            await asyncio.gather(*(agent.close() for agent in self._agents.values()), return_exceptions=True)

    def _of_all(self) -> list[Observation]:
        """What is so for every node is said once: that there are no agents at all, or that nobody knows, not even of which
        nodes."""
        reason, denied = "", False
        is_anyone_missed = bool(self._nodes - self._besides) or not (self._nodes or self._besides)
        if is_anyone_missed and self._nodes_known and not self._wanted():
            reason, denied = self._unfound
            if self._pods_known and not (reason or self._pods):
                reason = "no agents are found (csitrace agent manifest)"
        if reason == self._told_of_all:
            return []
        self._told_of_all = reason
        of_all: Any = {"witness": Witness.KERNEL, "scope": ALL_NODES}
        if reason:
            return [Observation(body=SourceDown(**of_all, reason=reason, denied=denied))]
        bodies = (SourceUp(**of_all, detail="agents are found"), ListCompleted(**of_all))
        return [Observation(body=body) for body in bodies]

    async def _direct(self, agent: NodeAgent, pod: AgentPod | None) -> None:
        """Let a node's listener hear a pod, or say why none is heard."""
        reason, denied = self._unfound
        if pod is not None and not pod.trouble:
            await agent.follow(pod)
        elif pod is not None:
            await agent.miss(f"agent {pod.full_name} on {agent.node_name} {pod.trouble}")
        elif reason:
            await agent.miss(reason, denied)
        elif agent.node_name not in self._nodes and self._nodes_known:
            await agent.miss(f"there is no agent on node {agent.node_name} any more")
        else:
            await agent.miss(f"no agent on node {agent.node_name}")

    def _wanted(self) -> dict[str, AgentPod | None]:
        """Every node that is to be heard, and the pod that speaks for it: the youngest of those that run."""
        if not (self._pods_known or self._unfound[0]):
            return {}
        if self._pods_known and not (self._pods or self._agents):
            return {}
        speakers: dict[str, AgentPod | None] = dict.fromkeys(sorted(self._nodes | self._agents.keys()))
        by_rank = sorted(self._pods.values(), key=_rank)
        speakers |= {pod.spec.node_name: pod for pod in by_rank if pod.spec.node_name}
        return {node: pod for node, pod in speakers.items() if node not in self._besides}


def _rank(pod: AgentPod) -> tuple[bool, str, str]:
    return (not pod.trouble, pod.metadata.creation_timestamp, pod.name)
