"""Volumes that got stuck before csitrace came: `explain` names the blocking step, and every time that it reads from the API
server is within a second of what the server's own audit log says.

``CSITRACE_TEST_STUCK_SECONDS``: for how long they are stuck before anybody looks (default 60; 600 for the ten minutes of a page).
"""

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from csitrace.model.times import SECOND, format_rfc3339, parse_rfc3339
from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.controlplane import audit_log
from tests.cluster.harness.kubectl import Kubectl

STUCK_S = float(os.environ.get("CSITRACE_TEST_STUCK_SECONDS", "60"))

PRECISION_NS = SECOND
"""Of the API server's times."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is refused, where that blocks the volume, and what shows that it got there."""

    fault: str
    step: str
    holder: str
    last_steps: tuple[str, ...]  # the one before, or those that may be: since then it is stuck
    arrived: str  # kubectl's condition of the claim or the pod once it is refused


CASES = (
    Case("CreateVolume", "6", "external-provisioner → driver", ("5",), "ProvisioningFailed"),
    Case("ControllerPublishVolume", "13", "external-attacher → driver", ("12",), "FailedAttachVolume"),
    Case("NodeStageVolume", "16a", "kubelet", ("14", "15"), "FailedMount"),
)

Change = dict[str, Any]
Chosen = Callable[[Change], bool]


def _is(verb: str, resource: str, agent: str = "", subresource: str = "") -> Chosen:
    def chosen(change: Change) -> bool:
        ref = change["objectRef"]
        return (
            change["verb"] in verb.split("|")
            and (ref["resource"], ref.get("subresource", "")) == (resource, subresource)
            and change.get("userAgent", "").startswith(agent)
        )

    return chosen


EXACT: dict[str, tuple[str, Chosen]] = {
    "7": ("pv", _is("create", "persistentvolumes", "csi-provisioner")),
    "9": ("pod", _is("create", "pods", "kube-scheduler", "binding")),
    "11": ("attachment", _is("create", "volumeattachments", "kube-controller-manager")),
    "12": ("attachment", _is("patch|update", "volumeattachments", "csi-attacher")),
    "14": ("attachment", _is("patch|update", "volumeattachments", "csi-attacher", "status")),
}
"""By step: whose object was changed, and which change it was, the last of its kind."""


@pytest.fixture(scope="module")
def stuck(target: Target) -> Iterator[dict[str, Kubectl]]:
    """By the call that is refused: kubectl in the namespace of a volume that has been stuck for so long."""
    if target.cluster is None:
        pytest.skip(
            "needs the API server's audit log, and CSITRACE_TEST_KUBECONFIG does not tell where that is"
        )
    run = uuid.uuid4().hex[:6]
    places = {case.fault: target.kubectl.within(f"stuck-{run}-{number}") for number, case in enumerate(CASES)}
    try:
        for fault, kubectl in places.items():
            _make(kubectl, fault, target.image)
        asyncio.run(_until_all_refused(places))
        time.sleep(STUCK_S)  # nobody watches: this is what the tests are about
        yield places
    finally:
        for kubectl in places.values():
            kubectl("delete", "pod/user", "pvc/data", "--ignore-not-found", timeout_s=100)
            kubectl("delete", f"namespace/{kubectl.namespace}", "--ignore-not-found", "--wait=false")
            kubectl("delete", f"storageclass/{kubectl.namespace}", "--ignore-not-found")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
async def test_a_volume_that_got_stuck_before_anybody_watched(
    case: Case, stuck: dict[str, Kubectl], cluster: Cluster
) -> None:
    """The blocking step and its holder are named, and no time is more than a second from the audit log's."""
    kubectl = stuck[case.fault]
    code, told = await _explain(kubectl, cluster)
    assert code == 1
    (volume,) = told["volumes"]
    assert (volume["step"], volume["severity"]) == (case.step, "stuck"), volume["verdict"]
    assert volume["holder"].startswith(case.holder)
    steps = {step["step"]: step for step in volume["steps"]}
    names = await asyncio.to_thread(_names, kubectl, volume)
    changes = _changes(cluster, kubectl.namespace)
    compared = _compare(steps, names, changes)
    assert {step for step, *_ in compared} >= _expected(steps)
    wrong = [line for _, line, is_right in compared if not is_right]
    assert not wrong, "\n".join(wrong)
    stuck_for = (parse_rfc3339(told["time"]) or 0) - (parse_rfc3339(volume["since"]) or 0)
    assert stuck_for >= (STUCK_S - 1) * SECOND
    assert volume["since"] in {steps[step_id]["time"] for step_id in case.last_steps}
    _assert_first_steps(steps, changes)


@pytest.mark.timeout(240, func_only=True)
async def test_an_attacher_that_died_before_anybody_watched(
    kubectl: Kubectl, image: objects.Image, cluster: Cluster
) -> None:
    """The step that waits for it says who was elected and does not renew its Lease, and since when, as the Lease itself does."""
    await asyncio.to_thread(cluster.kill, "csi-attacher")
    await asyncio.to_thread(kubectl.apply, objects.claim("data", storage.IMMEDIATE_CLASS))
    await asyncio.to_thread(kubectl.apply, objects.pod("user", image, claims=("data",)))
    async with asyncio.timeout(120):
        while True:
            _, told = await _explain(kubectl, cluster)
            (volume,) = told["volumes"]
            if volume["holder"] == "external-attacher, which nobody leads":
                break
    assert volume["step"] == "12"
    leases = await asyncio.to_thread(kubectl.get, "leases", "--all-namespaces")
    (lease,) = [
        each["spec"]
        for each in leases["items"]
        if each["metadata"]["name"] == f"external-attacher-leader-{storage.DRIVER_NAME.replace('.', '-')}"
    ]
    said = f"{lease['holderIdentity']} does not renew its Lease since {lease['renewTime'][11:19]}Z"
    assert said in volume["verdict"]


