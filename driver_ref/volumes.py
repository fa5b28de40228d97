"""What the driver knows of its volumes, on disk, so that a kill -9 between any two instructions loses nothing.

Two kinds of record, each with a single writer:

* `VolumeRecord`, written by the Controller: the volume itself. It exists from CreateVolume to DeleteVolume.
* `NodeRecord`, written by one node's Node service: what was staged and published there. It is an *intent*, saved before
  the mount it speaks of is made; whether the mount exists is asked of the kernel (mountinfo), never of the record.

From the two follows the volume's phase on a node (CSI specification, "Volume Lifecycle").
"""

import hashlib
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote, unquote

import msgspec

from csitrace.errors import UsageError

_TEMPORARY = ".tmp"


class Phase(StrEnum):
    """Where a volume stands on one node. CREATED holds for the volume, the others for a volume on a node."""

    CREATED = "CREATED"
    NODE_READY = "NODE_READY"
    VOL_READY = "VOL_READY"
    PUBLISHED = "PUBLISHED"


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A ControllerPublishVolume that was answered OK. `mode` is the access mode's name in csi.proto."""

    mode: str
    readonly: bool = False


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One volume. `created_at` in ns since the epoch; `parameters` as the StorageClass gave them.

    `deleting`: DeleteVolume was accepted and its work may be unfinished; to everybody else the volume is gone.
    """

    volume_id: str
    name: str
    capacity_bytes: int
    created_at: int
    parameters: dict[str, str] = {}
    topology: dict[str, str] = {}
    attachments: dict[str, Attachment] = {}
    deleting: bool = False


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One NodePublishVolume. `readonly`: as the workload sees it, from whichever request field said so."""

    mode: str
    readonly: bool = False
    mount_flags: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The mount options of the workload's mount, as mounts.FLAGS has them."""
        return (*self.mount_flags, "ro") if self.readonly else self.mount_flags


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A volume on a node. `staging_path` is where the FUSE file system is mounted, empty when it is not staged.

    `abnormal` is the volume condition's message, empty while all is well. `dead`: the FUSE connections of processes that served
    it before since it is staged, and of which workloads may still have mounts. `inline`: the node has made the volume's bytes,
    for one pod; the record is there for as long as they are.
    """

    volume_id: str
    capacity_bytes: int = 0
    staging_path: str = ""
    mode: str = ""
    targets: dict[str, Target] = {}
    abnormal: str = ""
    dead: tuple[int, ...] = ()
    inline: bool = False


class NodeDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose Node service has run: what the Controller must know to attach a volume to it. Zero is no limit.

    `fuse_directory`: what holds the directories, on the node's host, that FUSE pods share with the Node service; empty where
    FUSE processes are its own.
    """

    node_id: str
    topology: dict[str, str] = {}
    max_volumes: int = 0
    fuse_directory: str = ""


def volume_id_of(name: str) -> str:
    """The id of the volume that CreateVolume(name) makes. Derived, so a retry finds it and locks are per volume."""
    return "ref-" + hashlib.sha256(name.encode()).hexdigest()[:20]


def is_volume_id(text: str) -> bool:
    """Whether this driver may have given out this id."""
    digits = text.removeprefix("ref-")
    return len(text) == 24 and len(digits) == 20 and set(digits) <= set("0123456789abcdef")


def phase(volume: VolumeRecord, node_id: str, record: NodeRecord | None) -> Phase:
    """The volume's phase on a node, from what both services know."""
    if record is not None and record.targets:
        return Phase.PUBLISHED
    if record is not None and record.staging_path:
        return Phase.VOL_READY
    return Phase.NODE_READY if node_id in volume.attachments else Phase.CREATED


Record = TypeVar("Record", bound=msgspec.Struct)


class Records(Generic[Record]):
    """A directory with one JSON file (0600) per record. A file is replaced whole and durably, or not at all.

    Reads go to the disk: another process may be the writer. Keys are percent-encoded, so any string is a file name.
    """

    def __init__(self, directory: Path, kind: type[Record]) -> None:
        """Makes `directory` (0700) where it is missing."""
        self._directory = directory
        self._decoder = msgspec.json.Decoder(kind)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self, key: str) -> Record | None:
        """The record, or None. Raises UsageError for a file that is no such record: only a person can mend that."""
        return self._read(self._path(key))

    def save(self, key: str, record: Record) -> None:
        """Replace the record. When this returns, it survives a power failure."""
        path = self._path(key)
        temporary = path.with_suffix(_TEMPORARY)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        self._sync_directory()

    def remove(self, key: str) -> None:
        """Forget the record; one that is not there is already forgotten."""
        self._path(key).unlink(missing_ok=True)
        self._sync_directory()

    def ids(self) -> list[str]:
        """The keys of all records (ids of volumes or nodes), sorted."""
        return sorted(unquote(path.stem) for path in self._directory.glob("*.json"))

    def all(self) -> Iterator[Record]:
        """Every record, by key. One removed while we read is left out."""
        for key in self.ids():
            record = self.load(key)
            if record is not None:
                yield record

    def sweep(self) -> None:
        """Remove what a killed writer left behind. Only for the writer itself, before its first save."""
        for path in self._directory.glob(f"*{_TEMPORARY}"):
            path.unlink()

    def _path(self, key: str) -> Path:
        return self._directory / f"{quote(key, safe='')}.json"

    def _read(self, path: Path) -> Record | None:
        try:
            return self._decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{path}: not a record of this driver ({error}); restore or remove it"
            ) from error

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class StateDirectory:
    """Where everything of the driver lies, below `--state-dir`. See docs/driver.md for the layout.

    Several nodes may share one state directory (one machine in a test, a shared file system in a cluster): what the
    Controller writes lies beside what each node writes, and no file has two writers.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volumes = Records(root / "volumes", VolumeRecord)
        self.nodes = Records(root / "nodes", NodeDescription)
        self.data = root / "data"
        self.trash = root / "trash"
        self._on_node: dict[str, Records[NodeRecord]] = {}
        for directory in (self.data, self.trash):
            directory.mkdir(mode=0o700, exist_ok=True)

    def volume(self, volume_id: str) -> VolumeRecord | None:
        """The volume, unless it does not exist or is being deleted."""
        record = self.volumes.load(volume_id)
        return None if record is None or record.deleting else record

    def backing(self, volume_id: str) -> Path:
        """The directory with the volume's bytes."""
        return self.data / volume_id

    def inline(self, node_id: str, volume_id: str) -> Path:
        """The directory with the bytes of an inline volume, which only its node knows."""
        return self.root / "inline" / quote(node_id, safe="") / volume_id

    def on_node(self, node_id: str) -> Records[NodeRecord]:
        """The records of one node's Node service."""
        if node_id not in self._on_node:
            self._on_node[node_id] = Records(self.root / "on-node" / quote(node_id, safe=""), NodeRecord)
        return self._on_node[node_id]

    def users(self, volume_id: str) -> list[tuple[str, NodeRecord]]:
        """Every node that has the volume staged or published, with its record."""
        found = ((key, self.on_node(key).load(volume_id)) for key in self.nodes.ids())
        return [(key, record) for key, record in found if record is not None]
