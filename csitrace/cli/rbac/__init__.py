"""`csitrace rbac`: the role that lets somebody watch, the whole cluster or one namespace. It reads; it can change nothing."""

import argparse
import re
import sys
from importlib import resources
from string import Template

from csitrace.errors import UsageError

DESCRIPTION = (
    "Print a read-only ClusterRole with all that csitrace reads, or with -n a Role for one namespace's user. Bind it as its "
    "comment says. What agents need is in 'csitrace agent manifest', what is shown without a right in docs/permissions.md."
)

CLUSTER_ROLE, ROLE = "clusterrole.yaml", "role.yaml"

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("-n", "--namespace", default="", metavar="NS", help="a Role for this one alone")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    sys.stdout.write(manifest(arguments.namespace))
    return 0


def manifest(namespace: str = "") -> str:
    """The ClusterRole, or the Role of a namespace, as YAML. Raises `UsageError` for what is no namespace's name."""
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise UsageError(f"--namespace {namespace!r} is no name of a namespace")
    text = resources.files(__package__).joinpath(ROLE if namespace else CLUSTER_ROLE).read_text()
    return Template(text).substitute(namespace=namespace)
