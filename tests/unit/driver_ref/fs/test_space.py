"""A volume's size and use."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driver_ref.fs.space import Space, measure

BLOCK = 4096
RANGES = st.lists(st.tuples(st.integers(0, 60 * BLOCK), st.integers(1, 5 * BLOCK)), max_size=8)


def _refusal(space: Space, fd: int, offset: int, size: int) -> int | None:
    """The errno a write is refused with."""
    try:
        space.require_for_write(fd, offset, size)
    except OSError as error:
        return error.errno
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    written=RANGES, offset=st.integers(0, 60 * BLOCK), size=st.integers(1, 5 * BLOCK), free=st.integers(0, 6)
)
def test_a_write_is_refused_exactly_when_its_unallocated_blocks_do_not_fit(
    tmp_path: Path, written: list[tuple[int, int]], offset: int, size: int, free: int
) -> None:
    """Whatever is allocated already, only the blocks a write adds count against what is free."""
    path = tmp_path / "file"
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    try:
        allocated: set[int] = set()
        for start, length in written:
            os.pwrite(fd, b"x" * length, start)
            allocated |= set(range(start // BLOCK, (start + length - 1) // BLOCK + 1))
        needed = set(range(offset // BLOCK, (offset + size - 1) // BLOCK + 1)) - allocated
        space = Space(size_bytes=100 * BLOCK, used_bytes=(100 - free) * BLOCK)
        expected = None if len(needed) <= free else errno.ENOSPC
        assert _refusal(space, fd, offset, size) == expected
    finally:
        os.close(fd)


def test_a_volume_shrunk_below_its_use_is_full() -> None:
    """Nothing is free, anything new is refused, and removing makes it usable again."""
    space = Space(size_bytes=10 * BLOCK, used_bytes=20 * BLOCK)
    assert space.free_bytes == 0
    with pytest.raises(OSError, match="full"):
        space.require(1)
    space.inode_removed(15 * BLOCK // 512)
    assert space.free_bytes == 5 * BLOCK
    space.require(5 * BLOCK)


def test_measure_counts_as_du_does(tmp_path: Path) -> None:
    """Sparse files by their blocks, hard links once, symbolic links not followed, directories included."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_bytes(b"x" * 100_000)
    (tmp_path / "a/b/link").hardlink_to(tmp_path / "a/file")
    (tmp_path / "outside").symlink_to("/usr")
    with (tmp_path / "sparse").open("wb") as opened:
        opened.truncate(1 << 30)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        used, inodes = measure(fd)
    finally:
        os.close(fd)
    done = subprocess.run(["du", "-s", "-B1", str(tmp_path)], check=True, capture_output=True, text=True)
    assert used == int(done.stdout.split()[0])
    assert inodes == 6  # the top, a, b, file, outside, sparse
