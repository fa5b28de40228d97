"""A second driver on the cluster, deployed as users deploy it: driver_ref/deploy/fuse-pods.yaml, applied with little changed.

What this machine does otherwise is changed here and nowhere else: every node has its own kubelet root, so there is a DaemonSet
for each; the API server listens on loopback, so pods that talk to it are in the host's network; sidecars come from this
harness's programs, since there is no registry.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.cluster.harness import leftovers
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.node import Node
from tests.cluster.harness.tools import build_all
from tools import oci

DRIVER_NAME = "fuse.csitrace.dev"
STORAGE_CLASS = "csitrace-fuse-pods"
NAMESPACE, FUSE_NAMESPACE = "csitrace-driver-fuse", "csitrace-fuse"
LABEL = "csitrace.dev/driver-fuse"
CONTROLLER = "app=csitrace-driver-fuse-controller"
FUSE_PODS = "csitrace.dev/component=fuse-daemon"

_REPOSITORY = Path(__file__).resolve().parents[3]
_MANIFEST = _REPOSITORY / "driver_ref" / "deploy" / "fuse-pods.yaml"
_SIDECARS = {"csi-provisioner": "v6.3.0", "csi-attacher": "v4.13.0", "csi-resizer": "v2.3.0"}
_SIDECAR_IMAGES = "csitrace.test"


class FusePods:
    """The driver `fuse.csitrace.dev` on a cluster of this harness."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.kubectl = cluster.kubectl().within(NAMESPACE)
        self.pods: Kubectl = cluster.kubectl().within(FUSE_NAMESPACE)
        self.state = cluster.directory / "driver-fuse"
        self.image = ""

    @property
    def is_up(self) -> bool:
        """Whether it is deployed."""
        return DRIVER_NAME in self.kubectl("get", "csidrivers", "-o", "name")

    def shared(self, node: Node) -> Path:
        """What holds the directories that FUSE pods share with the node plugin."""
        return node.kubelet_root / "plugins" / DRIVER_NAME / "fuse"

    def up(self) -> None:
        """Import the images, apply the manifests and wait until every node has the driver."""
        name, archive = _image()
        sidecars = self.cluster.directory / "sidecars.tar"
        _write_sidecars(sidecars)
        for node in self.cluster.nodes:
            node.import_images(archive)
            node.import_images(sidecars)
        sidecars.unlink()
        self.image = name
        self.state.mkdir(exist_ok=True)
        kubectl = self.cluster.kubectl()
        for node in self.cluster.nodes:
            kubectl("label", "node", node.name, f"{LABEL}=", "--overwrite")
        objects = self._objects()
        for namespace in (None, FUSE_NAMESPACE, NAMESPACE):
            chosen = [item for item in objects if item["metadata"].get("namespace") == namespace]
            kubectl.within(namespace or "default").apply(*chosen)
        for node in self.cluster.nodes:
            kubectl.wait(
                f'jsonpath={{.spec.drivers[?(@.name=="{DRIVER_NAME}")].name}}={DRIVER_NAME}',
                f"csinode/{node.name}",
            )
        self.kubectl.wait("condition=Available", "deployment/controller")

    def set_image(self, image: str) -> None:
        """Have the driver make its FUSE pods of another image from now on."""
        self._set_argument("driver", "--fuse-image", image)

    def set_attacher_timeout(self, timeout: str) -> None:
        """Have external-attacher wait so long for an answer of the driver from now on."""
        self._set_argument("csi-attacher", "--timeout", timeout)

    def _set_argument(self, container: str, flag: str, value: str) -> None:
        """Change one flag of a container of the controller's pod, and wait for the pod that has it."""
        containers = self.kubectl.get("deployment/controller")["spec"]["template"]["spec"]["containers"]
        [index] = [index for index, one in enumerate(containers) if one["name"] == container]
        arguments = [
            f"{flag}={value}" if one.startswith(f"{flag}=") else one for one in containers[index]["args"]
        ]
        path = f"/spec/template/spec/containers/{index}/args"
        patch = [{"op": "replace", "path": path, "value": arguments}]
        self.kubectl("patch", "deployment/controller", "--type=json", f"--patch={json.dumps(patch)}")
        self._release_leases()
        self.kubectl("rollout", "status", "deployment/controller", "--timeout=100s", timeout_s=110)

    @property
    def controller(self) -> dict[str, Any]:
        """The pod of the Controller service."""
        [pod] = self.kubectl.get("pods", "-l", CONTROLLER)["items"]
        found: dict[str, Any] = pod
        return found

    def node_of(self, pod: dict[str, Any]) -> Node:
        """The node that a pod is on."""
        [node] = [node for node in self.cluster.nodes if node.name == pod["spec"]["nodeName"]]
        return node

    def controller_feed(self) -> str:
        """Where the Controller service publishes its trace feed: in an emptyDir of its pod, by a path short enough for it."""
        pod = self.controller
        volumes = self.node_of(pod).kubelet_root / "pods" / pod["metadata"]["uid"] / "volumes"
        short = self.cluster.directory / "fuse-feed"
        short.unlink(missing_ok=True)
        short.symlink_to(volumes / "kubernetes.io~empty-dir" / "socket")
        return f"unix://{short / 'csitrace-feed.sock'}"

    def restart_driver(self) -> None:
        """Replace every pod of the driver, controller and nodes, and wait until the new ones are there."""
        self.kubectl("delete", "pods", "--all", "--grace-period=5", timeout_s=100)
        self._release_leases()
        self.kubectl("rollout", "status", "deployment/controller", "--timeout=100s", timeout_s=110)
        for node in self.cluster.nodes:
            self.kubectl("rollout", "status", f"daemonset/node-{node.name}", "--timeout=100s", timeout_s=110)

    def _release_leases(self) -> None:
        """A sidecar that was killed would hold up its successor for 15 seconds."""
        self.kubectl("delete", "leases", "--all")

    def down(self) -> None:
        """Take everything of it away again. Volumes must be gone before."""
        kubectl = self.cluster.kubectl()
        kubectl("delete", "storageclass", STORAGE_CLASS, "--ignore-not-found")
        kubectl("delete", "csidriver", DRIVER_NAME, "--ignore-not-found")
        kubectl("delete", "namespace", NAMESPACE, FUSE_NAMESPACE, "--ignore-not-found", timeout_s=120)
        for node in self.cluster.nodes:
            kubectl("label", "node", node.name, f"{LABEL}-")
        leftovers.remove_tree(self.state)
        (self.cluster.directory / "fuse-feed").unlink(missing_ok=True)

    def _objects(self) -> list[dict[str, Any]]:
        text = _MANIFEST.read_text()
        text = text.replace("${DRIVER_IMAGE}", self.image).replace("${SIDECAR_IMAGES}", _SIDECAR_IMAGES)
        text = text.replace("/var/lib/csitrace-driver-fuse", str(self.state))
        objects = []
        for item in yaml.safe_load_all(text):
            if item["kind"] == "DaemonSet":
                objects += [self._on_node(item, node) for node in self.cluster.nodes]
                continue
            if item["kind"] == "Deployment":
                self._with_api_server(item["spec"]["template"]["spec"])
            objects.append(item)
        return objects

    def _on_node(self, item: dict[str, Any], node: Node) -> dict[str, Any]:
        own: dict[str, Any] = json.loads(json.dumps(item).replace("/var/lib/kubelet", str(node.kubelet_root)))
        own["metadata"]["name"] = f"node-{node.name}"
        template = own["spec"]["template"]
        for labels in (own["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]):
            labels["node"] = node.name
        template["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node.name}
        # One place for all nodes, on which the volumes' bytes are shared: RWX volumes and moving ones work.
        for container in template["spec"]["containers"]:
            container["args"].append(f"--topology=topology.{DRIVER_NAME}/zone=shared")
        return own

    def _with_api_server(self, pod: dict[str, Any]) -> None:
        server = urlsplit(
            self.cluster.kubectl()("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}").strip()
        )
        pod["hostNetwork"] = True
        for container in pod["containers"]:
            container["env"] = [
                {"name": "KUBERNETES_SERVICE_HOST", "value": str(server.hostname)},
                {"name": "KUBERNETES_SERVICE_PORT", "value": str(server.port)},
            ]


def _image() -> tuple[str, Path]:
    """The project's image as it is now; built if need be."""
    built = subprocess.run(
        [sys.executable, "-m", "tools.image"], cwd=_REPOSITORY, capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise ClusterError(f"the image cannot be built: {built.stderr.strip()}")
    name, path = built.stdout.split()
    return name, Path(path)


def _write_sidecars(path: Path) -> None:
    """The stock sidecars as images of one file each, as their own images are."""
    programs = build_all(tuple(_SIDECARS), lambda _: None)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = []
        for name, version in _SIDECARS.items():
            layer = Path(scratch) / f"{name}.tar"
            oci.write_layer(layer, {name: programs[name]}, (name,))
            made.append(
                oci.Image(f"{_SIDECAR_IMAGES}/{name}:{version}", [layer], {"Entrypoint": [f"/{name}"]})
            )
        oci.write_archive(path, made)
