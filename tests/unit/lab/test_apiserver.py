"""The API server over HTTP behaves as kube-apiserver was seen to behave."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from csitrace.lab.apiserver.resources import (
    EVENTS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STORAGE_CLASSES,
)
from csitrace.lab.apiserver.server import ApiServer
from csitrace.lab.apiserver.store import Store
from csitrace.lab.client import Client, Endpoint
from csitrace.lab.status import Object, StatusError

TOKEN = "a-token"
PODS_PATH = PODS.path("demo")


class Api:
    """A client that speaks raw HTTP, and one that speaks objects; `store` for what only the server can do."""

    def __init__(self, store: Store, url: str, session: aiohttp.ClientSession) -> None:
        self.store = store
        self.url = url
        self.session = session
        self.client = Client(session, Endpoint(url, TOKEN), "test")

    async def get(self, path: str, **query: str) -> tuple[int, Object]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self.session.get(self.url + path, params=query, headers=headers) as response:
            return response.status, await response.json()

    async def pod(self, name: str, **spec: Any) -> Object:
        return await self.client.create(PODS, {"metadata": {"name": name, "namespace": "demo"}, "spec": spec})

    async def watch(self, count: int, **query: str) -> list[tuple[str, Object]]:
        """The first `count` events of a watch on all pods."""
        found = []
        async for event in self.client.watch(PODS, **query):
            found.append(event)
            if len(found) == count:
                break
        return found


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    store = Store()
    async with (
        ApiServer(store, TOKEN, bookmark_seconds=0.01).listening() as url,
        aiohttp.ClientSession() as session,
    ):
        made = Api(store, url, session)
        await made.client.create(NAMESPACES, {"metadata": {"name": "demo"}})
        yield made


def names(events: list[tuple[str, Object]]) -> list[tuple[str, str]]:
    return [(kind, obj["metadata"].get("name", "")) for kind, obj in events]


async def test_no_token_no_answer(api: Api) -> None:
    """Without the right bearer token everything but the health check is 401."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer é"}):
        async with api.session.get(api.url + PODS_PATH, headers=headers) as response:
            assert (response.status, (await response.json())["reason"]) == (401, "Unauthorized")
    async with api.session.get(api.url + "/livez") as response:
        assert response.status == 200


async def test_creation_stamps(api: Api) -> None:
    """uid, creationTimestamp, resourceVersion, defaults and an empty status come from the server."""
    pod = await api.pod("a")
    assert pod["metadata"]["uid"]
    assert pod["metadata"]["creationTimestamp"].endswith("Z")
    assert int(pod["metadata"]["resourceVersion"]) == api.store.revision
    assert pod["status"]["phase"] == "Pending"
    generated = await api.client.create(PODS, {"metadata": {"generateName": "b-", "namespace": "demo"}})
    assert generated["metadata"]["name"].startswith("b-")


