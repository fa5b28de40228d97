"""Inodes that the kernel knows, and how to reach the files behind them.

The kernel speaks of inodes by number; between a LOOKUP and the matching FORGET it may come back to one at any time, when
its file has been renamed or unlinked meanwhile. A node therefore remembers a name (parent and entry name, kept up to date
by every rename, which all pass through here) and is reached by an O_PATH descriptor opened from it. Those descriptors are
a cache of bounded size: a kernel may know millions of inodes, a process may not have that many files. A node that loses
its last known name while the kernel still holds it (unlinked but open) is opened first and keeps its descriptor until it
is forgotten. Every descriptor opened by name is checked to be the very inode that was meant; ESTALE if not, at which the
kernel looks the name up again.

O_PATH descriptors need no permission on the file and follow it through renames; operations that take no descriptor go
through ``/proc/self/fd/N``, which for them *is* the file, a symbolic link included.
"""

import errno
import os
from collections import OrderedDict
from typing import Final

ROOT_INO: Final = 1
"""FUSE_ROOT_ID of the kernel's protocol: the mount's root has this number whatever it has on disk."""

_FOREIGN_INO_BASE: Final = 1 << 63
"""Numbers from here on are for inodes whose own number cannot be used: another device's, or one that equals ROOT_INO."""

Key = tuple[int, int]
"""(st_dev, st_ino): what identifies a file below the source directory."""


class Node:
    """One inode that the kernel holds ``nlookup`` references to.

    ``parent`` and ``name`` are the name it was last seen under; ``name`` is None for the root and for a node without
    any name we know of. ``blocks`` is its last known st_blocks, ``orphaned`` that its last link is gone: its space
    comes back when the kernel forgets it.
    """

    __slots__ = ("blocks", "fd", "ino", "key", "name", "nlookup", "orphaned", "parent")

    def __init__(self, ino: int, key: Key, parent: "Node | None", name: bytes | None) -> None:
        self.ino = ino
        self.key = key
        self.parent = parent
        self.name = name
        self.nlookup = 0
        self.blocks = 0
        self.orphaned = False
        self.fd = -1


