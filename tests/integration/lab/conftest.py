"""Labs as processes, each in its own sandbox, and eyes on what they leave behind."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEADLINE_SECONDS = 60.0

_BACK = {"kill": "restart", "suspend": "resume"}


class LabProcess:
    """`python -m csitrace.lab`, read until it is ready."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "csitrace.lab", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._read()
        self.ready: dict[str, Any] = json.loads(line)
        self.nodes: list[dict[str, str]] = self.ready["nodes"]
        self.directory = Path(self.ready["kubeconfig"]).parent
        self.token = json.loads(Path(self.ready["kubeconfig"]).read_text())["users"][0]["user"]["token"]
        # Held, so that no other lab that runs beside this one can be given its identity once it is gone.
        self.held = os.open(f"/proc/{self.ready['pid']}/ns/mnt", os.O_RDONLY)
        self.namespace = os.readlink(f"/proc/{self.ready['pid']}/ns/mnt")
        self.reached: set[str] = set()
        self.away: dict[str, str] = {}
        """What was killed or suspended, and the order that brings it back."""

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def wait_reached(self, *stories: str) -> None:
        while not set(stories) <= self.reached:
            line = self._read()
            assert line, "the lab ended"
            self.reached.add(json.loads(line)["reached"])

    def order(self, action: str, part: str) -> None:
        """`kill`, `restart`, `suspend` or `resume` one of its programs; only of a lab that tells no stories."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{action} {part}\n".encode())
        self.process.stdin.flush()
        assert json.loads(self._read()) == {"done": f"{action} {part}"}
        self.away.pop(part, None)
        if back := _BACK.get(action):
            self.away[part] = back

    def wait_registered(self) -> None:
        """Every node knows its driver: until then what is asked of it is refused a number of times that is chance."""

        def is_so() -> bool:
            found = self.items("/apis/storage.k8s.io/v1/csinodes")
            registered = {node["metadata"]["name"] for node in found if node["spec"].get("drivers")}
            return registered >= {node["name"] for node in self.nodes}

        wait_until(is_so, "the drivers are registered")

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.ready["url"] + path)
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(path)["items"]
        return found

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/v1/namespaces/demo/pods/{name}")
        return found

    def volume(self, claim_name: str) -> dict[str, Any]:
        """The PV that a claim is bound to."""
        claim = self.get(f"/api/v1/namespaces/demo/persistentvolumeclaims/{claim_name}")
        found: dict[str, Any] = self.get(f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        return found

    def events(self, about: str) -> list[tuple[str, str]]:
        """(reason, message) of the Events about objects of that name, in the order of their creation."""
        found = self.items(f"/api/v1/events?fieldSelector=involvedObject.name={about}")
        found.sort(key=lambda event: int(event["metadata"]["name"].rpartition(".")[2], 16))
        return [(event["reason"], event["message"]) for event in found]

    def mounts(self) -> dict[str, str]:
        """Mount point -> device number, below the kubelets' roots, as the lab sees them."""
        lines = Path(f"/proc/{self.ready['pid']}/mountinfo").read_text().splitlines()
        fields = [line.split() for line in lines]
        roots = tuple(node["kubelet_root"] for node in self.nodes)
        return {entry[4]: entry[2] for entry in fields if entry[4].startswith(roots)}

    def members(self) -> list[int]:
        """Processes in the lab's mount namespace."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and os.readlink(entry / "ns/mnt") == self.namespace:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def close(self) -> None:
        """The ordinary end: the other side of its standard input goes."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(DEADLINE_SECONDS)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Poll for a condition with a deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def why_no_mounts() -> str:
    """Why this machine cannot run a lab with mounts; empty when it can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    flags = "-m" if os.geteuid() == 0 else "-Urm"
    if subprocess.run(["unshare", flags, "true"], check=False, capture_output=True).returncode:
        return "a mount namespace of one's own is refused"
    return ""


@pytest.fixture(scope="session")
def mounts_allowed() -> None:
    if reason := why_no_mounts():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def new_lab(mounts_allowed: None) -> Iterator[Callable[..., LabProcess]]:
    """Starts labs; all are ended at the latest with the tests."""
    labs = []

    def start(*arguments: str) -> LabProcess:
        labs.append(LabProcess(*arguments))
        return labs[-1]

    yield start
    for lab in labs:
        lab.process.kill()
        lab.process.wait()
        os.close(lab.held)