async def test_claims_are_admitted(api: Api) -> None:
    """A claim gets its protection finalizer, the phase Pending and the newest default class."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    await api.client.create(
        STORAGE_CLASSES, {"metadata": {"name": "fast", "annotations": default}, "provisioner": "d"}
    )
    claim = await api.client.create(
        PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c", "namespace": "demo"}}
    )
    assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert claim["status"] == {"phase": "Pending"}
    assert claim["spec"]["storageClassName"] == "fast"


async def test_errors_are_status_objects(api: Api) -> None:
    """What is refused says so in metav1.Status, with reason and code."""
    assert (await api.get(PODS.path("demo", "x")))[1]["message"] == 'pods "x" not found'
    assert (await api.get("/api/v1/widgets"))[0] == 404
    assert (await api.get(PODS_PATH, fieldSelector="spec.x=1"))[1]["reason"] == "BadRequest"
    assert (await api.get(PODS_PATH, limit="many"))[1]["reason"] == "BadRequest"
    with pytest.raises(StatusError, match='namespaces "nowhere" not found'):
        await api.client.create(PODS, {"metadata": {"name": "a", "namespace": "nowhere"}})
    await api.pod("a")
    with pytest.raises(StatusError, match='pods "a" already exists'):
        await api.pod("a")


async def test_pages_belong_to_one_snapshot(api: Api) -> None:
    """Writes between two pages show in neither; the pages together are the list as of the first."""
    for name in "abcde":
        await api.pod(name)
    _, first = await api.get(PODS_PATH, limit="2")
    await api.pod("bb")
    await api.client.delete(PODS, {"metadata": {"name": "d", "namespace": "demo"}})
    _, second = await api.get(PODS_PATH, limit="2", **{"continue": first["metadata"]["continue"]})
    _, third = await api.get(PODS_PATH, limit="2", **{"continue": second["metadata"]["continue"]})
    pages = (first, second, third)
    assert [pod["metadata"]["name"] for page in pages for pod in page["items"]] == list("abcde")
    assert len({page["metadata"]["resourceVersion"] for page in pages}) == 1
    assert [page["metadata"].get("remainingItemCount") for page in pages] == [3, 1, None]
    assert "continue" not in third["metadata"]


async def test_an_expired_page_is_410(api: Api) -> None:
    """A continue token of a compacted snapshot is refused as Expired; a foreign one as a bad request."""
    for name in "abc":
        await api.pod(name)
    _, page = await api.get(PODS_PATH, limit="1")
    await api.pod("d")
    api.store.compact()
    code, status = await api.get(PODS_PATH, limit="1", **{"continue": page["metadata"]["continue"]})
    assert (code, status["reason"]) == (410, "Expired")
    assert (await api.get(PODS_PATH, **{"continue": "rubbish"}))[0] == 400


async def test_watch_goes_on_from_a_version(api: Api) -> None:
    """All changes after the version, in order, and none before it."""
    await api.pod("a")
    version = (await api.pod("b"))["metadata"]["resourceVersion"]
    await api.client.patch(
        PODS, {"metadata": {"name": "a", "namespace": "demo"}}, {"metadata": {"labels": {"x": "1"}}}
    )
    await api.client.delete(PODS, {"metadata": {"name": "b", "namespace": "demo"}})
    events = await api.watch(2, resourceVersion=version)
    assert names(events) == [("MODIFIED", "a"), ("DELETED", "b")]
    assert int(events[1][1]["metadata"]["resourceVersion"]) == api.store.revision


async def test_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    """Version 0 or none: the present objects as ADDED, then what changes."""
    await api.pod("a")
    watching = asyncio.create_task(api.watch(2))
    await asyncio.wait([watching], timeout=0.01)
    await api.pod("b")
    assert names(await watching) == [("ADDED", "a"), ("ADDED", "b")]


async def test_streaming_list(api: Api) -> None:
    """sendInitialEvents: the objects, then the bookmark that ends them, then the watch, in one stream."""
    await api.pod("a")
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    (added, bookmark) = await api.watch(2, **query)
    assert names([added, bookmark]) == [("ADDED", "a"), ("BOOKMARK", "")]
    assert bookmark[1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert bookmark[1]["metadata"]["resourceVersion"] == str(api.store.revision)
    code, status = await api.get(PODS_PATH, watch="1", sendInitialEvents="true")
    assert (code, status["reason"]) == (422, "Invalid")


async def test_bookmarks_come_to_those_who_allow_them(api: Api) -> None:
    """A quiet watch learns of the revision that others moved on to."""
    version = (await api.pod("a"))["metadata"]["resourceVersion"]
    await api.client.create(NAMESPACES, {"metadata": {"name": "other"}})
    [(kind, bookmark)] = await api.watch(1, resourceVersion=version, allowWatchBookmarks="true")
    assert (kind, bookmark["kind"]) == ("BOOKMARK", "Pod")
    assert bookmark["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_a_watch_from_a_compacted_version_is_told_410(api: Api) -> None:
    """The answer is 200 with one ERROR event that carries Status 410, and the stream ends."""
    version = (await api.pod("a"))["metadata"]["resourceVersion"]
    await api.pod("b")
    api.store.compact()
    with pytest.raises(StatusError, match="too old resource version") as caught:
        await api.watch(1, resourceVersion=version)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


async def test_a_running_watch_that_falls_behind_is_told_410(api: Api) -> None:
    """Compaction beyond a watcher's position ends its watch; nothing is skipped silently."""
    version = (await api.pod("a"))["metadata"]["resourceVersion"]
    watching = asyncio.create_task(api.watch(1, resourceVersion=version))
    await asyncio.wait([watching], timeout=0.05)
    await api.pod("b")
    assert names(await watching) == [("ADDED", "b")]
    api.store.create(PODS, {"metadata": {"name": "c", "namespace": "demo"}})
    behind = asyncio.create_task(api.watch(1, resourceVersion=version))
    api.store.compact()
    with pytest.raises(StatusError, match="too old"):
        await behind


