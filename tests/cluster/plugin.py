"""``kubectl csitrace`` as a user runs it: kubectl finds the program on PATH."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster.conftest import Target

_PROGRAMS = Path(sys.executable).parent
_TIMEOUT_S = 90.0


def environment(target: Target, kubeconfig: Path | None = None) -> dict[str, str]:
    """In which kubectl and its plugin are found, and the cluster is chosen."""
    path = f"{target.kubectl.program.parent}:{_PROGRAMS}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "KUBECONFIG": str(kubeconfig or target.kubectl.kubeconfig)}


def run(
    target: Target, *arguments: str, kubeconfig: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """``kubectl arguments…`` to its end."""
    return subprocess.run(
        ["kubectl", *arguments],
        env=environment(target, kubeconfig),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
