"""What POSIX programs expect of a file system, one expectation per test."""

import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from driver_ref.fs.syscalls import renameat2
from tests.integration.fs.mounted import MountedVolume, mounted, need

AT_FDCWD = -100
NOREPLACE, EXCHANGE = 1, 2


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_hard_links_are_one_file(here: Path) -> None:
    """Two names share inode, contents and link count; removing one leaves the other."""
    one, other = _write(here / "one", b"first"), here / "other"
    os.link(one, other)
    other.write_bytes(b"second")
    assert one.read_bytes() == b"second"
    assert one.stat().st_ino == other.stat().st_ino
    assert one.stat().st_nlink == 2
    one.unlink()
    assert other.read_bytes() == b"second"
    assert other.stat().st_nlink == 1


def test_symbolic_links_keep_their_target_and_can_be_linked_and_owned(here: Path) -> None:
    """A symbolic link is itself a file: it can dangle, be chowned, timed and hard-linked without being followed."""
    link = here / "link"
    link.symlink_to("nowhere/at all")
    assert os.readlink(link) == "nowhere/at all"
    os.chown(link, 12, 34, follow_symlinks=False)
    os.utime(link, ns=(1, 2), follow_symlinks=False)
    os.link(link, here / "again", follow_symlinks=False)
    found = os.lstat(here / "again")
    assert (found.st_uid, found.st_gid, found.st_mtime_ns, found.st_nlink) == (12, 34, 2, 2)
    assert stat.S_ISLNK(found.st_mode)


def test_rename_over_an_open_file(here: Path) -> None:
    """The replaced file stays readable and writable through who has it open; the name leads to the new one."""
    new, old = _write(here / "new", b"new"), _write(here / "old", b"old")
    with old.open("r+b") as opened:
        new.rename(old)
        assert opened.read() == b"old"
        opened.write(b" and more")
        opened.flush()
        assert os.fstat(opened.fileno()).st_nlink == 0
        assert os.fstat(opened.fileno()).st_size == len("old and more")
    assert old.read_bytes() == b"new"
    assert os.listdir(here) == ["old"]


def test_rename_noreplace_and_exchange(here: Path) -> None:
    """renameat2: NOREPLACE refuses an existing target, EXCHANGE swaps two names, a directory and a file too."""
    one, other = _write(here / "one", b"1"), here / "other"
    other.mkdir()
    _write(other / "inside", b"i")
    with pytest.raises(FileExistsError):
        renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), NOREPLACE)
    renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), EXCHANGE)
    assert other.read_bytes() == b"1"
    assert (one / "inside").read_bytes() == b"i"
    renameat2(AT_FDCWD, os.fsencode(other), AT_FDCWD, os.fsencode(here / "third"), NOREPLACE)
    assert (here / "third").read_bytes() == b"1"


def test_rename_between_two_names_of_one_file_does_nothing(here: Path) -> None:
    """POSIX: renaming a hard link onto another of the same file keeps both."""
    one, other = _write(here / "one", b"1"), here / "other"
    os.link(one, other)
    one.rename(other)
    assert sorted(os.listdir(here)) == ["one", "other"]
    one.unlink()
    assert other.read_bytes() == b"1"


def test_a_directory_moves_under_open_files(here: Path) -> None:
    """Files are reached under a renamed directory, by name and by descriptor."""
    (here / "a/b").mkdir(parents=True)
    inside = _write(here / "a/b/file", b"x")
    with inside.open("ab") as opened:
        (here / "a").rename(here / "moved")
        opened.write(b"y")
        opened.flush()
        os.fchmod(opened.fileno(), 0o600)
    assert (here / "moved/b/file").read_bytes() == b"xy"
    assert stat.S_IMODE((here / "moved/b/file").stat().st_mode) == 0o600
    assert not (here / "a").exists()


