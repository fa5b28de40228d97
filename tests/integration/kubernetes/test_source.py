"""The Kubernetes source against a scripted API server, over real HTTP."""

import asyncio
from typing import Any

from csitrace.model.events import (
    ListCompleted,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
)
from csitrace.model.kinds import EVENT, LEASE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, Kind
from csitrace.model.times import parse_rfc3339
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.source import KubernetesSource
from tests.integration.kubernetes.api_server import ApiServer
from tests.integration.kubernetes.listener import listening


def source_of(server: ApiServer, *kinds: Kind, **options: Any) -> KubernetesSource:
    return KubernetesSource(
        Access(server=server.url, namespace="shop", near=True), kinds=kinds or (POD,), **options
    )


async def test_tells_what_is_and_then_what_changes(server: ApiServer) -> None:
    """Existing objects are listed with their creation time, later changes come as added, modified, deleted."""
    server.put("pods", "old")
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        server.put("pods", "new")
        server.put("pods", "old", status={"phase": "Running"})
        server.delete("pods", "new")
        await heard.until(lambda: heard.of(ObjectDeleted))
    kinds = [type(body) for body in heard.bodies]
    assert kinds == [SourceUp, ObjectListed, ListCompleted, ObjectAdded, ObjectModified, ObjectDeleted]
    listed, added = heard.observations[1], heard.observations[3]
    assert (listed.occurred_at, listed.stamp) == (parse_rfc3339("2026-01-02T03:04:05Z"), Stamp.SERVER)
    assert (added.occurred_at, added.stamp) == (None, Stamp.OBSERVED)
    assert heard.of(ListCompleted)[0].count == 1
    assert heard.of(ObjectModified)[0].object.status.phase == "Running"
    assert not heard.of(ObjectDeleted)[0].missed


async def test_event_objects_carry_their_own_time(server: ApiServer) -> None:
    """An Event occurred when its recorder last said it, whether listed or watched."""
    server.put("events", "one", lastTimestamp="2026-01-02T04:00:00Z")
    async with listening(source_of(server, EVENT)) as heard:
        await heard.until_listed("Event")
        server.put("events", "two", lastTimestamp="2026-01-02T05:00:00Z")
        await heard.until(lambda: heard.of(ObjectAdded))
    times = [item.occurred_at for item in heard.observations if item.stamp is Stamp.SERVER]
    assert times == [parse_rfc3339("2026-01-02T04:00:00Z"), parse_rfc3339("2026-01-02T05:00:00Z")]


async def test_pages_are_followed(server: ApiServer) -> None:
    """A list longer than a page arrives whole and once."""
    for number in range(1203):
        server.put("pods", f"p{number:04}")
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
    assert heard.names == server.names("pods")
    assert len(heard.of(ObjectListed)) == 1203


async def test_page_that_expired_restarts_the_list() -> None:
    """410 in the middle of paging lists everything in one answer; nothing is told twice."""
    async with ApiServer(streaming=False) as server:
        server.expire_page = 2
        for number in range(1203):
            server.put("pods", f"p{number:04}")
        async with listening(source_of(server)) as heard:
            await heard.until_listed("Pod")
        assert heard.names == server.names("pods")
        assert len(heard.of(ObjectListed)) == 1203
        assert not heard.of(SourceGap)


