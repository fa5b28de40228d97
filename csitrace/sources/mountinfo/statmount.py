"""One mount as statmount(2) tells it, put in the words of /proc/PID/mountinfo.

Both describe the same structures of the kernel; what differs is that mountinfo prints flags as words and strings with escapes
(fs/proc_namespace.c, show_mountinfo) and that statmount names mounts by ids which are never used again. `Mount.mount_id` and
`parent_id` are mountinfo's in either case (`mnt_id_old`), so that no reader can tell how the table was read.
"""

import struct
from enum import IntFlag

from csitrace.model.mounts import Mount


class Field(IntFlag):
    """What statmount is asked for and says that it told (STATMOUNT_*). Fields with empty strings are not told."""

    SB_BASIC = 0x1
    MNT_BASIC = 0x2
    PROPAGATE_FROM = 0x4
    MNT_ROOT = 0x8
    MNT_POINT = 0x10
    FS_TYPE = 0x20
    MNT_OPTS = 0x80
    FS_SUBTYPE = 0x100
    SB_SOURCE = 0x200


ALL_OF_MOUNTINFO = (
    Field.SB_BASIC
    | Field.MNT_BASIC
    | Field.PROPAGATE_FROM
    | Field.MNT_ROOT
    | Field.MNT_POINT
    | Field.FS_TYPE
    | Field.MNT_OPTS
    | Field.FS_SUBTYPE
    | Field.SB_SOURCE
)

_STRINGS_AT = 512
_REPLY = struct.Struct(
    "=II"  # size, mnt_opts
    "QIIQII"  # mask, sb_dev_major, sb_dev_minor, sb_magic, sb_flags, fs_type
    "QQII"  # mnt_id, mnt_parent_id, mnt_id_old, mnt_parent_id_old
    "QQQQQ"  # mnt_attr, mnt_propagation, mnt_peer_group, mnt_master, propagate_from
    "II"  # mnt_root, mnt_point
    "QII"  # mnt_ns_id, fs_subtype, sb_source
)
_MNT_POINT_AT = 108
_UINT = struct.Struct("=I")

_SB_READ_ONLY = 0x1
_SB_WORDS = ((0x10, "sync"), (0x80, "dirsync"), (0x40, "mand"), (0x0200_0000, "lazytime"))
_ATTR_READ_ONLY = 0x1
_ATTR_WORDS = (  # mask, value under the mask, word; MOUNT_ATTR_* in mountinfo's order
    (0x2, 0x2, "nosuid"),
    (0x4, 0x4, "nodev"),
    (0x8, 0x8, "noexec"),
    (0x70, 0x10, "noatime"),
    (0x80, 0x80, "nodiratime"),
    (0x70, 0x0, "relatime"),
    (0x0020_0000, 0x0020_0000, "nosymfollow"),
    (0x0010_0000, 0x0010_0000, "idmapped"),
)
_SHARED, _SLAVE, _UNBINDABLE = 1 << 20, 1 << 19, 1 << 17


def mount_point_of(reply: bytes) -> str:
    """Only the mount point, for the test whether the rest is worth decoding."""
    return _string(reply, _UINT.unpack_from(reply, _MNT_POINT_AT)[0])


def tells_enough(reply: bytes) -> bool:
    """Whether this kernel tells a mount's source, and with it (both since Linux 6.13) everything else that mountinfo shows.
    To be asked about a mount that has a source, such as the root of a namespace."""
    return bool(_REPLY.unpack_from(reply)[2] & Field.SB_SOURCE)


def decode(reply: bytes) -> Mount:
    """The mount of a reply to `ALL_OF_MOUNTINFO`."""
    (
        _size, mnt_opts, told, major, minor, _magic, sb_flags, fs_type,
        _id, _parent, mount_id, parent_id, attr, propagation, peer_group, master, propagate_from,
        root, point, _namespace, fs_subtype, sb_source,
    ) = _REPLY.unpack_from(reply)  # fmt: skip
    name = _string(reply, fs_type)
    if told & Field.FS_SUBTYPE:
        name = f"{name}.{_string(reply, fs_subtype)}"
    return Mount(
        mount_id=mount_id,
        parent_id=parent_id,
        major=major,
        minor=minor,
        root=_string(reply, root),
        mount_point=_string(reply, point),
        options=_attributes(attr),
        propagation=_propagation(propagation, peer_group, master, propagate_from),
        fs_type=name,
        source=_string(reply, sb_source) if told & Field.SB_SOURCE else "none",
        super_options=_super_options(sb_flags, _string(reply, mnt_opts) if told & Field.MNT_OPTS else ""),
    )


def _string(reply: bytes, offset: int) -> str:
    start = _STRINGS_AT + offset
    return reply[start : reply.index(b"\0", start)].decode("utf-8", "backslashreplace")


def _attributes(attr: int) -> str:
    words = ["ro" if attr & _ATTR_READ_ONLY else "rw"]
    words += [word for mask, value, word in _ATTR_WORDS if attr & mask == value]
    return ",".join(words)


def _super_options(sb_flags: int, fs_options: str) -> str:
    words = ["ro" if sb_flags & _SB_READ_ONLY else "rw"]
    words += [word for flag, word in _SB_WORDS if sb_flags & flag]
    return ",".join([*words, fs_options] if fs_options else words)


def _propagation(kind: int, peer_group: int, master: int, propagate_from: int) -> str:
    words = []
    if kind & _SHARED:
        words.append(f"shared:{peer_group}")
    if kind & _SLAVE:
        words.append(f"master:{master}")
        if propagate_from and propagate_from != master:
            words.append(f"propagate_from:{propagate_from}")
    if kind & _UNBINDABLE:
        words.append("unbindable")
    return " ".join(words)
