"""A pass-through file system: each handler does to the source directory what the kernel asks for the mount.

Handlers are plain functions that raise :class:`OSError`; :mod:`driver_ref.fs.operations` turns them into what pyfuse3
calls. They run inline in the event loop, because handing an operation to a thread costs more than most operations take;
those that wait for a disk (fsync, a read that is not in the page cache, a write to a file opened O_SYNC) are coroutines
that use a thread. Nothing else runs between the lines of a plain handler, so the tables need no locks.

What is decided here, and why:

* No writeback cache. A program must get ENOSPC from write(2), not at some later fsync, and a killed daemon must not take
  with it what write(2) had accepted. For the same reason a write that does not fit is refused whole: the kernel would
  silently drop the rest of a shared mapping's page.
* The page cache is kept over opens: all changes come through the mount, and where a second mount of the same directory
  makes some, the kernel drops the cache when it sees a new mtime, ``cache_seconds`` later at most.
* Writes carry their offset, so O_APPEND is not passed on: pwrite(2) on an O_APPEND descriptor ignores the offset, and the
  kernel may use any descriptor of a file to write back a mapping. O_DIRECT is not passed on either: the kernel honours it
  for its own cache, and our buffers are not aligned.
* Permission checks are the kernel's (default_permissions, POSIX ACLs included). New files are given to the caller;
  the umask has been applied by the kernel.
* pyfuse3 has no handler for lseek, fallocate, copy_file_range and O_TMPFILE. The kernel then answers SEEK_DATA/SEEK_HOLE
  as for a file without holes, copies by reading and writing, and refuses the others with EOPNOTSUPP; files stay sparse.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileInfo,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
)

from driver_ref.fs.nodes import Node, NodeTable
from driver_ref.fs.space import Space
from driver_ref.fs.syscalls import drop_privilege_bits, read_all, renameat2, write_all

_OPEN_FLAGS = os.O_ACCMODE | os.O_TRUNC | os.O_SYNC | os.O_DSYNC
"""What is passed on of a program's open flags."""

_PRIVILEGE_BITS = stat.S_ISUID | stat.S_ISGID
_MAX_READ = 1 << 20
"""The largest READ the kernel sends: 256 pages."""