async def test_compaction_finds_deletions(server: ApiServer) -> None:
    """After a 410 in the watch: a gap, the list again, what vanished as missed deletion, what changed as modification."""
    server.put("pods", "gone")
    server.put("pods", "stays")
    server.put("pods", "renewed")
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        first = {obj.uid for obj in heard.objects.values() if obj.name == "renewed"}
        server.refusals["watch pods"] = 503
        server.drop()
        await heard.until(lambda: heard.of(SourceDown))
        server.delete("pods", "gone")
        server.delete("pods", "renewed")
        server.put("pods", "renewed")
        server.put("pods", "stays", status={"phase": "Running"})
        server.compact()
        server.refusals.clear()
        await heard.until(lambda: len(heard.of(ListCompleted)) >= 2 and heard.of(SourceGap))
        await heard.until(
            lambda: heard.names == {"shop/stays", "shop/renewed"} and len(heard.of(ObjectDeleted)) == 2
        )
    assert all(body.missed for body in heard.of(ObjectDeleted))
    assert first == {body.object.uid for body in heard.of(ObjectDeleted) if body.object.name == "renewed"}
    assert [body.object.name for body in heard.of(ObjectModified)] == ["stays"]
    assert heard.of(SourceGap)[0].scope == "Pod"


async def test_expired_position_is_never_used_again(server: ApiServer) -> None:
    """After 410 the next watch starts from what the new list says, not from the resourceVersion that was refused."""
    server.put("pods", "one")
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        refused = heard.of(ListCompleted)[0].resource_version
        server.put("persistentvolumes", "other")
        server.compact()
        server.drop()
        await heard.until(lambda: len(heard.of(ListCompleted)) == 2)
    positions = [r.query.get("resourceVersion") for r, _ in server.requests if "watch" in r.query]
    assert positions.count(refused) == 1 if server.streaming else 2


async def test_ended_watch_continues_where_it_stood(server: ApiServer) -> None:
    """A watch that the server ends is no loss: no gap, no new list, not even a word, and nothing is missed."""
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        server.drop()
        server.put("pods", "meanwhile")
        await heard.until(lambda: heard.of(ObjectAdded))
    assert [type(body) for body in heard.bodies] == [SourceUp, ListCompleted, ObjectAdded]


async def test_bookmark_moves_the_position(server: ApiServer) -> None:
    """A quiet kind keeps up through bookmarks, so that compaction does not cost it a new list."""
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        await server.until_watched("pods")
        for number in range(5):
            server.put("persistentvolumes", f"pv{number}")
        server.bookmark("pods")
        server.compact()
        server.put("pods", "sign")
        await heard.until(lambda: heard.of(ObjectAdded))
        server.delete("pods", "sign")
        await heard.until(lambda: heard.of(ObjectDeleted))
        server.drop()
        server.put("pods", "again")
        await heard.until(lambda: "shop/again" in heard.names)
    assert not heard.of(SourceGap)


async def test_missing_permission_silences_one_kind(server: ApiServer) -> None:
    """403 for one kind is told as denied, with what may not be done; the others are heard."""
    server.refusals["persistentvolumes"] = 403
    async with listening(source_of(server, PERSISTENT_VOLUME, POD)) as heard:
        await heard.until_listed("Pod")
        await heard.until(lambda: heard.of(SourceDown))
    [down] = heard.of(SourceDown)
    assert (down.scope, down.denied) == ("PersistentVolume", True)
    assert down.reason.startswith("may not list and watch persistentvolumes at the cluster scope")


async def test_missing_api_silences_one_kind(server: ApiServer) -> None:
    """404 says that the server has no such API, and nothing else is disturbed."""
    server.refusals["leases"] = 404
    async with listening(source_of(server, LEASE, POD)) as heard:
        await heard.until_listed("Pod")
        await heard.until(lambda: heard.of(SourceDown))
    [down] = heard.of(SourceDown)
    assert (down.scope, down.denied) == ("Lease", True)
    assert "the server has no leases.coordination.k8s.io" in down.reason


async def test_narrow_permission_falls_back_to_the_namespace(server: ApiServer) -> None:
    """Where the whole cluster may not be read, the context's namespace is, under a scope that says so."""
    server.refusals["pods"] = 403
    server.put("pods", "mine", "shop")
    server.put("pods", "theirs", "bank")
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod/shop")
    assert heard.names == {"shop/mine"}
    assert [(body.scope, body.denied) for body in heard.of(SourceDown)] == [("Pod", True)]
    assert [body.scope for body in heard.of(SourceUp)] == ["Pod/shop"]


