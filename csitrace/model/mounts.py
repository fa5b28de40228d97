"""One mount as `/proc/<pid>/mountinfo` describes it (proc_pid_mountinfo(5)), and the parser of its lines."""

import re
from collections.abc import Iterator

import msgspec

_OCTAL = re.compile(r"\\([0-3][0-7]{2})")


class Mount(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """`mount_id` is unique only while the mount exists. `minor` of a FUSE mount's device is its connection's number."""

    mount_id: int
    parent_id: int
    major: int
    minor: int
    root: str
    mount_point: str
    options: str = ""
    propagation: str = ""
    fs_type: str = ""
    source: str = ""
    super_options: str = ""

    @property
    def device(self) -> tuple[int, int]:
        return (self.major, self.minor)

    @property
    def is_fuse(self) -> bool:
        """Served by a FUSE daemon: type `fuse`, `fuseblk` or `fuse.<subtype>` (not `fusectl`)."""
        return self.fs_type in ("fuse", "fuseblk") or self.fs_type.startswith("fuse.")

    @property
    def read_only(self) -> bool:
        return "ro" in self.options.split(",")


def parse_mountinfo_line(line: str) -> Mount | None:
    """One line, or None where it is not of mountinfo's form (a torn line, a future layout)."""
    left, separator, right = line.rstrip("\n").partition(" - ")
    fields, tail = left.split(" "), right.split(" ")
    if not separator or len(fields) < 6 or len(tail) < 2:
        return None
    try:
        major, _, minor = fields[2].partition(":")
        return Mount(
            mount_id=int(fields[0]),
            parent_id=int(fields[1]),
            major=int(major),
            minor=int(minor),
            root=_unescape(fields[3]),
            mount_point=_unescape(fields[4]),
            options=fields[5],
            propagation=" ".join(fields[6:]),
            fs_type=tail[0],
            source=_unescape(tail[1]),
            super_options=" ".join(tail[2:]),
        )
    except ValueError:
        return None


def parse_mountinfo(text: str) -> Iterator[Mount]:
    """The mounts of a whole mountinfo file, in its order; lines that are none are passed over."""
    for line in text.split("\n"):  # not splitlines(): a path may hold other line separators
        mount = parse_mountinfo_line(line)
        if mount is not None:
            yield mount


def _unescape(field: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash (`\\040`)."""
    if "\\" not in field:
        return field
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
