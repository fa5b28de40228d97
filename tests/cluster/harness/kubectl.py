"""kubectl as the tests use it: answers as text or as decoded objects, failures as one readable error."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.harness.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One kubectl and the kubeconfig it uses; ``namespace`` is the default of every call."""

    program: Path
    kubeconfig: Path
    namespace: str = "default"

    def __call__(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """Run ``kubectl arguments…``; returns what it wrote. Raises ClusterError with its complaint."""
        argv = [
            str(self.program),
            "--kubeconfig",
            str(self.kubeconfig),
            "--namespace",
            self.namespace,
            *arguments,
        ]
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"kubectl {' '.join(arguments)}: no answer in {timeout_s:g} s") from error
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def within(self, namespace: str) -> "Kubectl":
        """The same kubectl with another default namespace."""
        return Kubectl(self.program, self.kubeconfig, namespace)

    def get(self, *arguments: str) -> Any:
        """``kubectl get … -o json``, decoded."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects."""
        bundle = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "-f", "-", stdin=json.dumps(bundle))

    def wait(self, condition: str, *resources: str, timeout_s: float = 60) -> None:
        """Wait for ``condition`` (``condition=Ready``, ``jsonpath=…``, ``create``, ``delete``) by a watch.

        On a timeout the error carries the objects' recent events, since those say why.
        """
        try:
            if condition != "delete":
                # kubectl wait gives up at once on an object that is not there yet, and on two such even with --for=create.
                for resource in resources:
                    self._wait("create", resource, timeout_s=timeout_s)
            if condition != "create":
                self._wait(condition, *resources, timeout_s=timeout_s)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self._events()}") from error

    def _wait(self, condition: str, *resources: str, timeout_s: float) -> None:
        limit = f"--timeout={timeout_s:g}s"
        self("wait", f"--for={condition}", *resources, limit, timeout_s=timeout_s + 10)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the API server answers requests of this user."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self("get", "namespace", "default", "-o", "name", timeout_s=10)
                return
            except ClusterError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _events(self) -> str:
        try:
            return self("get", "events", "--sort-by=.lastTimestamp", timeout_s=10)
        except ClusterError as error:
            return f"(no events: {error})"
