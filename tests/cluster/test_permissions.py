"""Users whom the real RBAC lets see everything, one namespace, or nothing: what ``kubectl csitrace`` tells them."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import plugin
from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.kubectl import Kubectl

_CHANGE_WITHIN_S = 90.0


@pytest.fixture
def reader(target: Target, kubectl: Kubectl) -> Iterator[str]:
    """A user with the ClusterRole that ``csitrace rbac`` prints."""
    user = f"reader-{kubectl.namespace}"
    kubectl("apply", "-f", "-", stdin=plugin.run(target, "csitrace", "rbac").stdout)
    kubectl("create", "clusterrolebinding", user, "--clusterrole=csitrace", f"--user={user}")
    yield user
    kubectl("delete", "clusterrolebinding", user)
    kubectl("delete", "clusterrole", "csitrace")


@pytest.fixture
def tenant(target: Target, kubectl: Kubectl, tmp_path: Path) -> Path:
    """The kubeconfig of a service account with the Role that ``csitrace rbac -n`` prints; its context names the namespace."""
    here = kubectl.namespace
    kubectl("apply", "-f", "-", stdin=plugin.run(target, "csitrace", "rbac", "-n", here).stdout)
    kubectl("create", "serviceaccount", "tenant")
    kubectl("create", "rolebinding", "tenant", "--role=csitrace", f"--serviceaccount={here}:tenant")
    return _kubeconfig(kubectl, "tenant", tmp_path)


@pytest.fixture
def nobody(kubectl: Kubectl, tmp_path: Path) -> Path:
    """The kubeconfig of a service account without any right."""
    kubectl("create", "serviceaccount", "nobody")
    return _kubeconfig(kubectl, "nobody", tmp_path)


def test_a_reader_sees_all_of_kubernetes(
    target: Target, kubectl: Kubectl, image: objects.Image, reader: str
) -> None:
    """The printed ClusterRole is enough: every kind is heard, and the volume is in use in all detail."""
    _use(kubectl, image)
    told = _get(target, "-n", kubectl.namespace, "--as", reader)
    assert [item for item in told["notHeard"] if item["witness"] == "kubernetes"] == []
    [volume] = told["volumes"]
    assert (volume["severity"], volume["phase"], volume["step"]) == ("ok", "PUBLISHED", "17")
    assert volume["pv"]


def test_a_tenant_sees_its_namespace_without_asking_for_it(
    target: Target, kubectl: Kubectl, image: objects.Image, tenant: Path
) -> None:
    """The printed Role is enough for claims, pods and Events; the namespace is the context's; the rest is told as refused."""
    _use(kubectl, image)
    told = _get(target, kubeconfig=tenant)
    [volume] = told["volumes"]
    assert (volume["namespace"], volume["claim"], volume["severity"]) == (kubectl.namespace, "data", "ok")
    assert volume["pods"] == ["web"]
    refused = {item["scope"] for item in told["notHeard"] if item["witness"] == "kubernetes"}
    assert {"PersistentVolume", "VolumeAttachment", "Node"} <= refused
    assert all(item["denied"] for item in told["notHeard"] if item["witness"] == "kubernetes")
    assert f"PersistentVolumeClaim/{kubectl.namespace}" not in refused


async def test_a_tenant_follows_a_volume_there_and_back(
    target: Target, kubectl: Kubectl, image: objects.Image, tenant: Path
) -> None:
    """From claims, pods and Events alone: appeared, in use, gone, and no word of another volume."""
    program = await asyncio.create_subprocess_exec(
        "kubectl", "csitrace", "watch", "-o", "json", "--no-agents",
        env=plugin.environment(target, tenant),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        await asyncio.to_thread(
            kubectl.apply,
            objects.claim("data", storage.WAITING_CLASS),
            objects.pod("web", image, claims=("data",)),
        )
        there = await _until(program.stdout, severity="ok", step="17")
        assert there[0]["change"] == "appeared"
        await asyncio.to_thread(kubectl, "delete", "pod/web", "persistentvolumeclaim/data", "--wait=false")
        back = await _until(program.stdout, change="gone")
        assert {line["claim"] for line in there + back} == {"data"}
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


@pytest.mark.parametrize("command", ["get", "watch"])
def test_who_may_read_nothing_is_told_so_in_one_line(target: Target, nobody: Path, command: str) -> None:
    """Exit code 3, nothing on stdout, one line: what is refused, to whom, and what to do."""
    done = plugin.run(target, "csitrace", command, kubeconfig=nobody)
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("kubectl csitrace: may not list and watch persistentvolumeclaims in namespace")
    assert "nobody" in line
    assert "rbac" in line


def _use(kubectl: Kubectl, image: objects.Image) -> None:
    kubectl.apply(objects.claim("data", storage.WAITING_CLASS), objects.pod("web", image, claims=("data",)))
    kubectl.wait("condition=Ready", "pod/web", timeout_s=100)


def _get(target: Target, *arguments: str, kubeconfig: Path | None = None) -> Any:
    done = plugin.run(target, "csitrace", "get", "-o", "json", *arguments, kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _kubeconfig(kubectl: Kubectl, account: str, directory: Path) -> Path:
    """With a token of the account instead of the administrator's certificate."""
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify"))
    config["users"] = [{"name": account, "user": {"token": kubectl("create", "token", account).strip()}}]
    config["contexts"][0]["context"] |= {"user": account, "namespace": kubectl.namespace}
    path = directory / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


async def _until(output: asyncio.StreamReader, **last: str) -> list[dict[str, Any]]:
    """The lines up to the first that has these fields, each awaited for so long."""
    lines: list[dict[str, Any]] = []
    while line := await asyncio.wait_for(output.readline(), _CHANGE_WITHIN_S):
        lines.append(json.loads(line))
        if last.items() <= lines[-1].items():
            return lines
    raise AssertionError(f"the program ended before it told {last}: {lines}")
