"""The volume's own size: statfs says it, a full volume answers ENOSPC, and what is removed can be used again."""

import errno
import io
import mmap
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from driver_ref.fs.channel import Counters, Ok, SetSize
from tests.integration.fs.mounted import MIB, MountedVolume, eventually, mounted


def _used(volume: MountedVolume) -> int:
    found = os.statvfs(volume.path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _blocks_on_disk(volume: MountedVolume) -> int:
    """What du(1) counts in the source: the truth the daemon's accounting must agree with."""
    done = subprocess.run(
        ["du", "-s", "-B512", str(volume.source)], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[0]) * 512


def _refused(act: Callable[[], object]) -> int | None:
    try:
        act()
    except OSError as error:
        return error.errno
    return None


def _fill(opened: io.RawIOBase, piece: int) -> int | None:
    """Write pieces until one is refused; the errno."""
    while (refused := _refused(lambda: opened.write(bytes(piece)))) is None:
        pass
    return refused


def test_statfs_is_the_volumes_size_not_the_disks(tmp_path: Path) -> None:
    """A fresh 64 MiB volume has 64 MiB, nearly all of it free; a resize changes that at once."""
    with mounted(tmp_path, size=64 * MIB) as volume:
        found = os.statvfs(volume.path)
        assert found.f_blocks * found.f_frsize == 64 * MIB
        assert 63 * MIB < found.f_bavail * found.f_frsize < 64 * MIB
        assert volume.control.command(SetSize(96 * MIB)) == Ok()
        found = os.statvfs(volume.path)
        assert found.f_blocks * found.f_frsize == 96 * MIB


def test_a_full_volume_answers_enospc_and_recovers(tmp_path: Path) -> None:
    """Filled to the last block: write, mkdir and symlink are refused; overwriting is not; removing makes room."""
    with mounted(tmp_path, size=8 * MIB) as volume:
        filler = volume.path / "filler"
        with filler.open("wb", buffering=0) as opened:
            assert _fill(opened, 64 << 10) == errno.ENOSPC
            assert _fill(opened, 4096) == errno.ENOSPC
            assert 0 <= os.statvfs(volume.path).f_bfree < 3
            opened.seek(0)
            assert opened.write(b"x" * (1 * MIB)) == 1 * MIB
        assert _refused(lambda: (volume.path / "more").write_bytes(b"x" * 20_000)) == errno.ENOSPC
        assert _used(volume) <= 8 * MIB
        filler.unlink()
        # The kernel tells of a close later than it returns from it, and until then the file is open and keeps its blocks.
        eventually(lambda: _used(volume) < 3 * MIB, "the space of the removed file comes back")
        (volume.path / "again").write_bytes(bytes(4 * MIB))
        assert (volume.path / "again").stat().st_size == 4 * MIB


def test_directories_take_space_too(tmp_path: Path) -> None:
    """On a volume without a free block, mkdir and symlink answer ENOSPC."""
    with mounted(tmp_path, size=8 * MIB) as volume:
        (volume.path / "file").write_bytes(bytes(1 * MIB))
        volume.control.command(SetSize(1 * MIB))
        assert _refused((volume.path / "dir").mkdir) == errno.ENOSPC
        assert _refused(lambda: (volume.path / "link").symlink_to("x")) == errno.ENOSPC
        volume.control.command(SetSize(8 * MIB))
        (volume.path / "dir").mkdir()


def test_mapping_beyond_the_space_left_is_reported(tmp_path: Path) -> None:
    """A shared mapping of a hole that does not fit fails at msync or fsync, not in silence."""
    with mounted(tmp_path, size=2 * MIB) as volume:
        path = volume.path / "mapped"
        with path.open("w+b") as opened:
            opened.truncate(8 * MIB)
            with mmap.mmap(opened.fileno(), 8 * MIB) as mapping:
                for page in range(0, 8 * MIB, 4096):
                    mapping[page] = 1
                assert _refused(mapping.flush) == errno.ENOSPC


def test_holes_are_free_and_filling_them_is_not(tmp_path: Path) -> None:
    """A file may be larger than the volume as long as it is a hole; writes into it are counted and refused."""
    with mounted(tmp_path, size=4 * MIB) as volume:
        path = volume.path / "sparse"
        path.touch()
        os.truncate(path, 100 * MIB)
        assert _used(volume) < MIB
        with path.open("r+b", buffering=0) as opened:
            opened.seek(50 * MIB)
            opened.write(bytes(2 * MIB))
            assert 2 * MIB <= _used(volume) < 3 * MIB
            opened.seek(70 * MIB)
            assert _refused(lambda: opened.write(b"x" * (4 * MIB))) in (None, errno.ENOSPC)
            assert _used(volume) <= 4 * MIB
        os.truncate(path, 0)
        assert _used(volume) < MIB


def test_space_of_an_unlinked_file_comes_back_when_it_is_closed(tmp_path: Path) -> None:
    """As everywhere: while somebody has the file open it takes space; a hard link keeps it too."""
    with mounted(tmp_path, size=32 * MIB) as volume:
        path, link = volume.path / "file", volume.path / "link"
        path.write_bytes(bytes(4 * MIB))
        os.link(path, link)
        assert 4 * MIB <= _used(volume) < 5 * MIB
        path.unlink()
        assert _used(volume) >= 4 * MIB
        with link.open("rb"):
            link.unlink()
            assert _used(volume) >= 4 * MIB
        eventually(lambda: _used(volume) < MIB, "the space of the closed file comes back")


def test_accounting_agrees_with_the_disk(tmp_path: Path) -> None:
    """After making, growing, cutting, linking, renaming over and removing, use is what du(1) counts; so after a restart."""
    with mounted(tmp_path) as volume:
        for number in range(40):
            directory = volume.path / f"d{number % 5}"
            directory.mkdir(exist_ok=True)
            path = directory / f"f{number}"
            path.write_bytes(bytes(10_000 * number))
            if number % 3 == 0:
                os.truncate(path, 5000)
            if number % 4 == 0:
                os.link(path, directory / f"l{number}")
            if number % 7 == 0:
                path.rename(volume.path / "d0/target")
            elif number % 5 == 1:
                path.unlink()
        os.sync()
        for path in volume.path.rglob("*"):
            path.lstat()
        on_disk = _blocks_on_disk(volume)
        eventually(lambda: abs(_used(volume) - on_disk) <= 8192, "use agrees with du")
        counters = volume.control.expect(Counters, lambda said: abs(said.used_bytes - on_disk) <= 8192)
        assert counters.size_bytes == 512 * MIB
        inodes = sum(1 for _ in volume.path.rglob("*") if _.lstat().st_nlink == 1 or _.is_dir())
        assert counters.used_inodes >= inodes
    with mounted(tmp_path) as volume:
        assert abs(_used(volume) - on_disk) <= 4096
