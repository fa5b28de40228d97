"""A process in a mount namespace of its own, which mounts and unmounts on request.

Whatever a test leaves mounted dies with the process, and none of it was ever visible outside. Run as a program, this file is
that process: it reads one JSON list per line, `[operation, argument, …]`, and answers each with `{}` or `{"errno": …}`.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csitrace.model.mounts import Mount, parse_mountinfo
from csitrace.sources.mountinfo.interest import Interest

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_MOVE = 1, 32, 4096, 8192
_MNT_DETACH = 2


class MountNamespace:
    """The test's end of it. `root` is a directory below which everything happens; its path stands for the kubelet's root."""

    def __init__(self, process: "subprocess.Popen[str]", root: Path) -> None:
        self._process = process
        self.root = root
        self.pid = str(process.pid)

    def mount_tmpfs(self, name: str, flags: int = 0) -> None:
        """`flags`: MS_* of mount(2)."""
        self._ask("mount", "tmpfs", self._path(name), "tmpfs", flags)

    def change(self, name: str, flags: int) -> None:
        """The propagation of a mount (MS_SHARED, MS_SLAVE, MS_UNBINDABLE)."""
        self._ask("mount", "", self._path(name), "", flags)

    def bind(self, name: str, onto: str) -> None:
        self._ask("mount", self._path(name), self._path(onto), "", _MS_BIND)

    def remount(self, name: str, *, read_only: bool) -> None:
        """As kubelet and mount(8) make a bind mount read-only: in a second step."""
        self._ask(
            "mount", "", self._path(name), "", _MS_REMOUNT | _MS_BIND | (_MS_RDONLY if read_only else 0)
        )

    def move(self, name: str, onto: str) -> None:
        self._ask("mount", self._path(name), self._path(onto), "", _MS_MOVE)

    def unmount(self, name: str) -> None:
        """Lazily: whatever is mounted below goes with it."""
        self._ask("umount", self._path(name))

    def churn(self, name: str, times: int) -> None:
        """Mount and unmount so many times, without a pause."""
        self._ask("churn", self._path(name), times)

    def mounts(self) -> dict[int, Mount]:
        """What mountinfo shows below the root now."""
        interest = Interest.below(str(self.root))
        text = Path(f"/proc/{self.pid}/mountinfo").read_text(errors="backslashreplace")
        return {mount.mount_id: mount for mount in parse_mountinfo(text) if interest.mount(mount)}

    def clear(self) -> None:
        """Unmount everything below the root."""
        while mounts := self.mounts():
            for mount in mounts.values():
                with contextlib.suppress(OSError):
                    self._ask("umount", mount.mount_point)

    def _path(self, name: str) -> str:
        return str(self.root / name)

    def _ask(self, *request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), str(request))
        return answer


@contextlib.contextmanager
def mount_namespace(root: Path) -> Iterator[MountNamespace]:
    """A namespace that is gone afterwards with all its mounts. OSError where namespaces are not allowed."""
    as_user = ["--user", "--map-root-user"] if os.geteuid() else []
    command = ["unshare", *as_user, "--mount", "--propagation", "private", sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise PermissionError("no mount namespace of our own")
            yield MountNamespace(process, root)
        finally:
            process.stdin.close()  # ends the loop inside
            process.wait(timeout=10)


def _serve() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), "")

    def mount(source: str, target: str, fs_type: str, flags: int) -> None:
        check(
            libc.mount(
                os.fsencode(source), os.fsencode(target), fs_type.encode(), ctypes.c_ulong(flags), None
            )
        )

    def unmount(target: str) -> None:
        check(libc.umount2(os.fsencode(target), _MNT_DETACH))

    def do(operation: str, arguments: list[Any]) -> None:
        match operation:
            case "mount":
                mount(*arguments)
            case "umount":
                unmount(*arguments)
            case "churn":
                for _ in range(arguments[1]):
                    mount("tmpfs", arguments[0], "tmpfs", 0)
                    unmount(arguments[0])

    print("ready", flush=True)
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        try:
            do(operation, arguments)
            answer = {}
        except OSError as error:
            answer = {"errno": error.errno}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
