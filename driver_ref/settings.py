"""The command line of the driver, read into one frozen value and checked as a whole."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from csitrace.errors import UsageError
from csitrace.feed import address
from driver_ref import topology
from driver_ref.capabilities import NAMES

DEFAULT_NAME = "ref.csitrace.dev"
DEFAULT_MAX_VOLUME_SIZE = 1 << 40

# CSI specification, GetPluginInfo: a domain name of at most 63 characters.
_NAME = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one driver process runs. `endpoint`: path of the CSI socket; `feed`: gRPC address, empty for none."""

    endpoint: Path
    node_id: str
    state_dir: Path
    registration_dir: Path | None
    feed: str
    driver_name: str
    controller: bool
    node: bool
    max_volumes: int
    max_volume_size: int
    topology: dict[str, str]
    without: frozenset[str]
    kubelet_dir: Path
    launcher: str
    fuse_image: str
    fuse_namespace: str
    fuse_service_account: str
    kubeconfig: Path | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see python -m driver_ref --help")


def parse(arguments: Sequence[str]) -> Settings:
    """Read the command line. Raises UsageError with what is wrong and what to write instead."""
    given = _parser().parse_args(arguments)
    if len(given.driver_name) > 63 or not _NAME.fullmatch(given.driver_name):
        raise UsageError(
            f"--driver-name {given.driver_name!r}: must be a domain name of at most 63 characters"
        )
    if not 0 < len(given.node_id.encode()) <= 192:
        # The specification allows 256 bytes; Kubernetes stores 192 of them.
        raise UsageError("--node-id must have 1 to 192 bytes")
    without = frozenset(name for group in given.without for name in group.split(",") if name)
    if given.launcher == "pod":
        if "publish" in without:
            raise UsageError(
                "--launcher pod: FUSE pods are made by ControllerPublishVolume; leave out --without=publish"
            )
        if not given.fuse_image and (given.controller or not given.node):
            raise UsageError("--launcher pod: give --fuse-image, the image of the FUSE pods (`make image`)")
    state_dir = Path(given.state_dir).resolve()
    return Settings(
        endpoint=_endpoint(given.endpoint),
        node_id=given.node_id,
        state_dir=state_dir,
        registration_dir=Path(given.registration_dir) if given.registration_dir else None,
        feed=_feed(given.feed) if given.feed else "",
        driver_name=given.driver_name,
        controller=given.controller or not given.node,
        node=given.node or not given.controller,
        max_volumes=given.max_volumes_per_node,
        max_volume_size=given.max_volume_size,
        topology=_segments(given.topology) or topology.default_segments(given.driver_name, given.node_id),
        without=without,
        kubelet_dir=Path(given.kubelet_dir).resolve(),
        launcher=given.launcher,
        fuse_image=given.fuse_image,
        fuse_namespace=given.fuse_namespace,
        fuse_service_account=given.fuse_service_account,
        kubeconfig=Path(given.kubeconfig) if given.kubeconfig else None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m driver_ref",
        description="A reference CSI driver: each volume is a directory, served by a FUSE process of its own.",
    )
    parser.add_argument(
        "--endpoint", required=True, metavar="unix:///PATH", help="socket for kubelet and sidecars"
    )
    parser.add_argument("--node-id", required=True, metavar="NAME", help="this node, as the cluster calls it")
    parser.add_argument(
        "--state-dir", required=True, metavar="DIR", help="records, volumes' bytes, sockets, logs"
    )
    parser.add_argument(
        "--registration-dir",
        metavar="DIR",
        help="register with kubelet here (<kubelet dir>/plugins_registry)",
    )
    parser.add_argument(
        "--feed",
        default="",
        metavar="ADDRESS",
        help="serve the trace feed and the Faults service: unix:///PATH, or HOST:PORT on loopback",
    )
    parser.add_argument("--driver-name", default=DEFAULT_NAME, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--controller", action="store_true", help="serve Controller (alone, unless --node)")
    parser.add_argument("--node", action="store_true", help="serve Node (alone, unless --controller)")
    parser.add_argument(
        "--max-volumes-per-node", type=_number, default=0, metavar="N", help="default: 0, no limit"
    )
    parser.add_argument(
        "--max-volume-size",
        type=_number,
        default=DEFAULT_MAX_VOLUME_SIZE,
        metavar="BYTES",
        help="default: 1 TiB",
    )
    parser.add_argument(
        "--topology", action="append", default=[], metavar="KEY=VALUE", help="where this node is; repeatable"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="NAME[,NAME]",
        help=f"do not have these capabilities: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--kubelet-dir",
        default="/var/lib/kubelet",
        metavar="DIR",
        help="kubelet's root; the driver's own directory is below plugins/ there; default: %(default)s",
    )
    pods = parser.add_argument_group("FUSE daemons in pods (--launcher pod)")
    pods.add_argument(
        "--launcher",
        choices=("process", "pod"),
        default="process",
        help="FUSE daemons as processes of the Node service (default), or each in a pod that the Controller service makes",
    )
    pods.add_argument(
        "--fuse-image", default="", metavar="IMAGE", help="the image of the FUSE pods: this project's"
    )
    pods.add_argument(
        "--fuse-namespace",
        default="csitrace-fuse",
        metavar="NAME",
        help="where they are; default: %(default)s",
    )
    pods.add_argument(
        "--fuse-service-account", default="fuse", metavar="NAME", help="whose they are; default: %(default)s"
    )
    pods.add_argument(
        "--kubeconfig",
        default="",
        metavar="PATH",
        help="how to reach the API server from outside of the cluster",
    )
    return parser


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _endpoint(text: str) -> Path:
    """The CSI socket. The specification has the form `unix:///path`; a bare path is fine, too."""
    path = address.socket_path(text)
    if path is None:
        raise UsageError(
            f"--endpoint {text}: the CSI socket is a unix socket, as in unix:///run/csi/csi.sock"
        )
    address.grpc_target(text)
    return Path(path)


def _feed(text: str) -> str:
    address.require_local(text)
    return address.grpc_target(text)


def _segments(pairs: Sequence[str]) -> dict[str, str]:
    segments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--topology {pair}: must be KEY=VALUE")
        segments[key] = value
    return segments
