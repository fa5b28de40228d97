"""The agents of a cluster, heard through its API server: who is heard, who is not, and why."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from csitrace.feed.publisher import Publisher
from csitrace.model.events import ALL_NODES, RpcStarted, SourceUp, Stamp, Witness
from csitrace.sources.agents.source import AgentsSource
from csitrace.sources.feed import FeedSource
from tests.integration.agent.cluster import Cluster
from tests.integration.agent.hearing import calls, hearing
from tests.integration.agent.test_agent import driver

DRIVER = "probe.example.com"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path) as cluster:
        yield cluster


def agents(cluster: Cluster, **options: Any) -> AgentsSource:
    return AgentsSource(cluster.connect, **options)


async def test_two_hundred_agents_of_which_one_hangs(cluster: Cluster) -> None:
    """All others are heard, and what they tell arrives, while one accepts connections and says nothing; of it that is said."""
    nodes = [f"n{number}" for number in range(200)]
    for node in nodes:
        await cluster.agent(node)
    cluster.silent.add("agent-n7")
    async with hearing(agents(cluster, open_s=3.0)) as heard:
        await heard.until_missed("n7", "agent csitrace/agent-n7 on n7 gave no sign of life for 3 s")
        others = [node for node in nodes if node != "n7"]
        await heard.until_heard(*others)
        tell(cluster.publishers["agent-n199"], "n199")
        await heard.until("a call of the last", lambda state: calls(state) == [("run-1", 1)])
        cluster.silent.clear()
        await heard.until_heard(*nodes)


async def test_every_way_to_be_missing_is_told(cluster: Cluster) -> None:
    """No agent, one that does not run, one that nobody may reach, one that does not listen: each node's reason is its own."""
    cluster.node("bare")
    for node in ("pending", "crashing", "forbidden", "deaf"):
        cluster.node(node)
    cluster.pod("pending", phase="Pending")
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "name": "agent"}
    cluster.pod("crashing", containerStatuses=[waiting])
    for node in ("forbidden", "deaf"):
        cluster.pod(node)
    cluster.forbidden.add("agent-forbidden")
    cluster.refused |= {"agent-deaf", "agent-crashing"}
    await cluster.agent("fine")
    async with hearing(agents(cluster)) as heard:
        await heard.until_heard("fine")
        await heard.until_missed("bare", "no agent on node bare")
        await heard.until_missed("pending", "agent csitrace/agent-pending on pending is Pending")
        forbidden = await heard.until_missed(
            "forbidden",
            "may not port-forward to pod csitrace/agent-forbidden: "
            "get and create on pods/portforward are needed in namespace csitrace",
        )
        assert forbidden.denied
        await heard.until_missed(
            "deaf",
            "agent csitrace/agent-deaf on deaf: cannot connect to port 9779: failed to connect: connection refused",
        )
        await heard.until_missed("crashing", "; its container is in CrashLoopBackOff")


async def test_nodes_and_agents_come_and_go(cluster: Cluster) -> None:
    """Without any agents that is said once, of all nodes. A node that gets its agent is heard, and one that does not is missed;
    when the pod is replaced, the new one is heard; when it is deleted, the node is missed."""
    for node in ("n1", "n2"):
        cluster.node(node)
    async with hearing(agents(cluster)) as heard:
        await heard.until_missed(ALL_NODES, "no agents are found")
        assert set(heard.state.sources) == {(Witness.KERNEL, ALL_NODES)}
        await cluster.agent("n1", name="first")
        await heard.until_missed("n2", "no agent on node n2")
        await heard.until_heard("n1")
        cluster.delete("pods", "first", "csitrace")
        await heard.until_missed("n1", "no agent on node n1")
        await cluster.agent("n1", name="second")
        await heard.until("second", lambda _: "csitrace/second" in detail(heard.kernel("n1")))


async def test_an_outdated_agent_is_heard_and_named_as_such(cluster: Cluster) -> None:
    """What it tells counts; that it is older stands with how it is heard."""
    await cluster.agent("n1", version="0.0.1")
    async with hearing(agents(cluster)) as heard:
        await heard.until_heard("n1")
        assert "csitrace 0.0.1, older than this one" in detail(heard.kernel("n1"))


async def test_who_may_not_look_for_agents_is_told_once_for_all_nodes(cluster: Cluster) -> None:
    """Neither pods nor nodes may be listed: there is no node to name, and a reason all the same. One who may look into the
    agents' namespace alone hears them."""
    await cluster.agent("n1")
    cluster.refusals |= {"pods": 403, "nodes": 403, "pods/csitrace": 403}
    async with hearing(agents(cluster)) as heard:
        refused = await heard.until_missed(
            ALL_NODES, "agents cannot be looked for: may not list and watch pods"
        )
        assert refused.denied
    del cluster.refusals["pods/csitrace"]
    async with hearing(agents(cluster)) as heard:
        await heard.until_heard("n1")


async def test_where_every_node_is_heard_locally_no_agent_is_missed(cluster: Cluster) -> None:
    """On a node that is the whole cluster nothing is said of agents, until another node comes that has none."""
    cluster.node("n1")
    async with hearing(agents(cluster, besides=["n1"])) as heard:
        await cluster.until_watched("pods", "nodes")
        assert not heard.state.sources
        cluster.node("n2")
        await heard.until_missed(ALL_NODES, "no agents are found")


async def test_nobody_is_heard_twice(cluster: Cluster, tmp_path: Path) -> None:
    """A node that is heard locally is not heard through its agent; a driver whose feed was given is passed over there."""
    direct = Publisher(DRIVER, "n1", "run-1")
    direct.publish(call("run-1", "n1"))
    for node in ("n1", "n2"):
        await cluster.agent(node)
    async with driver(tmp_path, direct, f"plugins/{DRIVER}"):
        feed = FeedSource(f"unix://{tmp_path}/plugins/{DRIVER}/csitrace-feed.sock")
        async with hearing(feed, agents(cluster, besides=["n2"], feeds=[feed])) as heard:
            await heard.until("the call", lambda state: calls(state) == [("run-1", 1)])
            await heard.until_heard("n1")
            tell(cluster.publishers["agent-n1"], "n1", "run-1")
            tell(cluster.publishers["agent-n1"], "n1", "run-2", "other.example.com")
            await heard.until("the other driver's call", lambda state: ("run-2", 1) in calls(state))
            assert calls(heard.state) == [("run-1", 1), ("run-2", 1)]
            assert (Witness.KERNEL, "n2") not in heard.state.sources
            assert "agent-n2" not in cluster.forwarded
            assert heard.state.sources[Witness.DRIVER, f"{DRIVER}@n1"].detail.startswith("feed ")


def call(instance: str, node: str, driver_name: str = DRIVER) -> RpcStarted:
    return RpcStarted(
        driver=driver_name,
        instance=instance,
        node_name=node,
        call_id=1,
        method="/csi.v1.Node/NodeStageVolume",
        volume_id="v",
    )


def tell(publisher: Publisher, node: str, instance: str = "run-1", driver_name: str = DRIVER) -> None:
    """A driver comes up on the agent's node and is called."""
    up = SourceUp(witness=Witness.DRIVER, scope=f"{driver_name}@{node}", instance=instance)
    publisher.relay(up, None, Stamp.OBSERVED)
    publisher.relay(call(instance, node, driver_name), None, Stamp.ORIGIN)


def detail(source: Any) -> str:
    return source.detail if source is not None else ""
