"""The mount against a bare directory: any sequence of operations gives the same results and leaves the same tree."""

import errno
import itertools
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from driver_ref.fs.syscalls import renameat2
from tests.integration.fs.mounted import MountedVolume, mounted

NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
AT_FDCWD, NOREPLACE, EXCHANGE = -100, 1, 2
_serial = itertools.count()


@pytest.fixture(scope="module")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountedVolume]:
    """A volume whose kernel side caches nothing and whose daemon may keep hardly any descriptor: all is asked for again."""
    with mounted(tmp_path_factory.mktemp("model"), "--cached-files", "16", "--cache-seconds", "0") as volume:
        yield volume


def _outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _described(path: Path) -> object:
    """What of a file a program can rely on to be the same in both places."""
    found = path.lstat()
    kind = stat.S_IFMT(found.st_mode)
    size = found.st_size if kind != stat.S_IFDIR else None
    contents = (
        path.read_bytes() if kind == stat.S_IFREG else os.readlink(path) if kind == stat.S_IFLNK else None
    )
    return oct(found.st_mode), found.st_nlink, size, contents


class TwoTrees(RuleBasedStateMachine):
    """Every rule acts on both trees and compares; ``volume`` is set by the test."""

    volume: MountedVolume

    def __init__(self) -> None:
        super().__init__()
        name = f"run{next(_serial)}"
        self.trees = [self.volume.path / name, self.volume.source.with_name("bare") / name]
        for tree in self.trees:
            tree.mkdir(parents=True)
            for above, below in itertools.product("abcd", "abcd"):  # more than the daemon may have open
                (tree / above / below).mkdir(parents=True)
                (tree / above / below / "a").write_text(above + below)
        self.open_files: list[list[int]] = []
        self.open_directories: list[list[int]] = []

    def teardown(self) -> None:
        with ExitStack() as stack:
            for pair in self.open_files + self.open_directories:
                for fd in pair:
                    stack.callback(os.close, fd)
            self.same_trees()

    def both(self, act: Callable[[Path], object]) -> None:
        served, bare = (_outcome(lambda tree=tree: act(tree)) for tree in self.trees)
        assert served == bare

    @rule(path=PATHS)
    def mkdir(self, path: str) -> None:
        self.both(lambda tree: os.mkdir(tree / path))

    @rule(path=PATHS)
    def rmdir(self, path: str) -> None:
        self.both(lambda tree: os.rmdir(tree / path))

    @rule(path=PATHS)
    def unlink(self, path: str) -> None:
        self.both(lambda tree: os.unlink(tree / path))

    @rule(path=PATHS, data=st.binary(max_size=50), offset=st.integers(0, 9000))
    def write(self, path: str, data: bytes, offset: int) -> None:
        def act(tree: Path) -> int:
            fd = os.open(tree / path, os.O_CREAT | os.O_WRONLY)
            try:
                return os.pwrite(fd, data, offset)
            finally:
                os.close(fd)

        self.both(act)

    @rule(path=PATHS, size=st.integers(0, 9000))
    def truncate(self, path: str, size: int) -> None:
        self.both(lambda tree: os.truncate(tree / path, size))

    @rule(path=PATHS, mode=st.integers(0, 0o777))
    def chmod(self, path: str, mode: int) -> None:
        self.both(lambda tree: os.chmod(tree / path, mode))

    @rule(path=PATHS, points_to=NAMES)
    def symlink(self, path: str, points_to: str) -> None:
        self.both(lambda tree: os.symlink(points_to, tree / path))

    @rule(old=PATHS, new=PATHS)
    def link(self, old: str, new: str) -> None:
        self.both(lambda tree: os.link(tree / old, tree / new, follow_symlinks=False))

    @rule(old=PATHS, new=PATHS, flags=st.sampled_from([0, 0, NOREPLACE, EXCHANGE]))
    def rename(self, old: str, new: str, flags: int) -> None:
        self.both(
            lambda tree: renameat2(
                AT_FDCWD, os.fsencode(tree / old), AT_FDCWD, os.fsencode(tree / new), flags
            )
        )

    @rule(path=PATHS)
    def open(self, path: str) -> None:
        opened = [_outcome(lambda tree=tree: os.open(tree / path, os.O_RDWR)) for tree in self.trees]
        if all(isinstance(fd, int) for fd in opened):
            self.open_files.append([fd for fd in opened if isinstance(fd, int)])
        else:
            assert opened[0] == opened[1]

    @rule(data=st.binary(min_size=1, max_size=20), which=st.integers(0, 100))
    def write_open_file(self, data: bytes, which: int) -> None:
        if self.open_files:
            served, bare = self.open_files[which % len(self.open_files)]
            for fd in (served, bare):
                os.pwrite(fd, data, 3)
            assert os.pread(served, 10_000, 0) == os.pread(bare, 10_000, 0)
            assert os.fstat(served).st_nlink == os.fstat(bare).st_nlink
            assert os.fstat(served).st_size == os.fstat(bare).st_size

    @rule(path=PATHS)
    def open_directory(self, path: str) -> None:
        opened = [_outcome(lambda tree=tree: os.open(tree / path, os.O_DIRECTORY)) for tree in self.trees]
        if all(isinstance(fd, int) for fd in opened):
            self.open_directories.append([fd for fd in opened if isinstance(fd, int)])
        else:
            assert opened[0] == opened[1]

    @rule(name=NAMES, which=st.integers(0, 100))
    def use_open_directory(self, name: str, which: int) -> None:
        """A directory is used through its descriptor wherever it has been moved to, or when it has been removed."""
        if self.open_directories:
            pair = self.open_directories[which % len(self.open_directories)]
            served, bare = (
                (
                    _outcome(lambda fd=fd: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))),
                    _outcome(lambda fd=fd: sorted(os.listdir(fd))),
                    _outcome(lambda fd=fd: os.stat(name, dir_fd=fd, follow_symlinks=False).st_nlink),
                )
                for fd in pair
            )
            assert served == bare

    @rule()
    def close_all(self) -> None:
        for fd in itertools.chain.from_iterable(self.open_files + self.open_directories):
            os.close(fd)
        self.open_files.clear()
        self.open_directories.clear()

    @rule()
    def same_trees(self) -> None:
        served, bare = (
            {str(path.relative_to(tree)): _described(path) for path in sorted(tree.rglob("*"))}
            for tree in self.trees
        )
        assert served == bare


def test_the_mount_behaves_as_a_bare_directory(small_cache: MountedVolume) -> None:
    """Random sequences of fifteen operations agree in results, errors and trees, and the accounting with the disk."""

    class Bound(TwoTrees):
        volume = small_cache

    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow],
            database=None,
        ),
    )
    assert "Traceback" not in small_cache.log()
    for path in small_cache.path.rglob("*"):
        path.lstat()  # block counts change on disk when data is written back; a look brings them up to date
    found = os.statvfs(small_cache.path)
    done = subprocess.run(["du", "-sk", str(small_cache.source)], check=True, capture_output=True, text=True)
    assert (found.f_blocks - found.f_bfree) * found.f_frsize // 1024 == int(done.stdout.split()[0])
