"""The groups of flags that commands share, and what they mean to the sources."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from csitrace.sources.kubernetes.config import ConnectionOptions

DEFAULT_KUBELET_ROOT = "/var/lib/kubelet"


def add_kubectl_flags(parser: argparse.ArgumentParser) -> None:
    """Which cluster, as whom."""
    group = parser.add_argument_group("kubectl's flags, with kubectl's meaning")
    group.add_argument(
        "--kubeconfig", default="", metavar="FILE", help="instead of $KUBECONFIG, ~/.kube/config"
    )
    group.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    group.add_argument("--cluster", default="", metavar="NAME", help="of the kubeconfig")
    group.add_argument("--user", default="", metavar="NAME", help="of the kubeconfig")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "-n", "--namespace", default="", metavar="NS", help="only this one (default: all that you may see)"
    )
    where.add_argument(
        "-A", "--all-namespaces", action="store_true", help="all of them, which is the default"
    )
    group.add_argument("-l", "--selector", default="", metavar="LABELS", help="only claims with these labels")
    group.add_argument("--as", dest="as_user", default="", metavar="USER", help="act as someone else")
    group.add_argument(
        "--as-group", dest="as_groups", action="append", default=[], metavar="GROUP", help="and as of a group"
    )
    group.add_argument("--as-uid", default="", metavar="UID", help="and with this uid")
    group.add_argument(
        "--request-timeout", default="0", metavar="TIME", help="for one request, e.g. 5s (default: none)"
    )


def add_witness_flags(parser: argparse.ArgumentParser) -> None:
    """Who is heard besides the API server."""
    group = parser.add_argument_group("the other witnesses")
    group.add_argument(
        "--feed",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a driver's feed, unix:///path or host:port (those below the kubelet root are found)",
    )
    group.add_argument(
        "--kubelet-root",
        action="append",
        default=[],
        metavar="DIR",
        help=f"watch this machine's mounts below it (default: {DEFAULT_KUBELET_ROOT}, where there is one)",
    )
    group.add_argument(
        "--node-name",
        action="append",
        default=[],
        metavar="NAME",
        help="which Kubernetes node this machine is (default: its host name); repeat both flags where it is several",
    )
    add_pod_feeds_flag(group)


def add_pod_feeds_flag(parser: argparse._ActionsContainer) -> None:
    """Whether whoever may run a pod on a node is believed when he tells of a driver."""
    parser.add_argument(
        "--no-pod-feeds",
        dest="pod_feeds",
        action="store_false",
        help="hear no feeds in pods' emptyDirs, where drivers' controllers have theirs, but others can put theirs, too",
    )


def add_agent_flags(parser: argparse.ArgumentParser) -> None:
    """How the agents of the nodes are found."""
    group = parser.add_argument_group("the agents of the nodes, heard through the API server")
    group.add_argument("--no-agents", action="store_true", help="do not look for any")
    group.add_argument(
        "--agent-namespace",
        default="",
        metavar="NS",
        help="look for them here only (default: all that you may list, or else csitrace)",
    )
    group.add_argument("--agent-selector", default="", metavar="LABELS", help="find them by other labels")


SHOWN = ("screen", "lines", "wide", "json", "yaml")
"""What `show` can show: a screen, or changes in one of these forms."""


def add_resources(parser: argparse.ArgumentParser) -> None:
    """Objects by name."""
    parser.add_argument(
        "resources",
        nargs="*",
        metavar="KIND/NAME",
        help="only these: pvc/x, pod/y, pv/z, node/n, sc/c; also 'pvc x y', 'pvc,pod x'",
    )


def add_filter_flag(parser: argparse.ArgumentParser) -> None:
    """Which volumes."""
    parser.add_argument(
        "--filter", default="", metavar="EXPR", help="e.g. 'driver:ebs and stuck>30s and not ns:dev'"
    )


def add_output_flag(parser: argparse.ArgumentParser, outputs: Sequence[str], default: str) -> None:
    """In which form; `default` is said in the help."""
    parser.add_argument("-o", "--output", choices=outputs, default="", help=default)


def connection_options(arguments: argparse.Namespace) -> "ConnectionOptions":
    """What `add_kubectl_flags` were given. Raises `ConfigError`."""
    from csitrace.sources.kubernetes.config import ConnectionOptions, parse_request_timeout

    return ConnectionOptions(
        kubeconfig=arguments.kubeconfig,
        context=arguments.context,
        cluster=arguments.cluster,
        user=arguments.user,
        namespace=arguments.namespace,
        as_user=arguments.as_user,
        as_groups=tuple(arguments.as_groups),
        as_uid=arguments.as_uid,
        request_timeout_ns=parse_request_timeout(arguments.request_timeout),
    )


def add_hearing_flags(parser: argparse.ArgumentParser) -> None:
    """Of every command that hears a cluster: which one, which of its objects, and by which witnesses."""
    add_resources(parser)
    add_kubectl_flags(parser)
    add_witness_flags(parser)
    add_agent_flags(parser)
    add_filter_flag(parser)