async def test_refusal_of_a_server_that_starts_is_not_believed(server: ApiServer) -> None:
    """What was allowed and is refused for a moment, as by servers that just started, is heard again soon, in the same scope."""
    server.put("pods", "theirs", "bank")
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        await server.until_watched("pods")
        server.refusals["pods"] = 403
        server.drop()
        await heard.until(lambda: heard.of(SourceDown))
        server.refusals.clear()
        server.put("pods", "new", "bank")
        await heard.until(lambda: "bank/new" in heard.names)
    assert [body.scope for body in heard.of(SourceUp)] == ["Pod", "Pod"]
    assert not heard.of(ObjectDeleted)


async def test_namespace_alone(server: ApiServer) -> None:
    """With a namespace, its objects alone are followed, and the Events about cluster-scoped objects, which live in `default`."""
    server.put("pods", "mine", "shop")
    server.put("pods", "theirs", "bank")
    server.put("events", "about-a-volume", "default", lastTimestamp="2026-01-02T04:00:00Z")
    async with listening(source_of(server, POD, EVENT, namespace="shop")) as heard:
        await heard.until(lambda: len(heard.of(ListCompleted)) == 3)
    assert {body.scope for body in heard.of(ListCompleted)} == {"Pod/shop", "Event/shop", "Event/default"}
    assert heard.names == {"shop/mine", "default/about-a-volume"}


async def test_label_selector_is_the_servers_affair(server: ApiServer) -> None:
    """`-l` goes into the requests of the kind it is for."""
    source = source_of(server, POD, PERSISTENT_VOLUME_CLAIM, selectors={"Pod": "app=x"})
    async with listening(source) as heard:
        await heard.until(lambda: len(heard.of(ListCompleted)) == 2)
    selected = {
        r.path.rpartition("/")[2] for r, _ in server.requests if r.query.get("labelSelector") == "app=x"
    }
    assert selected == {"pods"}


async def test_unreadable_event_is_one_gap(server: ApiServer) -> None:
    """Garbage, and an object of an unexpected form, are counted as lost facts; the stream goes on."""
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        await server.until_watched("pods")
        server.send("pods", b"\xff{garbage\n")
        server.send("pods", b'{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"odd","uid":5}}}\n')
        server.put("pods", "fine")
        await heard.until(lambda: heard.of(ObjectAdded))
    gaps = heard.of(SourceGap)
    assert [gap.lost for gap in gaps] == [1, 1]
    assert "Pod odd could not be read" in gaps[1].reason
    assert heard.names == {"shop/fine"}


async def test_unreadable_item_of_a_list_is_not_deleted(server: ApiServer) -> None:
    """An object that cannot be read any more is a gap, not a deletion."""
    server.put("pods", "odd")
    server.put("pods", "fine")
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        server.objects["pods"]["shop/odd"]["spec"] = {"nodeName": 7}
        server.compact()
        server.put("persistentvolumes", "other")
        server.compact()
        server.drop()
        await heard.until(lambda: len(heard.of(ListCompleted)) == 2)
    assert not heard.of(ObjectDeleted)
    assert any("shop/odd" in gap.reason for gap in heard.of(SourceGap))


async def test_refused_token_is_renewed_once(server: ApiServer) -> None:
    """A 401 has fresh credentials fetched, once for all kinds together, and no fact is lost."""
    server.tokens = {"fresh"}
    renewals: list[str] = []

    async def renew() -> Access:
        renewals.append("renewed")
        return Access(server=server.url, authorization="Bearer fresh")

    source = KubernetesSource(
        Access(server=server.url, authorization="Bearer stale"),
        kinds=(POD, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM),
        renew=renew,
    )
    async with listening(source) as heard:
        await heard.until(lambda: len(heard.of(ListCompleted)) == 3)
    assert renewals == ["renewed"]
    assert not heard.of(SourceDown)


