"""Whatever happens between a reflector and its server, in the end it knows what the server knows, and told every deletion."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from csitrace.model.events import ObjectDeleted
from csitrace.model.kinds import POD
from csitrace.sources.backoff import Backoff
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.connection import Connection
from csitrace.sources.kubernetes.liveness import Liveness
from csitrace.sources.kubernetes.reflector import Reflector
from tests.integration.kubernetes.api_server import ApiServer
from tests.integration.kubernetes.listener import Listener

NAMES = ("a", "b", "c")

Step = Callable[[ApiServer], None]


def put(name: str) -> Step:
    return lambda server: void(server.put("pods", name))


def delete(name: str) -> Step:
    return lambda server: void(f"shop/{name}" in server.names("pods") and server.delete("pods", name))


def void(_: object) -> None:
    """Steps return nothing."""


STEPS: dict[str, Step | None] = {
    **{f"put {name}": put(name) for name in NAMES},
    **{f"delete {name}": delete(name) for name in NAMES},
    "drop": ApiServer.drop,
    "compact": ApiServer.compact,
    "bookmark": lambda server: server.bookmark("pods"),
    "garbage": lambda server: server.send("pods", b"{garbage\n"),
    "other change": lambda server: void(server.put("persistentvolumes", "other")),
    "refuse watches": lambda server: server.refusals.update({"watch pods": 503}),
    "refuse lists": lambda server: server.refusals.update({"list pods": 500}),
    "accept": lambda server: server.refusals.clear(),
    "let it hear": None,
}


async def play(steps: list[str], streaming: bool) -> None:
    listener = Listener()
    async with ApiServer(streaming=streaming) as server, Connection(Access(server=server.url)) as connection:
        liveness = Liveness(connection, backoff=Backoff(0.001, 0.01))
        reflector = Reflector(POD, connection, liveness, listener.hear, backoff=Backoff(0.001, 0.01))
        running = [asyncio.create_task(liveness.run()), asyncio.create_task(reflector.run())]
        uids: set[str] = set()
        try:
            for step in steps:
                action = STEPS[step]
                if action is not None:
                    action(server)
                elif not server.refusals:
                    await listener.until(lambda: listener.names == server.names("pods"), "the server's state")
                uids |= set(listener.objects)
            server.refusals.clear()
            server.put("pods", "last")
            expected = server.versions("pods")
            await listener.until(lambda: versions(listener) == expected, f"{expected}")
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    deletions = Counter(body.object.uid for body in listener.of(ObjectDeleted))
    assert set(deletions.values()) <= {1}, "a deletion was told twice"
    assert uids - set(listener.objects) <= set(deletions), "an object vanished without a word"


def versions(listener: Listener) -> dict[str, str]:
    return {obj.full_name: obj.metadata.resource_version for obj in listener.objects.values()}


@settings(max_examples=40)
@given(steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=25), streaming=st.booleans())
def test_converges_to_the_servers_state(steps: list[str], streaming: bool) -> None:
    """Any sequence of changes, disconnects, refusals, garbage and compactions ends in the server's state, deletions told once."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(play(steps, streaming))
