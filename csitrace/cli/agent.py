"""`csitrace agent`: tell what this node's kernel shows and what its drivers tell; `agent manifest`: what to apply for that."""

import argparse
import asyncio
import os
import socket

from csitrace.cli.flags import DEFAULT_KUBELET_ROOT, add_pod_feeds_flag

DESCRIPTION = (
    "Tell csitrace what this node's kernel shows and what its drivers tell. It listens on loopback or a unix socket only: "
    "csitrace reaches it through the API server."
)
MANIFEST_DESCRIPTION = "Print what to apply to have an agent on every node, each privilege explained."

DEFAULT_PORT = 9779


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments, and those of `agent manifest`."""
    parser.add_argument(
        "--node-name",
        default="",
        metavar="NAME",
        help="which Kubernetes node this is (default: $NODE_NAME, or the host name)",
    )
    parser.add_argument(
        "--kubelet-root",
        default=DEFAULT_KUBELET_ROOT,
        metavar="DIR",
        help=f"the kubelet's directory on the node (default: {DEFAULT_KUBELET_ROOT})",
    )
    parser.add_argument(
        "--host-pid",
        default="self",
        metavar="PID",
        help="a process that sees the node's mounts: 1 in a pod with hostPID (default: this one)",
    )
    parser.add_argument(
        "--listen",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="ADDRESS",
        help=f"a loopback address, or unix:///path (default: 127.0.0.1:{DEFAULT_PORT})",
    )
    parser.add_argument(
        "--feed",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a driver's feed that is not found below the root",
    )
    add_pod_feeds_flag(parser)
    commands = parser.add_subparsers(metavar="COMMAND")
    manifest = commands.add_parser(
        "manifest",
        help="print what to apply to have an agent on every node",
        description=MANIFEST_DESCRIPTION,
    )
    manifest.add_argument("-n", "--namespace", default="csitrace", metavar="NS", help="default: csitrace")
    manifest.add_argument("--image", default="", help="default: csitrace, with this version as tag")
    manifest.add_argument("--kubelet-root", default=DEFAULT_KUBELET_ROOT, metavar="DIR", help="of every node")
    manifest.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default: {DEFAULT_PORT}")
    add_pod_feeds_flag(manifest)
    manifest.set_defaults(run=run_manifest)


def run(arguments: argparse.Namespace) -> int:
    """Be the agent, until SIGTERM or SIGINT; returns the exit code."""
    from csitrace.agent.service import Settings, serve

    settings = Settings(
        node_name=arguments.node_name or os.environ.get("NODE_NAME", "") or socket.gethostname().lower(),
        kubelet_root=arguments.kubelet_root,
        host_pid=arguments.host_pid,
        listen=arguments.listen,
        feeds=tuple(arguments.feed),
        pod_feeds=arguments.pod_feeds,
    )
    asyncio.run(serve(settings))
    return 0


def run_manifest(arguments: argparse.Namespace) -> int:
    """Print it; returns the exit code."""
    from csitrace.agent.manifest import manifest

    print(
        manifest(
            namespace=arguments.namespace,
            image=arguments.image,
            kubelet_root=arguments.kubelet_root,
            port=arguments.port,
            pod_feeds=arguments.pod_feeds,
        ),
        end="",
    )
    return 0
