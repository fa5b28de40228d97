"""What a change of the mount table costs to follow, among many mounts: each way, and the obvious one (read and parse it all).

CPU time of this process alone, per change, in rounds that take turns: changes looked at one by one, and a burst looked at once.
Ratios within this run. Needs root or a user namespace: everything happens in a mount namespace of its own.
"""

import argparse
import math
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from csitrace.model.mounts import parse_mountinfo
from csitrace.sources.mountinfo.interest import Interest
from csitrace.sources.mountinfo.watchers import WAYS, Changes, MountWatcher
from tests.integration.kernel.namespace import MountNamespace, mount_namespace

OBVIOUS = "read and parse"


class ObviousWatcher:
    """Woken as the others are, then reads the file, parses every line and compares."""

    def __init__(self, pid: str, interest: Interest) -> None:
        self._path = Path(f"/proc/{pid}/mountinfo")
        self._interest = interest
        self._file = self._path.open("rb")
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI)
        self._mounts: dict[int, object] = {}

    def wait(self) -> None:
        self._poll.poll()

    def read(self, now: float) -> Changes:
        mounts = {
            mount.mount_id: mount
            for mount in parse_mountinfo(self._path.read_text())
            if self._interest.mount(mount)
        }
        appeared = tuple(mount for mount_id, mount in mounts.items() if self._mounts.get(mount_id) != mount)
        self._mounts = dict(mounts)
        return Changes((), appeared)

    def close(self) -> None:
        self._file.close()


class WokenWatcher:
    """One of the source's ways, waited for as an event loop does."""

    def __init__(self, watcher: MountWatcher) -> None:
        self._watcher = watcher
        self._poll = select.epoll()
        self._poll.register(watcher.wake_fd, select.EPOLLIN)

    def wait(self) -> None:
        self._poll.poll()
        self._watcher.acknowledge()

    def read(self, now: float) -> Changes:
        return self._watcher.read(now)

    def close(self) -> None:
        self._poll.close()
        self._watcher.close()


Watcher = ObviousWatcher | WokenWatcher


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mounts", type=int, default=2_000)
    parser.add_argument("--changes", type=int, default=20, help="changes per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--burst", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        try:
            with mount_namespace(root) as namespace:
                measure(namespace, arguments.mounts, arguments.changes, arguments.rounds, arguments.burst)
        except OSError as error:
            print(f"{error}: run as root, or under `unshare -Urm`", file=sys.stderr)
            return 3
    return 0


def measure(namespace: MountNamespace, mounts: int, changes: int, rounds: int, burst: int) -> None:
    for number in range(
        mounts
    ):  # side by side: mounts on top of each other would make every path slow to tell
        mount_anew(namespace, f"there-{number}")
    watchers = dict(open_all(namespace))
    costs: dict[str, dict[str, list[float]]] = {
        name: {"change": [], "in burst": [], "look again": []} for name in watchers
    }
    for _ in range(rounds):
        for name, watcher in watchers.items():
            costs[name]["change"].append(cost_per_change(namespace, watcher, changes))
            costs[name]["in burst"].append(cost_in_burst(namespace, watcher, burst))
            costs[name]["look again"].append(cost_of_looking_again(watcher))
    print(
        f"{mounts} mounts, {rounds} rounds of {changes} changes and a burst of {burst}; ms of CPU, and how many times cheaper"
    )
    print(f"{'way':>16}" + "".join(f"{kind:>12} {'':>7}" for kind in costs[OBVIOUS]))
    for name, watcher in watchers.items():
        watcher.close()
        print(f"{name:>16}", end="")
        for kind, obvious in costs[OBVIOUS].items():
            cost = statistics.median(costs[name][kind])
            print(f"{cost * 1e3:>12.3f} {statistics.median(obvious) / cost:>6.1f}x", end="")
        print()


def mount_anew(namespace: MountNamespace, name: str) -> None:
    (namespace.root / name).mkdir(exist_ok=True)
    namespace.mount_tmpfs(name)


def open_all(namespace: MountNamespace) -> Iterable[tuple[str, Watcher]]:
    interest = Interest.below(str(namespace.root))
    for name, way in WAYS.items():
        try:
            yield name, WokenWatcher(way(namespace.pid, interest))
        except OSError as error:
            print(f"{name}: {error}", file=sys.stderr)
    yield OBVIOUS, ObviousWatcher(namespace.pid, interest)


def cost_per_change(namespace: MountNamespace, watcher: Watcher, changes: int) -> float:
    """Seconds of our CPU per mount or unmount, each waited for."""
    watcher.read(math.inf)
    spent = 0.0
    for number in range(changes):
        if number % 2:
            namespace.unmount("one")
        else:
            mount_anew(namespace, "one")
        began = time.process_time()
        told = 0
        while not told:
            watcher.wait()
            changed = watcher.read(time.monotonic())
            told = len(changed.appeared) + len(changed.vanished) or isinstance(watcher, ObviousWatcher)
        spent += time.process_time() - began
    return spent / changes


def cost_of_looking_again(watcher: Watcher) -> float:
    """Seconds of our CPU to look at all known mounts, which the ways that look at changes alone do from time to time."""
    began = time.process_time()
    watcher.read(math.inf)
    return time.process_time() - began


def cost_in_burst(namespace: MountNamespace, watcher: Watcher, burst: int) -> float:
    """Seconds of our CPU per mount, of many that are made before we look once."""
    watcher.read(math.inf)
    for number in range(burst):
        mount_anew(namespace, f"burst-{number}")
    began = time.process_time()
    watcher.wait()
    changed = watcher.read(time.monotonic())
    spent = time.process_time() - began
    assert len(changed.appeared) == burst
    for number in range(burst):
        namespace.unmount(f"burst-{number}")
    return spent / burst


if __name__ == "__main__":
    raise SystemExit(main())
