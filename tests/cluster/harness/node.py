"""A node: its own containerd and kubelet, sharing nothing with the host's nor with those of other nodes.

All nodes of a cluster are on one machine and so in one mount namespace: whose mount it is, the kubelet's root tells.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness import images, mounts
from tests.cluster.harness.certificates import Authority
from tests.cluster.harness.controlplane import write_kubeconfig
from tests.cluster.harness.errors import ClusterError, UnavailableError
from tests.cluster.harness.network import Network
from tests.cluster.harness.ports import free_ports
from tests.cluster.harness.processes import NODE_MARKER, Program

CNI_DIRECTORIES = tuple(map(Path, ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")))
"""Where distributions put the CNI plugins."""

_SOCKET_PATH_LIMIT = 107  # sizeof(sockaddr_un.sun_path) - 1


@dataclass(frozen=True, slots=True)
class Node:
    """The ``number``-th node, from 1 on, of the cluster in ``cluster``: its name, and where its files are."""

    number: int
    cluster: Path

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def directory(self) -> Path:
        return self.cluster / self.name

    def part(self, kind: str) -> str:
        """The name of one of this node's parts: `kubelet` on the first node, `kubelet-2` on the second."""
        return kind if self.number == 1 else f"{kind}-{self.number}"

    @property
    def environment(self) -> dict[str, str]:
        """What marks every process of this node, and what such a process starts."""
        return {NODE_MARKER: str(self.directory)}

    @property
    def kubelet_root(self) -> Path:
        return self.directory / "kubelet"

    @property
    def containerd_socket(self) -> Path:
        return self.directory / "run" / "containerd.sock"

    @property
    def registration_directory(self) -> Path:
        """Where kubelet looks for the sockets of plugins that register themselves."""
        return self.kubelet_root / "plugins_registry"

    def driver_socket(self, driver: str) -> Path:
        """The CSI socket of a driver on this node, at its customary place."""
        return self.kubelet_root / "plugins" / driver / "csi.sock"

    def prepare(self) -> None:
        """Make the directories, and mounts below kubelet's root visible on both sides."""
        if len(str(self.driver_socket("x" * 16))) > _SOCKET_PATH_LIMIT:
            raise ClusterError(
                f"{self.directory} is too long a path: a unix socket's has at most {_SOCKET_PATH_LIMIT} bytes; "
                "choose another with --dir"
            )
        for directory in (self.kubelet_root, self.directory / "run", self.directory / "pods"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        mounts.share(self.kubelet_root)

    def containerd(self, network: Network) -> Program:
        """The container runtime, with state, sockets and plugins of its own; its pods get addresses of ``network``."""
        plugins = self.directory / "cni"
        plugins.mkdir(exist_ok=True)
        (plugins / "10-pods.conflist").write_text(
            json.dumps(network.configuration(self.number, self.directory / "addresses"))
        )
        config = self.directory / "containerd.toml"
        config.write_text(_CONTAINERD.format(directory=self.directory, cni=_cni(), pause=images.PAUSE))
        return Program(
            name=self.part("containerd"),
            argv=["containerd", "--config", str(config)],
            env=self.environment,
            ready=f"unix://{self.containerd_socket}",
        )

    def import_images(self, archive: Path) -> None:
        """Put the images of an archive (``images.write_archive``) into this node's store."""
        done = subprocess.run(
            [
                "ctr",
                f"--address={self.containerd_socket}",
                "--namespace=k8s.io",
                "images",
                "import",
                str(archive),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ClusterError(f"containerd did not take the images: {done.stderr.strip()}")

    def kubelet(self, program: Path, url: str, authority: Authority) -> Program:
        """The kubelet, registering itself as this node with the API server at ``url``."""
        (port,) = free_ports(1)
        serving = authority.server("kubelet-serving")
        client = authority.client(self.name, f"system:node:{self.name}", "system:nodes")
        kubeconfig = write_kubeconfig(self.directory / "kubelet.kubeconfig", url, authority, client)
        config = self.directory / "kubelet.json"
        config.write_text(
            json.dumps(
                {
                    "apiVersion": "kubelet.config.k8s.io/v1beta1",
                    "kind": "KubeletConfiguration",
                    "authentication": {
                        "anonymous": {"enabled": False},
                        "webhook": {"enabled": True},
                        "x509": {"clientCAFile": str(authority.certificate)},
                    },
                    "authorization": {"mode": "Webhook"},
                    "tlsCertFile": str(serving.certificate),
                    "tlsPrivateKeyFile": str(serving.key),
                    "port": port,
                    "healthzPort": 0,
                    "containerRuntimeEndpoint": f"unix://{self.containerd_socket}",
                    "podLogsDir": str(self.directory / "pods"),
                    "volumePluginDir": str(self.directory / "volume-plugins"),
                    # The host belongs to its owner: no cgroup hierarchy, iptables chain, swap or disk rule of it
                    # is changed, and a full disk is no reason to evict.
                    "cgroupDriver": "cgroupfs",
                    "cgroupsPerQOS": False,
                    "enforceNodeAllocatable": [],
                    "makeIPTablesUtilChains": False,
                    "failSwapOn": False,
                    "failCgroupV1": False,
                    "localStorageCapacityIsolation": False,
                    "evictionHard": {"memory.available": "1Mi"},
                    "imageGCHighThresholdPercent": 100,
                }
            )
        )
        return Program(
            name=self.part("kubelet"),
            env=self.environment,
            argv=[
                str(program),
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={self.kubelet_root}",
                f"--cert-dir={self.directory / 'certificates'}",
                f"--hostname-override={self.name}",
                "--v=2",
            ],
            ready=f"https://127.0.0.1:{port}/healthz",
            # Its place does not depend on --root-dir: kubelets that start in the same moment, of any node or cluster on this
            # machine, take it from each other, and one of them ends.
            transient="device-plugins/kubelet.sock: bind: address already in use",
        )


# `restrict_oom_score_adj`: without CAP_SYS_RESOURCE (a container as host) runc may not lower oom_score_adj and dies
# with "can't get final child's PID from pipe: EOF". The snapshotters switched off would only complain.
_CONTAINERD = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{directory}/run/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni}"
  conf_dir = "{directory}/cni"
"""


def _cni() -> Path:
    for directory in CNI_DIRECTORIES:
        if (directory / "bridge").exists():
            return directory
    raise UnavailableError("no CNI plugin `bridge`; install the Debian package containernetworking-plugins")