def _make(kubectl: Kubectl, fault: str, image: objects.Image) -> None:
    """A namespace, a class that is called as it, a claim and a pod."""
    kubectl("create", "namespace", kubectl.namespace)
    kubectl.wait("create", "serviceaccount/default")
    kubectl.apply(_class(kubectl.namespace, fault))
    kubectl.apply(objects.claim("data", kubectl.namespace))
    kubectl.apply(objects.pod("user", image, claims=("data",)))


async def _until_all_refused(places: dict[str, Kubectl]) -> None:
    await asyncio.gather(*(_until_refused(places[case.fault], case.arrived) for case in CASES))


def _class(name: str, fault: str) -> dict[str, Any]:
    """Its volumes are refused one call for ever, with an error that is final."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": storage.DRIVER_NAME,
        "volumeBindingMode": "Immediate",
        "parameters": {f"fault.{fault}": "INTERNAL"},
    }


async def _until_refused(kubectl: Kubectl, reason: str) -> None:
    """The refusal is told as an Event: from then on the volume stands where it will stand."""
    program = [
        str(kubectl.program),
        "--kubeconfig",
        str(kubectl.kubeconfig),
        "--namespace",
        kubectl.namespace,
    ]
    watch = await asyncio.create_subprocess_exec(
        *program,
        "get",
        "events",
        "--watch",
        "-o",
        "jsonpath={.reason}{'\\n'}",
        stdout=asyncio.subprocess.PIPE,
    )
    assert watch.stdout is not None
    try:
        async with asyncio.timeout(120):
            while (line := await watch.stdout.readline()).decode().strip() != reason:
                assert line, "kubectl get events --watch ended"
    finally:
        watch.kill()
        await watch.wait()


async def _explain(kubectl: Kubectl, cluster: Cluster) -> tuple[int, dict[str, Any]]:
    """By the API server alone: nobody who could have seen it happen is heard."""
    nowhere = cluster.directory / "nowhere"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "csitrace", "explain", "pvc/data", "-n", kubectl.namespace, "-o", "json",
        f"--kubeconfig={kubectl.kubeconfig}", "--no-agents", f"--kubelet-root={nowhere}", "--node-name=nowhere",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode in (0, 1), err.decode()
    return program.returncode, json.loads(out)


def _names(kubectl: Kubectl, volume: dict[str, Any]) -> dict[str, str]:
    """What the volume's objects are called in the audit log."""
    attachments = kubectl.get("volumeattachments")["items"]
    mine = [va for va in attachments if va["spec"]["source"].get("persistentVolumeName") == volume["pv"]]
    return {
        "pv": volume["pv"],
        "pod": "user",
        "attachment": mine[0]["metadata"]["name"] if volume["pv"] and mine else "",
    }


def _changes(cluster: Cluster, namespace: str) -> list[Change]:
    """The changes that were made in the namespace, and to what is in none, in the order in which they are written down."""
    path: Path = audit_log(cluster.directory)
    changes = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        change
        for change in changes
        if change.get("responseStatus", {}).get("code", 500) < 300
        and change["objectRef"].get("namespace", namespace) == namespace
    ]


def _at(change: Change) -> int:
    return parse_rfc3339(change["stageTimestamp"]) or 0


def _compare(
    steps: dict[str, dict[str, Any]], names: dict[str, str], changes: list[Change]
) -> list[tuple[str, str, bool]]:
    """(step, what differs, whether it is right) of each step that is done and that the audit log tells of."""
    compared = []
    for step_id, (whose, chosen) in EXACT.items():
        step = steps[step_id]
        made = [change for change in changes if chosen(change) and _named(change) == names[whose]]
        if step["status"] != "done" or not made:
            continue
        said, logged = parse_rfc3339(step["time"]) or 0, _at(made[-1])
        words = (
            f"step {step_id}: {step['time']} ({step['source']}), by the audit log {format_rfc3339(logged)}"
        )
        is_right = logged - PRECISION_NS <= said <= logged + PRECISION_NS and not step["atLatest"]
        compared.append((step_id, words, is_right))
    return compared


def _named(change: Change) -> str:
    return str(change["objectRef"].get("name", ""))


def _expected(steps: dict[str, dict[str, Any]]) -> set[str]:
    """Steps with an exact time: those of a volume that came as far as they."""
    return {step_id for step_id in EXACT if steps[step_id]["status"] == "done"}


def _assert_first_steps(steps: dict[str, dict[str, Any]], changes: list[Change]) -> None:
    """The objects' creation; and the provisioner's name, or a bound of it no earlier than the first write on the claim."""
    mine = [change for change in changes if change["objectRef"].get("namespace")]
    made = max(_at(c) for c in mine if c["verb"] == "create" and _named(c) in ("data", "user") and
               c["objectRef"]["resource"] in ("persistentvolumeclaims", "pods")
               and not c["objectRef"].get("subresource"))  # fmt: skip
    assert abs((parse_rfc3339(steps["1"]["time"]) or 0) - made) <= PRECISION_NS
    written = [
        _at(change)
        for change in mine
        if _is("update|patch", "persistentvolumeclaims", "kube-controller-manager")(change)
    ]
    named = parse_rfc3339(steps["5"]["time"]) or 0
    if steps["5"]["atLatest"]:
        assert named >= written[0] - PRECISION_NS
    else:
        assert abs(named - written[0]) <= PRECISION_NS
