"""What `csitrace agent manifest` prints, as the YAML it is."""

import subprocess
import sys
from typing import Any

import pytest
import yaml

from csitrace import __version__
from csitrace.agent.manifest import manifest
from csitrace.errors import UsageError
from csitrace.sources.agents.pods import LABEL, NAMESPACE, PORT_NAME


def objects(**flags: Any) -> dict[str, dict[str, Any]]:
    """The manifest's objects by kind."""
    return {found["kind"]: found for found in yaml.safe_load_all(manifest(**flags))}


def pod_of(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = found["DaemonSet"]["spec"]["template"]["spec"]
    return spec


def test_what_watch_looks_for_is_there() -> None:
    """The label, the namespace to fall back to, and the named port are those that agents are found by."""
    found = objects()
    name, value = LABEL.split("=")
    template = found["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert template[name] == found["DaemonSet"]["spec"]["selector"]["matchLabels"][name] == value
    assert found["DaemonSet"]["metadata"]["namespace"] == found["Namespace"]["metadata"]["name"] == NAMESPACE
    (container,) = pod_of(found)["containers"]
    (port,) = container["ports"]
    assert port["name"] == PORT_NAME
    assert f"--listen=127.0.0.1:{port['containerPort']}" in container["args"]


def test_it_runs_with_the_least() -> None:
    """One capability, no token, nothing of the node mounted, nothing to write to; every pod of a node may go before it does."""
    pod = pod_of(objects())
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["SYS_PTRACE"]}
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert context["readOnlyRootFilesystem"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "volumes" not in pod
    assert "hostNetwork" not in pod
    assert pod["automountServiceAccountToken"] is False
    assert pod["tolerations"] == [{"operator": "Exists"}]


def test_users_may_list_and_forward_and_nothing_else() -> None:
    """The role has the verbs that hearing an agent takes."""
    rules = objects()["ClusterRole"]["rules"]
    assert {(tuple(rule["resources"]), tuple(rule["verbs"])) for rule in rules} == {
        (("pods",), ("list", "watch")),
        (("pods/portforward",), ("get", "create")),
    }


def test_flags_are_taken_over() -> None:
    """Namespace, image, kubelet's directory (with Kubernetes's own $(NAME), too) and port."""
    found = objects(namespace="storage", image="r/x@sha256:0", kubelet_root="/k/$(NODE_NAME)", port=7)
    assert {found[kind]["metadata"]["namespace"] for kind in ("ServiceAccount", "DaemonSet")} == {"storage"}
    (container,) = pod_of(found)["containers"]
    assert container["image"] == "r/x@sha256:0"
    assert "--kubelet-root=/k/$(NODE_NAME)" in container["args"]
    assert container["livenessProbe"]["exec"]["command"][-1] == "127.0.0.1:7"
    assert pod_of(objects())["containers"][0]["image"] == f"csitrace:{__version__}"


@pytest.mark.parametrize(
    "flags",
    [
        {"namespace": "Shop"},
        {"image": "a b"},
        {"image": 'x"\n'},
        {"kubelet_root": "relative"},
        {"port": 0},
        {"port": 65536},
    ],
)
def test_what_could_not_be_meant_is_refused(flags: dict[str, Any]) -> None:
    """One line, and no manifest that would fail later, or say something else than it seems to."""
    with pytest.raises(UsageError):
        manifest(**flags)


def test_the_command_prints_it() -> None:
    """`csitrace agent manifest` writes to stdout what the function returns, and loads neither grpc nor aiohttp for it."""
    code = (
        "import sys; from csitrace.cli import main; status = main(['agent', 'manifest']);"
        "assert not {'grpc', 'aiohttp', 'kubernetes'} & sys.modules.keys(); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == manifest()


def test_pods_need_not_be_believed() -> None:
    """`--no-pod-feeds` is handed on to every agent; by default it is not."""
    for believed in (True, False):
        (container,) = pod_of(objects(pod_feeds=believed))["containers"]
        assert ("--no-pod-feeds" in container["args"]) is not believed
