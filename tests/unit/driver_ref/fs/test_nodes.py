"""The table of inodes, on a real directory, with hardly any descriptors to spare."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver_ref.fs.nodes import ROOT_INO, Node, NodeTable

CAPACITY = 16


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def table(tmp_path: Path) -> Iterator[NodeTable]:
    before = _descriptors()
    table = NodeTable(str(tmp_path), CAPACITY)
    yield table
    os.close(table.root.fd)
    for name in _descriptors() - before:  # the table is never closed in use: the process ends
        os.close(int(name))


def _look_up(table: NodeTable, parent: Node, name: str) -> Node:
    encoded = os.fsencode(name)
    return table.hold(parent, encoded, os.stat(encoded, dir_fd=table.fd(parent), follow_symlinks=False))


def _contents(table: NodeTable, node: Node) -> bytes:
    return Path(table.path(node)).read_bytes()


def _make(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(name.encode())


def test_descriptors_are_bounded_and_every_node_stays_reachable(table: NodeTable, tmp_path: Path) -> None:
    """A hundred known files need no more than the capacity, whatever the order in which they are used."""
    for number in range(100):
        _make(tmp_path, f"f{number}")
    before = len(_descriptors())
    nodes = [_look_up(table, table.root, f"f{number}") for number in range(100)]
    for number in [*range(100), *reversed(range(100)), *range(0, 100, 7)]:
        assert _contents(table, nodes[number]) == f"f{number}".encode()
    assert len(_descriptors()) - before <= CAPACITY


def test_references_are_counted(table: NodeTable, tmp_path: Path) -> None:
    """A node stays until the kernel has given back as many references as it was given; then it is unknown."""
    _make(tmp_path, "file")
    node = _look_up(table, table.root, "file")
    assert _look_up(table, table.root, "file") is node
    assert table.forget(node.ino, 1) is None
    assert table.get(node.ino) is node
    assert table.forget(node.ino, 1) is node
    with pytest.raises(OSError, match="forgotten") as unknown:
        table.get(node.ino)
    assert unknown.value.errno == errno.ESTALE


def test_the_root_is_never_forgotten(table: NodeTable) -> None:
    """Whatever the kernel gives back of it, also at unmount."""
    assert table.forget(ROOT_INO, 1000) is None
    assert table.get(ROOT_INO) is table.root


def test_an_unlinked_node_is_kept_open(table: NodeTable, tmp_path: Path) -> None:
    """Pinned before it loses its name, it can be reached though its descriptor would long have been evicted."""
    _make(tmp_path, "file")
    node = _look_up(table, table.root, "file")
    table.pin(node)
    (tmp_path / "file").unlink()
    table.unlinked(node, table.root, b"file", last_link=True)
    for number in range(3 * CAPACITY):
        _make(tmp_path, f"f{number}")
        table.fd(_look_up(table, table.root, f"f{number}"))
    assert _contents(table, node) == b"file"
    assert node.orphaned


def test_a_node_follows_renames_of_itself_and_of_directories_above(table: NodeTable, tmp_path: Path) -> None:
    """Found again under its new path, with nothing open on the way."""
    (tmp_path / "a/b").mkdir(parents=True)
    _make(tmp_path, "a/b/file")
    a = _look_up(table, table.root, "a")
    b = _look_up(table, a, "b")
    node = _look_up(table, b, "file")
    (tmp_path / "a/b/file").rename(tmp_path / "a/b/other")
    table.renamed(node, (b, b"file"), (b, b"other"))
    (tmp_path / "a").rename(tmp_path / "z")
    table.renamed(a, (table.root, b"a"), (table.root, b"z"))
    assert {a.fd, b.fd} - {-1} != set()  # something is cached; drop it all
    for number in range(2 * CAPACITY):
        _make(tmp_path, f"f{number}")
        table.fd(_look_up(table, table.root, f"f{number}"))
    assert (a.fd, b.fd, node.fd) == (-1, -1, -1)
    assert _contents(table, node) == b"a/b/file"


@pytest.mark.parametrize("replaced", [True, False])
def test_a_name_that_leads_elsewhere_is_stale(table: NodeTable, tmp_path: Path, replaced: bool) -> None:
    """A file removed or exchanged behind the daemon's back is ESTALE, never somebody else's data."""
    _make(tmp_path, "file")
    node = _look_up(table, table.root, "file")
    (tmp_path / "file").rename(tmp_path / "elsewhere")
    if replaced:
        _make(tmp_path, "file")
    with pytest.raises(OSError, match=r"behind our back|another file") as stale:
        table.fd(node)
    assert stale.value.errno == errno.ESTALE


def test_two_descriptors_at_once_are_both_open(table: NodeTable, tmp_path: Path) -> None:
    """Opening the second, deep down, does not close the first under the caller."""
    deep = [table.root]
    path = tmp_path
    for number in range(CAPACITY - 2):
        path = path / f"d{number}"
        path.mkdir()
        deep.append(_look_up(table, deep[-1], f"d{number}"))
    _make(tmp_path, "file")
    first = _look_up(table, table.root, "file")
    one, other = table.fds(first, deep[-1])
    assert os.fstat(one).st_ino == first.key[1]
    assert os.fstat(other).st_ino == deep[-1].key[1]


def test_running_out_of_descriptors_costs_the_cache_not_the_operation(
    table: NodeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the process may open no more files, cached descriptors are closed and the open is tried again."""
    for number in range(CAPACITY):
        _make(tmp_path, f"f{number}")
        table.fd(_look_up(table, table.root, f"f{number}"))
    real_open, refusals = os.open, [OSError(errno.EMFILE, "Too many open files")]

    def open_with_one_refusal(*arguments: object, **options: object) -> int:
        if refusals:
            raise refusals.pop()
        return real_open(*arguments, **options)  # type: ignore[arg-type]  # as it was called

    before = len(_descriptors())
    monkeypatch.setattr(os, "open", open_with_one_refusal)
    fd = table.open(tmp_path / "f0", os.O_RDONLY)
    monkeypatch.undo()
    os.close(fd)
    assert len(_descriptors()) <= before - CAPACITY // 2
