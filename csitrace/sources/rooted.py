"""Paths as another process sees them: through /proc/PID/root, which leads into its mount namespace.

Only the kernel follows that link; an absolute symbolic link found behind it would lead back to our own root, so links are
resolved here. What is asked of a path is about directories of the node itself, never about a volume's.
"""

import os
from collections import deque

_MOST_LINKS = 40  # as the kernel's MAXSYMLINKS


def root_of(pid: str) -> str:
    """What to put before an absolute path of process `pid`; nothing for "self"."""
    return "" if pid == "self" else f"/proc/{pid}/root"


def resolved(path: str, root: str = "") -> str:
    """An absolute path without symbolic links, as a process with this root resolves it. What cannot be read is taken as it is."""
    if not root:
        return os.path.realpath(path)
    rest, done, links = deque(path.split("/")), "", 0
    while rest:
        name = rest.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            done = done.rpartition("/")[0]
            continue
        try:
            target = os.readlink(f"{root}{done}/{name}")
        except OSError:
            done = f"{done}/{name}"
            continue
        links += 1
        if links > _MOST_LINKS:
            return path
        done = "" if target.startswith("/") else done
        rest.extendleft(reversed(target.split("/")))
    return done or "/"
