"""An informer's cache converges to the server's state, and tells every change on the way, whatever is lost in between."""

import asyncio

import aiohttp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csitrace.lab.apiserver.resources import NODES
from csitrace.lab.apiserver.server import ApiServer
from csitrace.lab.apiserver.store import Store
from csitrace.lab.client import Client, Endpoint
from csitrace.lab.informer import Informer
from csitrace.lab.status import Object, StatusError

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["create", "update", "delete", "compact", "read"]), st.sampled_from("abc")),
    max_size=25,
)


def node(name: str, value: int) -> Object:
    return {"metadata": {"name": name}, "spec": {"value": value}}


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_it_converges(actions: list[tuple[str, str]]) -> None:
    """After any run of changes and compactions the cache is what the server has, and what was told adds up to it."""
    asyncio.run(converge(actions))


async def converge(actions: list[tuple[str, str]]) -> None:
    store, told = Store(), {}
    async with ApiServer(store, "t").listening() as url, aiohttp.ClientSession() as session:
        informer = Informer(Client(session, Endpoint(url, "t"), "test"), NODES)

        changed = asyncio.Event()

        def tell(obj: Object, deleted: bool) -> None:
            name = obj["metadata"]["name"]
            changed.set()
            told.pop(name, None) if deleted else told.update({name: obj})

        informer.on_change(tell)
        running = asyncio.create_task(informer.run())
        await informer.wait_synced()
        for turn, (action, name) in enumerate(actions):
            if action == "compact":
                store.compact()
            elif action == "read":
                await asyncio.sleep(0)
            else:
                try:
                    getattr(store, action)(NODES, node(name, turn))
                except StatusError:
                    continue
        async with asyncio.timeout(10):
            while sorted_by_name(informer.all()) != store.objects(NODES):
                await changed.wait()
                changed.clear()
        assert sorted_by_name(list(told.values())) == store.objects(NODES)
        running.cancel()


def sorted_by_name(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=lambda obj: str(obj["metadata"]["name"]))