def test_unlinked_while_open(here: Path) -> None:
    """An unlinked file lives on for who has it open: read, write, truncate, chmod, stat, reopen through /proc."""
    path = _write(here / "file", b"contents")
    with path.open("r+b") as opened:
        path.unlink()
        assert not path.exists()
        opened.seek(0, os.SEEK_END)
        opened.write(b"!")
        opened.flush()
        os.ftruncate(opened.fileno(), 4)
        os.fchmod(opened.fileno(), 0o640)
        os.utime(opened.fileno(), ns=(5, 6))
        found = os.fstat(opened.fileno())
        assert (found.st_nlink, found.st_size, stat.S_IMODE(found.st_mode)) == (0, 4, 0o640)
        assert found.st_mtime_ns == 6
        assert Path(f"/proc/self/fd/{opened.fileno()}").read_bytes() == b"cont"
    assert os.listdir(here) == []


def test_removed_directory_stays_usable_as_working_directory(here: Path) -> None:
    """A removed directory that somebody is in is empty, and nothing can be made in it."""
    (here / "gone").mkdir()
    fd = os.open(here / "gone", os.O_RDONLY | os.O_DIRECTORY)
    try:
        (here / "gone").rmdir()
        assert os.listdir(fd) == []
        with pytest.raises(FileNotFoundError):
            os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    finally:
        os.close(fd)


def test_truncate_cuts_and_extends_with_zeros(here: Path) -> None:
    """truncate by name and by descriptor, to less and to more; O_TRUNC empties."""
    path = _write(here / "file", b"0123456789")
    os.truncate(path, 4)
    assert path.read_bytes() == b"0123"
    with path.open("r+b") as opened:
        opened.truncate(8)
    assert path.read_bytes() == b"0123\0\0\0\0"
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert path.stat().st_size == 0


def test_sparse_files_stay_sparse(here: Path) -> None:
    """A hole takes no space, reads as zeros, and its ends can be sought (as one data extent: no lseek in pyfuse3)."""
    path = here / "sparse"
    with path.open("wb") as opened:
        opened.seek(64 << 20)
        opened.write(b"end")
    assert path.stat().st_size == (64 << 20) + 3
    assert path.stat().st_blocks * 512 < 1 << 20
    with path.open("rb") as opened:
        assert opened.read(4096) == bytes(4096)
        assert os.lseek(opened.fileno(), 0, os.SEEK_DATA) == 0
        assert os.lseek(opened.fileno(), 0, os.SEEK_HOLE) == path.stat().st_size


def test_fallocate_is_refused_and_emulated(here: Path) -> None:
    """The kernel answers fallocate with EOPNOTSUPP (no handler in pyfuse3), so posix_fallocate falls back to writing."""
    with (here / "file").open("wb") as opened:
        os.posix_fallocate(opened.fileno(), 0, 1 << 20)
        assert os.fstat(opened.fileno()).st_size == 1 << 20


