"""etcd, API server, controller manager and scheduler: how each is told to run on loopback, unmodified."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness.certificates import Authority, Pair
from tests.cluster.harness.ports import free_ports
from tests.cluster.harness.processes import Program

# No cloud, no pod network and no node CIDRs here; everything else runs as it does everywhere.
_CONTROLLERS = "*,-nodeipam,-service-lb-controller,-node-route-controller,-cloud-node-lifecycle-controller"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The programs of the control plane in start order, and the address clients use."""

    url: str
    programs: tuple[Program, ...]


def control_plane(directory: Path, tools: dict[str, Path], authority: Authority) -> ControlPlane:
    """Plan a control plane whose files are in ``directory``; nothing is started."""
    etcd_port, peer_port, api_port, controllers_port, scheduler_port = free_ports(5)
    server = authority.server("server")
    url = f"https://127.0.0.1:{api_port}"
    components = {
        name: write_kubeconfig(
            directory / f"{name}.kubeconfig", url, authority, authority.client(name, f"system:{name}")
        )
        for name in ("kube-controller-manager", "kube-scheduler")
    }
    return ControlPlane(
        url,
        (
            _etcd(directory, tools["etcd"], authority, server, etcd_port, peer_port),
            _api_server(directory, tools["kube-apiserver"], authority, server, url, api_port, etcd_port),
            Program(
                name="kube-controller-manager",
                argv=[
                    str(tools["kube-controller-manager"]),
                    f"--kubeconfig={components['kube-controller-manager']}",
                    "--use-service-account-credentials",
                    f"--service-account-private-key-file={authority.service_account_key().key}",
                    f"--root-ca-file={authority.certificate}",
                    f"--controllers={_CONTROLLERS}",
                    *_serving(server, controllers_port),
                    "--leader-elect=false",
                ],
                ready=f"https://127.0.0.1:{controllers_port}/healthz",
            ),
            Program(
                name="kube-scheduler",
                argv=[
                    str(tools["kube-scheduler"]),
                    f"--kubeconfig={components['kube-scheduler']}",
                    *_serving(server, scheduler_port),
                    "--leader-elect=false",
                ],
                ready=f"https://127.0.0.1:{scheduler_port}/healthz",
            ),
        ),
    )


def write_kubeconfig(path: Path, url: str, authority: Authority, client: Pair) -> Path:
    """Write a kubeconfig that needs no other file (JSON, which is YAML), readable by its owner alone."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "csitrace",
        "clusters": [
            {
                "name": "csitrace",
                "cluster": {"server": url, "certificate-authority-data": _encoded(authority.certificate)},
            }
        ],
        "users": [
            {
                "name": client.certificate.stem,
                "user": {
                    "client-certificate-data": _encoded(client.certificate),
                    "client-key-data": _encoded(client.key),
                },
            }
        ],
        "contexts": [
            {"name": "csitrace", "context": {"cluster": "csitrace", "user": client.certificate.stem}}
        ],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
    return path


def _etcd(
    directory: Path, program: Path, authority: Authority, server: Pair, port: int, peer_port: int
) -> Program:
    url, peer_url = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{peer_port}"
    return Program(
        name="etcd",
        argv=[
            str(program),
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            # Whoever may write to etcd is root in the cluster: a port on loopback is not protection enough.
            "--client-cert-auth",
            f"--cert-file={server.certificate}",
            f"--key-file={server.key}",
            f"--trusted-ca-file={authority.certificate}",
            "--peer-client-cert-auth",
            f"--peer-cert-file={server.certificate}",
            f"--peer-key-file={server.key}",
            f"--peer-trusted-ca-file={authority.certificate}",
            "--unsafe-no-fsync",  # the data need not survive a power failure
        ],
        ready=f"{url}/health",
    )


def audit_log(directory: Path) -> Path:
    """Where the API server of the cluster in ``directory`` writes down who changed what, one JSON object a line."""
    return directory / "audit.log"


def _audit_policy(directory: Path) -> Path:
    """Every change of the objects of a volume, once it is made: who, what and when, to the microsecond; no contents."""
    volume = [
        {
            "group": "",
            "resources": [
                *("persistentvolumeclaims", "persistentvolumeclaims/status"),
                *("persistentvolumes", "persistentvolumes/status"),
                *("pods", "pods/status", "pods/binding"),
            ],
        },
        {"group": "storage.k8s.io", "resources": ["volumeattachments", "volumeattachments/status"]},
    ]
    changes = ["create", "update", "patch", "delete"]
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "verbs": changes, "resources": volume}, {"level": "None"}],
    }
    path = directory / "audit-policy.json"
    path.write_text(json.dumps(policy, indent=1))
    return path


def _api_server(
    directory: Path,
    program: Path,
    authority: Authority,
    server: Pair,
    url: str,
    port: int,
    etcd_port: int,
) -> Program:
    service_account = authority.service_account_key()
    to_etcd = authority.client("apiserver-etcd", "kube-apiserver")
    to_kubelet = authority.client("apiserver-kubelet", "kube-apiserver", "system:masters")
    return Program(
        name="kube-apiserver",
        argv=[
            str(program),
            f"--etcd-servers=https://127.0.0.1:{etcd_port}",
            f"--etcd-cafile={authority.certificate}",
            f"--etcd-certfile={to_etcd.certificate}",
            f"--etcd-keyfile={to_etcd.key}",
            *_serving(server, port),
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=198.51.100.0/24",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--client-ca-file={authority.certificate}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={service_account.certificate}",
            f"--service-account-signing-key-file={service_account.key}",
            f"--kubelet-client-certificate={to_kubelet.certificate}",
            f"--kubelet-client-key={to_kubelet.key}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={_audit_policy(directory)}",
            f"--audit-log-path={audit_log(directory)}",
            "--audit-log-maxsize=64",
            "--audit-log-maxbackup=1",
        ],
        ready=f"{url}/readyz",
    )


def _serving(server: Pair, port: int) -> list[str]:
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
    ]


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