class Passthrough:
    """The handlers. Inode numbers, file handles and entry attributes are pyfuse3's; a file handle is a descriptor."""

    def __init__(self, nodes: NodeTable, space: Space, cache_seconds: float) -> None:
        self._nodes = nodes
        self._space = space
        self._cache_seconds = cache_seconds
        self._files: dict[int, Node] = {}
        self._synchronous: set[int] = set()
        self._unprivileged: set[int] = set()
        self._listings: dict[int, list[bytes]] = {}
        self._directories: dict[int, Node] = {}
        self._read_buffer = memoryview(bytearray(_MAX_READ))
        self._nowait = os.RWF_NOWAIT
        self._own_ids = os.geteuid(), os.getegid()

    # -- names

    def lookup(self, parent_ino: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Find an entry; counts one reference."""
        parent = self._nodes.get(parent_ino)
        return self._entry(parent, name, os.stat(name, dir_fd=self._nodes.fd(parent), follow_symlinks=False))

    def forget(self, inodes: Sequence[tuple[int, int]]) -> None:
        """Take references back; the last one of an unlinked file gives its space back."""
        for ino, count in inodes:
            node = self._nodes.forget(ino, count)
            if node is not None and node.orphaned:
                self._space.inode_removed(node.blocks)

    def mknod(
        self, parent_ino: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a file, FIFO, socket or device node."""
        parent = self._nodes.get(parent_ino)
        os.mknod(name, mode, rdev, dir_fd=self._nodes.fd(parent))
        return self._created(parent, name, ctx, mode)

    def mkdir(self, parent_ino: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        """Make a directory (which takes space, so that a full volume refuses)."""
        parent = self._nodes.get(parent_ino)
        self._space.require(1)
        os.mkdir(name, stat.S_IMODE(mode), dir_fd=self._nodes.fd(parent))
        return self._created(parent, name, ctx, mode)

    def symlink(self, parent_ino: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        """Make a symbolic link."""
        parent = self._nodes.get(parent_ino)
        self._space.require(1)
        os.symlink(target, name, dir_fd=self._nodes.fd(parent))
        return self._created(parent, name, ctx, stat.S_IFLNK)

    def link(self, ino: int, parent_ino: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Give a file another name."""
        node, parent = self._nodes.get(ino), self._nodes.get(parent_ino)
        node_fd, parent_fd = self._nodes.fds(node, parent)
        os.link(f"/proc/self/fd/{node_fd}", name, dst_dir_fd=parent_fd, follow_symlinks=True)
        return self._entry(parent, name, os.stat(name, dir_fd=parent_fd, follow_symlinks=False))

    def unlink(self, parent_ino: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a name; who has the file open keeps it."""
        self._remove(parent_ino, name, os.unlink)

    def rmdir(self, parent_ino: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an empty directory."""
        self._remove(parent_ino, name, os.rmdir)

    def rename(
        self,
        old_parent_ino: int,
        old_name: bytes,
        new_parent_ino: int,
        new_name: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        """Move an entry, over another one if ``flags`` allow it (renameat2(2))."""
        old_parent, new_parent = self._nodes.get(old_parent_ino), self._nodes.get(new_parent_ino)
        old, new = (old_parent, old_name), (new_parent, new_name)
        old_fd, new_fd = self._nodes.fds(old_parent, new_parent)
        moved = os.stat(old_name, dir_fd=old_fd, follow_symlinks=False)
        try:
            replaced = os.stat(new_name, dir_fd=new_fd, follow_symlinks=False)
        except FileNotFoundError:
            replaced = None
        moved_node = self._nodes.find(moved)
        victim = self._nodes.find(replaced) if replaced else None
        exchange = bool(flags & pyfuse3.RENAME_EXCHANGE)
        if victim is not None and not exchange:
            self._nodes.pin(victim)
        old_fd, new_fd = self._nodes.fds(old_parent, new_parent)
        if flags:
            renameat2(old_fd, old_name, new_fd, new_name, flags)
        else:
            os.rename(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        if replaced is not None and _same(moved, replaced):
            return  # two names of one file: POSIX has rename do nothing
        if exchange:
            if victim is not None:
                self._nodes.renamed(victim, new, old)
        elif replaced is not None:
            self._unlinked(replaced, victim, new)
        if moved_node is not None:
            self._nodes.renamed(moved_node, old, new)

    def readlink(self, ino: int, ctx: RequestContext) -> bytes:
        """Where a symbolic link points."""
        return os.readlink(b"", dir_fd=self._nodes.fd(self._nodes.get(ino)))

    # -- attributes

    def getattr(self, ino: int, ctx: RequestContext) -> EntryAttributes:
        """What stat(2) says."""
        node = self._nodes.get(ino)
        return self._attributes(node, os.fstat(self._nodes.fd(node)))

    def setattr(
        self, ino: int, wanted: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        """chown, chmod, truncate and utimens, in this order, as far as asked for.

        chown takes the set-id bits away by itself, whoever asks; truncating (and writing) must too unless root asks,
        which the kernel leaves to us (FUSE_CAP_HANDLE_KILLPRIV, that libfuse asks for).
        """
        node = self._nodes.get(ino)
        target: int | str = self._nodes.path(node) if fh is None else fh
        if fields.update_uid or fields.update_gid:
            os.chown(
                target, wanted.st_uid if fields.update_uid else -1, wanted.st_gid if fields.update_gid else -1
            )
        if fields.update_mode:
            os.chmod(target, stat.S_IMODE(wanted.st_mode))
        if fields.update_size:
            os.truncate(target, wanted.st_size)
            if ctx.uid != 0:
                drop_privilege_bits(target)
        if fields.update_atime or fields.update_mtime:
            found = os.stat(target)
            os.utime(
                target,
                ns=(
                    wanted.st_atime_ns if fields.update_atime else found.st_atime_ns,
                    wanted.st_mtime_ns if fields.update_mtime else found.st_mtime_ns,
                ),
            )
        return self._attributes(node, os.fstat(self._nodes.fd(node)))

    def setxattr(self, ino: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """Set an extended attribute (XATTR_CREATE and XATTR_REPLACE are seen to by pyfuse3)."""
        os.setxattr(self._nodes.path(self._nodes.get(ino)), name, value)

    def getxattr(self, ino: int, name: bytes, ctx: RequestContext) -> bytes:
        """Read an extended attribute."""
        return os.getxattr(self._nodes.path(self._nodes.get(ino)), name)

    def listxattr(self, ino: int, ctx: RequestContext) -> list[bytes]:
        """Name the extended attributes."""
        return [os.fsencode(name) for name in os.listxattr(self._nodes.path(self._nodes.get(ino)))]

    def removexattr(self, ino: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an extended attribute."""
        os.removexattr(self._nodes.path(self._nodes.get(ino)), name)

    def statfs(self, ctx: RequestContext) -> StatvfsData:
        """The volume's own size and use; free is never more than the backing file system has."""
        backing = os.fstatvfs(self._nodes.root.fd)
        block = 4096
        free = min(self._space.free_bytes, backing.f_bavail * backing.f_frsize) // block
        result = StatvfsData()
        result.f_bsize = result.f_frsize = block
        result.f_blocks = self._space.size_bytes // block
        result.f_bfree = result.f_bavail = free
        result.f_files = self._space.used_inodes + backing.f_favail
        result.f_ffree = result.f_favail = backing.f_favail
        result.f_namemax = backing.f_namemax
        return result

    # -- file contents

    def create(
        self, parent_ino: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Make a file and open it; one that came to exist meanwhile is opened unless O_EXCL forbids."""
        parent = self._nodes.get(parent_ino)
        parent_fd = self._nodes.fd(parent)
        kept = flags & _OPEN_FLAGS | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = self._nodes.open(name, kept | os.O_CREAT | os.O_EXCL, stat.S_IMODE(mode), parent_fd)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            fd = self._nodes.open(name, kept, dir_fd=parent_fd)
            created = False
        else:
            created = True
        try:
            if created:
                self._give_to_caller(fd, parent_fd, ctx, mode)
            found = os.fstat(fd)
            if created:
                self._space.inode_added(found.st_blocks)
            entry = self._entry(parent, name, found)
        except BaseException:
            os.close(fd)
            raise
        return self._opened(fd, self._nodes.get(entry.st_ino), flags, ctx), entry

    def open(self, ino: int, flags: int, ctx: RequestContext) -> FileInfo:
        """Open a file; with O_TRUNC it is emptied (FUSE_CAP_ATOMIC_O_TRUNC)."""
        node = self._nodes.get(ino)
        fd = self._nodes.open(self._nodes.path(node), flags & _OPEN_FLAGS | os.O_CLOEXEC)
        if flags & os.O_TRUNC:
            if ctx.uid != 0:
                drop_privilege_bits(fd)
            self._seen(node, os.fstat(fd))
        return self._opened(fd, node, flags, ctx)

    async def read(self, fh: int, offset: int, size: int) -> bytes | memoryview:
        """Read up to ``size`` bytes; fewer only at the end of the file.

        What is in the page cache is read at once into one buffer that all reads share: pyfuse3 sends the answer before
        anything else runs. What is not is read in a thread.
        """
        if self._nowait:
            buffer = self._read_buffer[:size]
            try:
                done = os.preadv(fh, [buffer], offset, self._nowait)
            except BlockingIOError:
                done = 0
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._nowait = done = 0
            if done == len(buffer) == size or offset + done >= os.fstat(fh).st_size:
                return buffer[:done]
        return await trio.to_thread.run_sync(read_all, fh, offset, size, abandon_on_cancel=True)

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        """Write all of ``data``, or nothing when the volume has no room for it."""
        node = self._files[fh]
        self._space.require_for_write(fh, offset, len(data))
        if fh in self._synchronous:
            await trio.to_thread.run_sync(write_all, fh, offset, data, abandon_on_cancel=True)
        else:
            write_all(fh, offset, data)
        found = os.fstat(fh)
        self._seen(node, found)
        if found.st_mode & _PRIVILEGE_BITS and fh in self._unprivileged:
            drop_privilege_bits(fh)
        return len(data)

    def flush(self, fh: int) -> None:
        """A program closed a descriptor: close a copy of ours, so that the backing file system can report its errors."""
        os.close(os.dup(fh))

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Wait until the file is on disk."""
        sync = os.fdatasync if datasync else os.fsync
        await trio.to_thread.run_sync(sync, fh, abandon_on_cancel=True)

    def release(self, fh: int) -> None:
        """The last descriptor of an open is gone."""
        del self._files[fh]
        self._synchronous.discard(fh)
        self._unprivileged.discard(fh)
        os.close(fh)

    # -- directories

    def opendir(self, ino: int, ctx: RequestContext) -> int:
        """Open a directory for reading."""
        node = self._nodes.get(ino)
        fd = self._nodes.open(self._nodes.path(node), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directories[fd] = node
        return fd

    def readdir(self, fh: int, start: int, token: ReaddirToken) -> None:
        """List a directory with its entries' attributes.

        The names are taken once, at the start and after rewinddir(3), and an entry's position is its index among them:
        whatever is added or removed meanwhile, no other entry is skipped or repeated. An entry that is gone by the
        time its turn comes is left out. Nothing may be raised once an entry has been handed over: the kernel would
        not learn of it, and its reference would never be taken back.
        """
        node = self._directories[fh]
        if start == 0 or fh not in self._listings:
            self._listings[fh] = [b".", b"..", *map(os.fsencode, os.listdir(fh))]
        names = self._listings[fh]
        for position in range(start, len(names)):
            name = names[position]
            try:
                found = os.stat(name, dir_fd=fh, follow_symlinks=False)
            except OSError:
                continue
            if name in (b".", b".."):  # reported without a reference
                attributes = _entry_attributes(node.ino, found, 0.0)
                if not pyfuse3.readdir_reply(token, name, attributes, position + 1):
                    return
                continue
            child = self._nodes.hold(node, name, found)
            if not pyfuse3.readdir_reply(token, name, self._attributes(child, found), position + 1):
                self._nodes.forget(child.ino, 1)
                return

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Wait until the directory's entries are on disk."""
        await trio.to_thread.run_sync(os.fsync, fh, abandon_on_cancel=True)

    def releasedir(self, fh: int) -> None:
        """The last descriptor of an opendir is gone."""
        self._listings.pop(fh, None)
        del self._directories[fh]
        os.close(fh)

    def ino_of(self, fh: int) -> int | None:
        """The inode that a file handle belongs to, if it is open."""
        node = self._files.get(fh) or self._directories.get(fh)
        return node.ino if node else None

    # -- what the handlers share

    def _entry(self, parent: Node, name: bytes, found: os.stat_result) -> EntryAttributes:
        return self._attributes(self._nodes.hold(parent, name, found), found)

    def _attributes(self, node: Node, found: os.stat_result) -> EntryAttributes:
        self._seen(node, found)
        return _entry_attributes(node.ino, found, self._cache_seconds)

    def _seen(self, node: Node, found: os.stat_result) -> None:
        if found.st_blocks != node.blocks:
            self._space.blocks_changed(node.blocks, found.st_blocks)
            node.blocks = found.st_blocks

    def _opened(self, fd: int, node: Node, flags: int, ctx: RequestContext) -> FileInfo:
        self._files[fd] = node
        if ctx.uid != 0:
            self._unprivileged.add(fd)
        if flags & (os.O_SYNC | os.O_DSYNC):
            self._synchronous.add(fd)
        return FileInfo(fh=fd, keep_cache=True)

    def _created(self, parent: Node, name: bytes, ctx: RequestContext, mode: int) -> EntryAttributes:
        parent_fd = self._nodes.fd(parent)
        fd = self._nodes.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            self._give_to_caller(f"/proc/self/fd/{fd}", parent_fd, ctx, mode)
            found = os.fstat(fd)
        finally:
            os.close(fd)
        self._space.inode_added(found.st_blocks)
        return self._entry(parent, name, found)

    def _give_to_caller(self, target: int | str, parent_fd: int, ctx: RequestContext, mode: int) -> None:
        """Make the caller own what we created for him; in a set-group-id directory the group is the directory's.

        chown takes set-id bits away, so those asked for are set again.
        """
        if (ctx.uid, ctx.gid) == self._own_ids:
            return
        inherits_group = os.fstat(parent_fd).st_mode & stat.S_ISGID
        os.chown(target, ctx.uid, -1 if inherits_group else ctx.gid)
        if mode & _PRIVILEGE_BITS and not stat.S_ISLNK(mode) and not stat.S_ISDIR(mode):
            os.chmod(target, stat.S_IMODE(mode))

    def _remove(self, parent_ino: int, name: bytes, remove: Callable[..., None]) -> None:
        parent = self._nodes.get(parent_ino)
        found = os.stat(name, dir_fd=self._nodes.fd(parent), follow_symlinks=False)
        node = self._nodes.find(found)
        if node is not None:
            self._nodes.pin(node)
        remove(name, dir_fd=self._nodes.fd(parent))
        self._unlinked(found, node, (parent, name))

    def _unlinked(self, found: os.stat_result, node: Node | None, entry: tuple[Node, bytes]) -> None:
        last_link = found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)
        if node is not None:
            self._nodes.unlinked(node, *entry, last_link=last_link)
        elif last_link:
            self._space.inode_removed(found.st_blocks)


def _entry_attributes(ino: int, found: os.stat_result, cache_seconds: float) -> EntryAttributes:
    entry = EntryAttributes()
    entry.st_ino = ino
    entry.entry_timeout = entry.attr_timeout = cache_seconds
    entry.st_mode = found.st_mode
    entry.st_nlink = found.st_nlink
    entry.st_uid = found.st_uid
    entry.st_gid = found.st_gid
    entry.st_rdev = found.st_rdev
    entry.st_size = found.st_size
    entry.st_blksize = found.st_blksize
    entry.st_blocks = found.st_blocks
    entry.st_atime_ns = found.st_atime_ns
    entry.st_mtime_ns = found.st_mtime_ns
    entry.st_ctime_ns = found.st_ctime_ns
    return entry


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