def test_extended_attributes(here: Path) -> None:
    """Set, replace, list and remove user attributes; CREATE and REPLACE mean what they say; absent ones are ENODATA."""
    path = _write(here / "file", b"")
    os.setxattr(path, "user.colour", b"blue \0 green", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.colour", b"red", os.XATTR_CREATE)
    with pytest.raises(OSError, match="No data available"):
        os.setxattr(path, "user.shape", b"round", os.XATTR_REPLACE)
    os.setxattr(path, "user.large", b"x" * 3000)
    assert os.getxattr(path, "user.colour") == b"blue \0 green"
    assert sorted(os.listxattr(path)) == ["user.colour", "user.large"]
    os.removexattr(path, "user.colour")
    assert os.listxattr(path) == ["user.large"]
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(path, "user.colour")


def test_special_files(here: Path) -> None:
    """FIFOs and sockets are made on the volume and work."""
    os.mkfifo(here / "fifo", 0o600)
    assert stat.S_ISFIFO(os.lstat(here / "fifo").st_mode)
    reader = os.open(here / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(here / "fifo", os.O_WRONLY)
    os.write(writer, b"through")
    assert os.read(reader, 100) == b"through"
    os.close(writer)
    os.close(reader)
    before = os.getcwd()
    os.chdir(here)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind("socket")
            listener.listen()
            client.connect("socket")
    finally:
        os.chdir(before)
    assert stat.S_ISSOCK(os.lstat(here / "socket").st_mode)


def test_times_to_the_nanosecond(here: Path) -> None:
    """utimens sets access and modification times exactly, and touching one leaves the other."""
    path = _write(here / "file", b"")
    os.utime(path, ns=(1_234_567_890_123_456_789, 987_654_321_012_345_678))
    assert path.stat().st_atime_ns == 1_234_567_890_123_456_789
    assert path.stat().st_mtime_ns == 987_654_321_012_345_678
    subprocess.run(["touch", "-a", "-d", "@77", str(path)], check=True)
    assert path.stat().st_atime_ns == 77_000_000_000
    assert path.stat().st_mtime_ns == 987_654_321_012_345_678


def test_readdir_while_the_directory_changes(here: Path) -> None:
    """Entries that stay are listed exactly once though others are added and removed between reads."""
    stay = {f"stay{number:04}" for number in range(600)}
    for name in stay:
        (here / name).touch()
    for number in range(200):
        (here / f"goes{number}").touch()
    seen: list[str] = []
    with os.scandir(here) as entries:
        for index, entry in enumerate(entries):
            seen.append(entry.name)
            if index < 200:
                (here / f"goes{index}").unlink()
                (here / f"comes{index}").touch()
    assert len(seen) == len(set(seen))
    assert stay <= set(seen)


def test_rewinddir_sees_the_new_state(here: Path) -> None:
    """After a rewind an open directory lists what was made meanwhile."""
    fd = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert os.listdir(fd) == []
        (here / "new").touch()
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.listdir(fd) == ["new"]
    finally:
        os.close(fd)


def test_shared_mappings(here: Path) -> None:
    """Two mappings of a file see each other's writes, msync brings them to the file behind."""
    path = _write(here / "file", bytes(1 << 16))
    with (
        path.open("r+b") as opened,
        mmap.mmap(opened.fileno(), 0) as one,
        mmap.mmap(opened.fileno(), 0) as other,
    ):
        one[70:75] = b"hello"
        assert other[70:75] == b"hello"
        one.flush()
        assert path.read_bytes()[70:75] == b"hello"
    with path.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        opened.seek(70)
        assert opened.read(5) == b"hello"


def test_appending_writers_do_not_overwrite_each_other(here: Path) -> None:
    """O_APPEND from two processes at once loses no line."""
    path = here / "log"
    program = "import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND|os.O_CREAT)\n" + (
        "for i in range(300): os.write(fd, f'{sys.argv[2]} {i}\\n'.encode())"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(f"{name} {i}" for name in "abc" for i in range(300))


@pytest.mark.parametrize("lock", ["flock", "fcntl"])
def test_locks_exclude_another_process(here: Path, lock: str) -> None:
    """A lock held by one process is refused to another, and is free again when the holder has closed."""
    path = _write(here / "file", b"x")
    take = "fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    if lock == "fcntl":
        take = "fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    program = (
        f"import fcntl,sys\nf=open(sys.argv[1],'r+b')\ntry: {take}\nexcept OSError as e: sys.exit(e.errno)"
    )
    with path.open("r+b") as opened:
        (fcntl.flock if lock == "flock" else fcntl.lockf)(opened, fcntl.LOCK_EX)
        assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == errno.EAGAIN
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == 0


def test_fsync_of_file_and_directory(here: Path, shared_volume: MountedVolume) -> None:
    """fsync, fdatasync and a directory's fsync reach the daemon and succeed."""
    before = shared_volume.counted("FSYNC"), shared_volume.counted("FSYNCDIR")
    with (here / "file").open("wb") as opened:
        opened.write(b"data")
        opened.flush()
        os.fsync(opened.fileno())
        os.fdatasync(opened.fileno())
    fd = os.open(here, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    after = shared_volume.counted("FSYNC"), shared_volume.counted("FSYNCDIR")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)


def test_o_sync_writes_and_large_reads(here: Path) -> None:
    """A file written O_SYNC in odd pieces reads back the same, from the cache and from disk."""
    data = os.urandom(3_000_001)
    fd = os.open(here / "file", os.O_CREAT | os.O_WRONLY | os.O_SYNC)
    for start in range(0, len(data), 777_777):
        os.write(fd, data[start : start + 777_777])
    os.close(fd)
    assert (here / "file").read_bytes() == data


def test_data_is_read_right_when_nothing_is_cached(volume: MountedVolume) -> None:
    """What is neither in the mount's page cache nor in the source's is read from disk, by a thread, whole."""
    data = os.urandom(2_500_123)
    (volume.path / "file").write_bytes(data)
    for path in (volume.path / "file", volume.source / "file"):
        with path.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert (volume.path / "file").read_bytes() == data


def test_o_direct(here: Path) -> None:
    """Direct I/O of aligned blocks works."""
    path = here / "file"
    block = mmap.mmap(-1, 8192)
    block.write(os.urandom(8192))
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    assert os.pwritev(fd, [block], 4096) == 8192
    back = mmap.mmap(-1, 8192)
    assert os.preadv(fd, [back], 4096) == 8192
    os.close(fd)
    assert back[:] == block[:]


def test_names_of_any_bytes_and_of_full_length(here: Path) -> None:
    """Names that are no UTF-8, hold newlines, or have 255 bytes work; 256 bytes are ENAMETOOLONG."""
    names = [b"\xff\xfe not utf-8", b"new\nline", b"n" * 255]
    for name in names:
        (here / os.fsdecode(name)).write_bytes(name)
    assert sorted(os.listdir(os.fsencode(here))) == sorted(names)
    with pytest.raises(OSError, match="File name too long"):
        (here / ("n" * 256)).touch()


def test_very_deep_directories(here: Path) -> None:
    """A tree deeper than PATH_MAX and than Python's recursion limit can be made, left and removed."""
    need(sys.getrecursionlimit() <= 1000, "the recursion limit was raised")
    fds = [os.open(here, os.O_RDONLY | os.O_DIRECTORY)]
    try:
        for _ in range(1200):
            os.mkdir("deeper", dir_fd=fds[-1])
            fds.append(os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fds[-1]))
        os.close(os.open("bottom", os.O_CREAT, dir_fd=fds[-1]))
        assert os.listdir(fds[-1]) == ["bottom"]
        os.unlink("bottom", dir_fd=fds[-1])
        while len(fds) > 1:
            os.close(fds.pop())
            os.rmdir("deeper", dir_fd=fds[-1])
    finally:
        for fd in fds:
            os.close(fd)


def test_inodes_are_reached_when_few_descriptors_are_cached(tmp_path: Path) -> None:
    """With room for 16 descriptors, 400 files in nested directories, held, renamed and unlinked, all stay reachable."""
    with mounted(tmp_path, "--cached-files", "16") as volume:
        directories = [volume.path / f"d{number}" / "sub" for number in range(40)]
        for directory in directories:
            directory.mkdir(parents=True)
        files = [
            _write(directory / f"f{n}", f"{directory.parent.name} {n}".encode())
            for directory in directories
            for n in range(10)
        ]
        held = [path.open("r+b") for path in files]
        for number in range(40):
            (volume.path / f"d{number}").rename(volume.path / f"e{number}")
        for number in range(0, 40, 2):
            (volume.path / f"e{number}/sub/f0").unlink()
        for opened, path in zip(held, files, strict=True):
            expected = f"{path.parent.parent.name} {path.name[1:]}".encode()
            os.fchmod(opened.fileno(), 0o600)
            assert opened.read() == expected
            assert os.fstat(opened.fileno()).st_size == len(expected)
            opened.close()
        assert len(list(volume.path.rglob("f*"))) == 380
        daemon_files = len(os.listdir(f"/proc/{volume.process.pid}/fd"))
        assert daemon_files < 100


def test_a_replaced_file_is_reached_when_few_descriptors_are_cached(tmp_path: Path) -> None:
    """What was renamed over keeps its attributes for who has it open, long after its descriptor would be evicted."""
    with mounted(tmp_path, "--cached-files", "16", "--cache-seconds", "0") as volume:
        old = _write(volume.path / "old", b"old")
        for number in range(50):
            _write(volume.path / f"f{number}", b"x")
        with old.open("rb") as opened:
            (volume.path / "f0").rename(old)
            for number in range(1, 50):
                (volume.path / f"f{number}").chmod(0o600)
            assert os.fstat(opened.fileno()).st_nlink == 0
            assert os.fstat(opened.fileno()).st_size == 3
            os.fchmod(opened.fileno(), 0o444)
            assert stat.S_IMODE(os.fstat(opened.fileno()).st_mode) == 0o444
        assert old.read_bytes() == b"x"
