"""Whose files are: who makes them, who may do what with them, and what the kernel enforces of it."""

import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

from tests.integration.fs.mounted import eventually

AT_FDCWD = -100
NOREPLACE, EXCHANGE = 1, 2


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _as_user(directory: Path, statements: str, user: int = 2345) -> int:
    """Run Python statements in a directory as another user of group 1234; the exit code."""
    become = "import os,sys;os.setgroups([]);os.setgid(1234);os.setuid(int(sys.argv[1]));os.umask(0o027)\n"
    command = [sys.executable, "-c", become + statements, str(user)]
    return subprocess.run(command, cwd=directory, check=False, stderr=subprocess.PIPE).returncode


def test_files_belong_to_who_makes_them(here: Path) -> None:
    """Owner, group and umask are the calling process's; a set-group-id directory hands its group down."""
    here.chmod(0o777)
    (here / "shared").mkdir()
    os.chown(here / "shared", 0, 4321)
    (here / "shared").chmod(0o2777)
    program = (
        "open('file','w').close();os.mkdir('dir');os.symlink('x','link');os.mkfifo('fifo',0o666)\n"
        "open('shared/file','w').close();os.mkdir('shared/dir')"
    )
    assert _as_user(here, program) == 0
    made = {
        name: os.lstat(here / name) for name in ("file", "dir", "link", "fifo", "shared/file", "shared/dir")
    }
    assert {found.st_uid for found in made.values()} == {2345}
    assert {name: found.st_gid for name, found in made.items()} == {
        **dict.fromkeys(("file", "dir", "link", "fifo"), 1234),
        "shared/file": 4321,
        "shared/dir": 4321,
    }
    assert stat.S_IMODE(made["file"].st_mode) == 0o640
    assert stat.S_IMODE(made["dir"].st_mode) == 0o750
    assert stat.S_IMODE(made["fifo"].st_mode) == 0o640
    assert made["shared/dir"].st_mode & stat.S_ISGID


def test_permissions_are_checked_by_the_kernel(here: Path) -> None:
    """Another user may not read a private file, nor change it, nor write into a directory without permission."""
    here.chmod(0o755)
    _write(here / "secret", b"s").chmod(0o600)
    program = (
        "refused=0\n"
        "for attempt in (lambda: open('secret'), lambda: open('new','w'), lambda: os.unlink('secret'),"
        " lambda: os.chmod('secret', 0o777)):\n"
        "  try: attempt()\n"
        "  except PermissionError: refused+=1\n"
        "sys.exit(refused)"
    )
    assert _as_user(here, program) == 4


def test_access_control_lists_are_enforced(here: Path) -> None:
    """A POSIX ACL that names a user lets that user in, and nobody else."""
    path = _write(here / "file", b"for 2345")
    here.chmod(0o755)
    nobody = 0xFFFFFFFF
    owner, named, group, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, permission, who)
        for tag, permission, who in (
            (owner, 6, nobody),
            (named, 4, 2345),
            (group, 0, nobody),
            (mask, 4, nobody),
            (other, 0, nobody),
        )
    )
    os.setxattr(path, "system.posix_acl_access", acl)
    assert os.getxattr(path, "system.posix_acl_access") == acl
    read = "try: open('file').read()\nexcept PermissionError: sys.exit(13)"
    assert _as_user(here, read, user=2345) == 0
    assert _as_user(here, read, user=2346) == 13


def test_set_id_bits_go_when_an_ordinary_user_changes_the_file(here: Path) -> None:
    """Writing or truncating takes set-user-id and set-group-id away, unless it is root who does; chown always does."""
    here.chmod(0o777)
    change = {
        "write": "open('write','r+b').write(b'y')",
        "truncate": "os.truncate('truncate', 0)",
        "open": "os.open('open', os.O_WRONLY|os.O_TRUNC)",
    }
    for name, statement in change.items():
        path = _write(here / name, b"x")
        os.chown(path, 2345, 1234)
        path.chmod(0o6777)
        assert stat.S_IMODE(path.stat().st_mode) == 0o6777
        assert _as_user(here, statement) == 0
        eventually(lambda path=path: not path.stat().st_mode & 0o6000, f"{name} drops the set-id bits")
    path = _write(here / "root", b"x")
    path.chmod(0o6777)
    path.write_bytes(b"y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o6777
    os.chown(path, 1, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