class NodeTable:
    """Every node the kernel knows, by number and by identity on disk.

    ``capacity`` is how many descriptors of named nodes are kept open (the root and nameless nodes come on top).
    Methods raise :class:`OSError`: ESTALE for an inode that is unknown or no longer where it was.
    """

    def __init__(self, source: str, capacity: int) -> None:
        self._capacity = max(capacity, 16)
        self._evictable: OrderedDict[int, Node] = OrderedDict()
        self._by_ino: dict[int, Node] = {}
        self._by_key: dict[Key, Node] = {}
        self._next_foreign = _FOREIGN_INO_BASE
        fd = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = os.fstat(fd)
        self.root = Node(ROOT_INO, (found.st_dev, found.st_ino), None, None)
        self.root.fd = fd
        self.root.blocks = found.st_blocks
        self._by_ino[ROOT_INO] = self._by_key[self.root.key] = self.root

    def __len__(self) -> int:
        return len(self._by_ino)

    def get(self, ino: int) -> Node:
        """The node of this number."""
        try:
            return self._by_ino[ino]
        except KeyError:
            raise OSError(errno.ESTALE, "the kernel named an inode it had forgotten") from None

    def find(self, found: os.stat_result) -> Node | None:
        """The node of the file that was found, if the kernel knows it."""
        return self._by_key.get((found.st_dev, found.st_ino))

    def fd(self, node: Node) -> int:
        """An O_PATH descriptor of the node. Stays open only until the next call; use it at once."""
        if node.fd >= 0:
            if node.ino in self._evictable:
                self._evictable.move_to_end(node.ino)
            return node.fd
        unopened = [node]
        while (above := unopened[-1].parent) is not None and above.fd < 0:
            unopened.append(above)
        for step in reversed(unopened):
            self._open(step)
        return node.fd

    def fds(self, first: Node, second: Node) -> tuple[int, int]:
        """Descriptors of two nodes, both open."""
        self.fd(first)
        second_fd = self.fd(second)
        return self.fd(first), second_fd

    def path(self, node: Node) -> str:
        """A path that leads to the node itself, for system calls that take no descriptor. Use it at once."""
        return f"/proc/self/fd/{self.fd(node)}"

    def hold(self, parent: Node, name: bytes, found: os.stat_result) -> Node:
        """The node of a directory entry that is about to be given to the kernel, one reference added.

        ``found`` is what stat said about the entry. A new node's ``blocks`` are those of ``found``.
        """
        key = (found.st_dev, found.st_ino)
        node = self._by_key.get(key)
        if node is None:
            node = Node(self._number(key), key, parent, name)
            node.blocks = found.st_blocks
            self._by_ino[node.ino] = self._by_key[key] = node
        elif node is not self.root:
            node.parent, node.name, node.orphaned = parent, name, False
            if node.fd >= 0 and node.ino not in self._evictable:
                self._evictable[node.ino] = node
        node.nlookup += 1
        return node

    def pin(self, node: Node) -> None:
        """Open the node for good, before its name goes away."""
        self.fd(node)
        self._evictable.pop(node.ino, None)

    def renamed(self, node: Node, old: tuple[Node, bytes], new: tuple[Node, bytes]) -> None:
        """The entry ``old``, which was this node, is now the entry ``new``."""
        if (node.parent, node.name) == old:
            node.parent, node.name = new

    def unlinked(self, node: Node, parent: Node, name: bytes, *, last_link: bool) -> None:
        """The entry, which was this node (pinned before), is gone."""
        node.orphaned = node.orphaned or last_link
        if (node.parent, node.name) == (parent, name):
            node.parent = node.name = None
        elif node.name is not None:
            self._evictable[node.ino] = node

    def forget(self, ino: int, count: int) -> Node | None:
        """Take back ``count`` references; the node, if that was the last one (its descriptor is closed)."""
        node = self._by_ino.get(ino)
        if node is None or node is self.root:
            return None
        node.nlookup -= count
        if node.nlookup > 0:
            return None
        del self._by_ino[ino]
        del self._by_key[node.key]
        self._close(node)
        return node

    def open(self, path: str | bytes, flags: int, mode: int = 0o777, dir_fd: int | None = None) -> int:
        """os.open, which makes room among the cached descriptors when the process has run out of them.

        The longest unused half goes, so a descriptor that was just asked for (``dir_fd``) stays.
        """
        try:
            return os.open(path, flags, mode, dir_fd=dir_fd)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        for _ in range(len(self._evictable) // 2):
            self._close(self._evictable.popitem(last=False)[1])
        return os.open(path, flags, mode, dir_fd=dir_fd)

    def _number(self, key: Key) -> int:
        device, ino = key
        if device == self.root.key[0] and ROOT_INO < ino < _FOREIGN_INO_BASE:
            return ino
        self._next_foreign += 1
        return self._next_foreign

    def _open(self, node: Node) -> None:
        if node.parent is None or node.name is None:
            raise OSError(errno.ESTALE, "the inode has no name left")
        while len(self._evictable) >= self._capacity:
            self._close(self._evictable.popitem(last=False)[1])
        try:
            parent_fd = self.fd(node.parent)
            fd = self.open(node.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        except FileNotFoundError:
            raise OSError(errno.ESTALE, "the file was removed behind our back") from None
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != node.key:
            os.close(fd)
            raise OSError(errno.ESTALE, "another file has taken the name")
        node.fd = fd
        self._evictable[node.ino] = node

    def _close(self, node: Node) -> None:
        self._evictable.pop(node.ino, None)
        if node.fd >= 0:
            os.close(node.fd)
            node.fd = -1