async def test_refused_credentials_are_denied_without_showing_them(server: ApiServer) -> None:
    """Credentials that stay refused silence the kind; the token is in no fact."""
    server.tokens = {"right"}
    source = KubernetesSource(Access(server=server.url, authorization="Bearer sesame"), kinds=(POD,))
    async with listening(source) as heard:
        await heard.until(lambda: heard.of(SourceDown))
    [down] = heard.of(SourceDown)
    assert down.denied
    assert "credentials" in down.reason
    assert "sesame" not in repr(heard.bodies)


async def test_overloaded_server_is_not_hammered(server: ApiServer) -> None:
    """429 with Retry-After is down for now, and asked again no sooner than the server says."""
    server.refusals["pods"] = 429
    server.retry_after = "1"
    async with listening(source_of(server)) as heard:
        await heard.until(lambda: heard.of(SourceDown))
        server.refusals.clear()
        await heard.until_listed("Pod")
    asked_at = [at for request, at in server.requests if request.path.endswith("pods")]
    assert asked_at[1] - asked_at[0] >= 1
    [down] = heard.of(SourceDown)
    assert not down.denied
    assert "429" in down.reason


async def test_killed_server_is_noticed_and_found_again(server: ApiServer) -> None:
    """A server that dies is down at once for every scope; when it is back, the watch goes on without loss."""
    server.put("pods", "before")
    async with listening(source_of(server, POD, PERSISTENT_VOLUME)) as heard:
        await heard.until(lambda: len(heard.of(ListCompleted)) == 2)
        await server.stop()
        await heard.until(lambda: len(heard.of(SourceDown)) == 2)
        server.put("pods", "during")
        await server.start()
        await heard.until(lambda: "shop/during" in heard.names)
        await heard.until(lambda: len(heard.of(SourceUp)) == 4)
    assert all("connection refused" in body.reason for body in heard.of(SourceDown))
    assert not any(body.denied for body in heard.of(SourceDown))
    assert not heard.of(SourceGap)


async def test_hung_server_is_noticed(server: ApiServer) -> None:
    """A server that accepts and says nothing is found out by the probe, in silence of its watches; then it comes back."""
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        server.hung.clear()
        await heard.until(lambda: heard.of(SourceDown))
        server.hung.set()
        await heard.until(lambda: len(heard.of(SourceUp)) == 2)
        server.put("pods", "after")
        await heard.until(lambda: heard.of(ObjectAdded))
    assert "gave no answer" in heard.of(SourceDown)[0].reason


async def test_absent_server_is_waited_for() -> None:
    """A server that is not there yet is told as down and followed when it comes."""
    server = ApiServer()
    await server.start()
    await server.stop()
    async with listening(source_of(server)) as heard:
        await heard.until(lambda: heard.of(SourceDown))
        async with server:
            await heard.until_listed("Pod")


async def test_closing_ends_every_connection(server: ApiServer) -> None:
    """A closed iterator leaves no watch behind at the server, and no task here."""
    before = asyncio.all_tasks()
    iterator = source_of(server, POD, PERSISTENT_VOLUME).observe()
    async for observation in iterator:
        if isinstance(observation.body, ListCompleted):
            break
    await iterator.aclose()
    names = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not {name for name in names if name.startswith("reflector")}


async def test_position_that_a_server_chokes_on_is_given_up(server: ApiServer) -> None:
    """A watch refused three times from one position is replaced by a list: a server restored from a backup, say."""
    async with listening(source_of(server)) as heard:
        await heard.until_listed("Pod")
        server.refusals["watch pods"] = 500
        server.streaming = False
        server.drop()
        await heard.until(lambda: heard.of(SourceGap))
        server.refusals.clear()
        await heard.until(lambda: len(heard.of(ListCompleted)) == 2)