async def test_a_version_of_the_future_is_a_retriable_timeout(api: Api) -> None:
    """As after a restored backup: 504 with the cause by which client-go knows it."""
    code, status = await api.get(PODS_PATH, resourceVersion="999999", resourceVersionMatch="NotOlderThan")
    assert (code, status["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


async def test_a_watch_sees_its_selection_only(api: Api) -> None:
    """An object that enters the selection is ADDED, and one that leaves it DELETED, whatever happened to it."""
    pod = await api.pod("a")
    await api.pod("b")
    query = {"resourceVersion": str(api.store.revision), "fieldSelector": "spec.nodeName=n1"}
    await api.client.bind(pod, "n1")
    await api.client.patch(PODS, pod, {"spec": {"nodeName": "n2"}})
    assert names(await api.watch(2, **query)) == [("ADDED", "a"), ("DELETED", "a")]


async def test_events_by_what_they_are_about(api: Api) -> None:
    """involvedObject.* selects Events."""
    for name in ("a", "b"):
        event = {
            "metadata": {"generateName": "e", "namespace": "demo"},
            "involvedObject": {"kind": "Pod", "name": name},
        }
        await api.client.create(EVENTS, event)
    page = await api.client.list_page(EVENTS, fieldSelector="involvedObject.name=b,involvedObject.kind=Pod")
    assert [event["involvedObject"]["name"] for event in page["items"]] == ["b"]


async def test_a_watch_ends_when_its_time_is_over(api: Api) -> None:
    """timeoutSeconds ends the stream in good order."""
    assert [event async for event in api.client.watch(PODS, timeoutSeconds="1", resourceVersion="0")] == []


async def test_a_stale_write_is_a_conflict(api: Api) -> None:
    """Who writes over a version that he has not read is refused, and changes nothing."""
    stale = await api.pod("a")
    await api.client.patch(PODS, stale, {"metadata": {"labels": {"x": "1"}}})
    with pytest.raises(StatusError, match="the object has been modified") as caught:
        await api.client.update(PODS, stale)
    assert caught.value.reason == "Conflict"
    assert (await api.client.get(PODS, "a", "demo"))["metadata"]["labels"] == {"x": "1"}


async def test_status_has_its_own_door(api: Api) -> None:
    """The main resource cannot write the status, nor the status subresource the spec."""
    pod = await api.pod("a", nodeName="n1")
    written = await api.client.update(PODS, pod | {"status": {"phase": "Running"}})
    assert written["status"]["phase"] == "Pending"
    written = await api.client.update(
        PODS, written | {"status": {"phase": "Running"}, "spec": {"nodeName": "n2"}}, "status"
    )
    assert (written["status"]["phase"], written["spec"]["nodeName"]) == ("Running", "n1")


async def test_finalizers_hold_an_object(api: Api) -> None:
    """Deleted with finalizers: marked, still there, and gone with the last of them."""
    claim = await api.client.create(
        PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c", "namespace": "demo"}}
    )
    await api.client.delete(PERSISTENT_VOLUME_CLAIMS, claim)
    marked = await api.client.get(PERSISTENT_VOLUME_CLAIMS, "c", "demo")
    assert "deletionTimestamp" in marked["metadata"]
    await api.client.patch(PERSISTENT_VOLUME_CLAIMS, claim, {"metadata": {"finalizers": None}})
    assert await api.client.find(PERSISTENT_VOLUME_CLAIMS, "c", "demo") is None


async def test_a_pod_on_a_node_ends_gracefully(api: Api) -> None:
    """Deletion gives kubelet the grace period; kubelet's own deletion with grace 0 ends it, seen as a change and a deletion."""
    pod = await api.pod("a", nodeName="n1", terminationGracePeriodSeconds=5)
    version = str(api.store.revision)
    await api.client.delete(PODS, pod)
    assert (await api.client.get(PODS, "a", "demo"))["metadata"]["deletionGracePeriodSeconds"] == 5
    await api.client.delete(PODS, pod, grace_seconds=0)
    events = await api.watch(3, resourceVersion=version)
    assert names(events) == [("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_pod_without_a_node_is_gone_at_once(api: Api) -> None:
    """There is nobody who would have to stop it."""
    await api.client.delete(PODS, await api.pod("a"))
    assert await api.client.find(PODS, "a", "demo") is None


async def test_deletion_is_of_that_very_object(api: Api) -> None:
    """A uid precondition protects a successor of the same name."""
    first = await api.pod("a")
    await api.client.delete(PODS, first)
    second = await api.pod("a")
    await api.client.delete(PODS, first)
    assert (await api.client.get(PODS, "a", "demo"))["metadata"]["uid"] == second["metadata"]["uid"]


async def test_binding_happens_once(api: Api) -> None:
    """The scheduler's verdict sets the node and PodScheduled; a second one is a conflict."""
    pod = await api.pod("a")
    await api.client.bind(pod, "n1")
    bound = await api.client.get(PODS, "a", "demo")
    assert bound["spec"]["nodeName"] == "n1"
    assert [c["status"] for c in bound["status"]["conditions"] if c["type"] == "PodScheduled"] == ["True"]
    with pytest.raises(StatusError, match="already assigned"):
        await api.client.bind(pod, "n2")


async def test_discovery_names_what_is_served(api: Api) -> None:
    """kubectl's way in: versions, groups and resources."""
    assert (await api.get("/version"))[1]["major"] == "1"
    groups = (await api.get("/apis"))[1]["groups"]
    assert [group["name"] for group in groups] == ["apps", "coordination.k8s.io", "storage.k8s.io"]
    listed = (await api.get("/api/v1"))[1]["resources"]
    assert {"pods", "pods/status", "nodes"} <= {resource["name"] for resource in listed}
