"""The Kubernetes source on a real API server: it says what kubectl says, and what happens to the server."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from csitrace.model.events import (
    ListCompleted,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    SourceDown,
    SourceGap,
    SourceUp,
)
from csitrace.model.kinds import KINDS, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from csitrace.sources.kubernetes.config import ConnectionOptions, load_access
from csitrace.sources.kubernetes.source import KubernetesSource
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Kubectl
from tests.integration.kubernetes.listener import Listener, listening

SCOPES = {kind.name for kind in KINDS}


def claim(name: str) -> dict[str, Any]:
    """A claim that stays Pending: its class waits for a pod."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "csitrace-wait",
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }


async def all_listed(heard: Listener) -> None:
    await heard.until(lambda: {body.scope for body in heard.of(ListCompleted)} == SCOPES, "every list")


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "paged"])
async def test_list_equals_kubectls(kubectl: Kubectl, kubeconfig: Path, streaming: bool) -> None:
    """Every kind is heard, and the objects at rest are those that kubectl lists, in the same versions."""
    source = KubernetesSource(
        await load_access(ConnectionOptions(kubeconfig=str(kubeconfig))), streaming=streaming
    )
    kubectl.apply(claim("one"))
    async with listening(source) as heard:
        await all_listed(heard)
        assert not heard.of(SourceDown)
        for kind in KINDS:
            listed = await asyncio.to_thread(
                kubectl.get, f"{kind.resource}.{kind.group}".rstrip("."), "--all-namespaces"
            )
            expected = {
                item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in listed["items"]
            }
            await heard.until(
                lambda kind=kind, expected=expected: newer(heard, kind.name, expected), kind.name
            )
    assert {body.object.name for body in heard.of(ObjectListed)} >= {"one"}
    assert not heard.of(SourceGap)


def newer(heard: Listener, kind: str, expected: dict[str, str]) -> bool:
    """All that kubectl saw was told in that version (nodes, leases and events move on meanwhile)."""
    told = {
        (body.object.uid, body.object.metadata.resource_version)
        for body in heard.bodies
        if isinstance(body, ObjectListed | ObjectAdded | ObjectModified) and body.object.kind == kind
    }
    return set(expected.items()) <= told


async def test_changes_are_followed(kubectl: Kubectl, kubeconfig: Path) -> None:
    """A claim's creation, change and deletion are told in order, once each, with the fields that are kept."""
    options = ConnectionOptions(kubeconfig=str(kubeconfig), namespace=kubectl.namespace)
    source = await KubernetesSource.open(options, kinds=(PERSISTENT_VOLUME_CLAIM,), all_namespaces=False)
    scope = f"PersistentVolumeClaim/{kubectl.namespace}"
    async with listening(source) as heard:
        await heard.until_listed(scope)
        await asyncio.to_thread(kubectl.apply, claim("one"))
        await heard.until(lambda: heard.of(ObjectAdded))
        node = "volume.kubernetes.io/selected-node=nowhere"
        await asyncio.to_thread(kubectl, "annotate", "persistentvolumeclaim/one", node)
        await heard.until(
            lambda: any(
                body.object.metadata.annotations.selected_node == "nowhere"
                for body in heard.of(ObjectModified)
            )
        )
        await asyncio.to_thread(kubectl, "delete", "persistentvolumeclaim/one")
        await heard.until(lambda: heard.of(ObjectDeleted))
    assert [body.scope for body in heard.of(SourceUp)] == [scope]
    assert len(heard.of(ObjectAdded)) == 1
    [deleted] = heard.of(ObjectDeleted)
    assert not deleted.missed
    assert deleted.object.is_terminating


async def test_narrow_permissions(kubectl: Kubectl, kubeconfig: Path) -> None:
    """An account that may read one namespace's pods hears those; what it may not read is denied, with the reason."""
    namespace = kubectl.namespace
    kubectl("create", "role", "reader", "--verb=get,list,watch", "--resource=pods")
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:default")
    account = f"system:serviceaccount:{namespace}:default"
    options = ConnectionOptions(kubeconfig=str(kubeconfig), namespace=namespace, as_user=account)
    source = await KubernetesSource.open(options, kinds=(POD, PERSISTENT_VOLUME))
    async with listening(source) as heard:
        await heard.until_listed(f"Pod/{namespace}")
        await heard.until(lambda: len(heard.of(SourceDown)) == 2)
    assert {(body.scope, body.denied) for body in heard.of(SourceDown)} == {
        ("Pod", True),
        ("PersistentVolume", True),
    }
    assert any(account in body.reason for body in heard.of(SourceDown))


async def test_service_account_token(kubectl: Kubectl, kubeconfig: Path, tmp_path: Path) -> None:
    """A bearer token alone is enough to be known by; a wrong one is refused as a credential, not as a permission."""
    token = kubectl("create", "token", "default").strip()
    for name, value in (("right", token), ("wrong", "nonsense")):
        copy = shutil.copy(kubeconfig, tmp_path / name)
        with_copy = Kubectl(kubectl.program, copy, kubectl.namespace)
        with_copy("config", "set-credentials", "account", f"--token={value}")
        source = await KubernetesSource.open(
            ConnectionOptions(kubeconfig=str(copy), user="account"), kinds=(PERSISTENT_VOLUME,)
        )
        async with listening(source) as heard:
            await heard.until(lambda heard=heard: heard.of(SourceDown))
        [down] = heard.of(SourceDown)
        assert down.denied
        expected = (
            "may not list and watch persistentvolumes"
            if name == "right"
            else "does not accept the credentials"
        )
        assert expected in down.reason


@pytest.mark.parametrize("fate", ["killed", "hung"])
async def test_api_server_that_goes_and_comes_back(
    cluster: Cluster, kubeconfig: Path, kubectl: Kubectl, fate: str
) -> None:
    """Every scope is down while the API server is gone or frozen, and up when it is back; what happened is caught up with."""
    source = await KubernetesSource.open(ConnectionOptions(kubeconfig=str(kubeconfig)))
    loop = asyncio.get_running_loop()
    async with listening(source) as heard:
        await all_listed(heard)
        went_at = loop.time()
        await asyncio.to_thread(cluster.kill if fate == "killed" else cluster.suspend, "kube-apiserver")
        await heard.until(lambda: {body.scope for body in heard.of(SourceDown)} == SCOPES, "silence of all")
        print(f"{fate}: noticed after {loop.time() - went_at:.2f} s")
        assert not any(body.denied for body in heard.of(SourceDown))
        listed = len(heard.of(ListCompleted))
        back_at = loop.time()
        if fate == "killed":
            await asyncio.to_thread(cluster.restart, "kube-apiserver")
        else:
            cluster.resume("kube-apiserver")
        await heard.until(lambda: len(heard.of(ListCompleted)) >= listed + len(SCOPES), "all again")
        print(f"{fate}: heard again after {loop.time() - back_at:.2f} s")
        await asyncio.to_thread(kubectl.apply, claim("after"))
        await heard.until(lambda: f"{kubectl.namespace}/after" in heard.names)
