"""Everything that is not a trace, as one recording: read file by file into a spool, then put in the order of its times."""

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from csitrace.errors import TraceError
from csitrace.model.events import ALL_NODES, Body, SourceDown, TraceEvent, Witness
from csitrace.model.times import MINUTE, format_rfc3339
from csitrace.sources.imports.archives import BROKEN
from csitrace.sources.imports.dumps import Account
from csitrace.sources.imports.forms import FORMS, LOOKED_AT, form_of
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.history import Dump, Known, in_order
from csitrace.sources.imports.inputs import Input, fault_of, in_utf8, inputs
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment, Spool, Told
from csitrace.sources.recording import Recording

_READ_FAULTS = (*BROKEN, RecursionError)
_TREE = frozenset({"cluster-scoped-resources", "namespaces"})
_TREE_FILES = frozenset({"nodes.json", "nodes.yaml"})
_NO_MOUNTS = "no copy of a mountinfo was given"
_CHUNK = 1 << 20


def open_import(
    paths: Sequence[Path],
    *,
    form: str = "",
    hints: Hints | None = None,
    taken_at: Mapping[Path | None, int] | None = None,
) -> Recording:
    """What the files and directories tell, in one order. `form`: a name of `FORMS` for all of them, else each is guessed;
    `taken_at`: when what is at a path, or at one within it, was taken, in ns; of None: of all others.

    The files are read before this returns, into a temporary file. Raises `TraceError` where nothing at all could be made of them.
    """
    importing = _Importing(form, hints or Hints(), taken_at or {})
    for path in paths:
        importing.take(path)
    for path in paths:
        importing.take_undated(path)
    return importing.recording(", ".join(path.name or str(path) for path in paths))


@dataclass
class _Group:
    """What one path led to: dumps of one moment if it is a tree."""

    accounts: list["_Entry"] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    is_tree: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of objects. `digest`: of its bytes."""

    source: Input
    account: Account
    digest: bytes


class _Importing:
    """Files that do not say their times are read when all others are: of these it follows when they may have been."""

    def __init__(self, form: str, hints: Hints, taken_at: Mapping[Path | None, int]) -> None:
        self._form = form
        self._hints = hints
        self._taken_at = taken_at
        self._spool = Spool()
        self._dumps: dict[tuple[int, frozenset[bytes]], Dump] = {}
        self._segments: list[Segment] = []
        self._notes: list[str] = []
        self._logs: dict[bytes, str] = {}
        self._undated: set[Path] = set()
        self._latest_at = 0
        self._dated: set[Path | None] = set()  # what of `taken_at` has been asked for

    def take(self, path: Path) -> None:
        """All of a path that says when it was."""
        group = _Group()
        for source in inputs(path, self._notes):
            self._try(path, source, group, is_dated=True)
        if group.unknown:
            more = f" and {len(group.unknown) - 1} more files" if len(group.unknown) > 1 else ""
            self._notes.append(
                f"{group.unknown[0]}{more}: not understood: of no form that is known; --as says what a file is"
            )
        self._close(path, group)

    def take_undated(self, path: Path) -> None:
        """The rest of it."""
        if path not in self._undated:
            return
        self._undated.remove(path)
        notes: list[str] = []
        for source in inputs(path, notes):
            self._try(path, source, _Group(), is_dated=False)
        self._notes += [
            note for note in notes if note not in self._notes
        ]  # most was said when it was looked at first

    def recording(self, title: str) -> Recording:
        """All that was taken. Raises `TraceError` where that is nothing."""
        if not self._dumps and not self._segments:
            told = "; ".join(self._notes[:3]) or f"{title}: there are no files in it, or only empty ones"
            raise TraceError(f"nothing could be read: {told}")
        for path in self._taken_at.keys() - self._dated - {None}:
            self._notes.append(f"--taken-at {path}: nothing was read that would need it")
        return Recording(title, _Events(in_order(self._dumps.values()), self._segments), self._notes)

    def _said_of(self, path: Path, name: str) -> int | None:
        """When a file was taken, as people say of itself, of the path that led to it, or of all."""
        for key in (Path(name), path, None):
            if key in self._taken_at:
                self._dated.add(key)
                return self._taken_at[key]
        return None

    def _try(self, path: Path, source: Input, group: _Group, *, is_dated: bool) -> None:
        try:
            self._file(path, source, group, is_dated=is_dated)
        except _READ_FAULTS as error:
            note = f"{source.name}: cannot be read: {fault_of(error)}"
            if note not in self._notes:
                self._notes.append(note)

    def _file(self, path: Path, source: Input, group: _Group, *, is_dated: bool) -> None:
        head = _head(source)
        source = in_utf8(source, head)
        head = _head(source)
        name = self._form or form_of(head)
        if not name:
            if head and is_dated:
                group.unknown.append(source.name)
            return
        if FORMS[name].is_dated(head) is not is_dated:
            self._undated.add(path)
            return
        parts = source.parts
        group.is_tree = group.is_tree or not _TREE.isdisjoint(parts[:-1]) or parts[-1:][0] in _TREE_FILES
        digest = _digest(source)
        if digest in self._logs and FORMS[name].says_when:
            self._notes.append(f"{source.name}: the same as {self._logs[digest]}: not read again")
            return
        segment = self._spool.segment()
        report = Report(source.name, FORMS[name].title)
        hints = replace(self._hints, taken_at=self._said_of(path, source.name), others_at=self._latest_at)
        account = FORMS[name].read(source, segment, report, hints)
        if account is not None and (segment.count or account.lists):
            group.accounts.append(_Entry(source, account, digest))
            self._latest_at = max(self._latest_at, account.latest_at)
        elif account is None and segment.count:
            self._logs[digest] = source.name
            self._segments.append(segment)
            if is_dated:
                self._latest_at = max(self._latest_at, segment.last_at)
        if segment.dropped:
            report.fault(f"{segment.dropped} facts with numbers or text that no trace can hold")
        self._notes += report.lines()

    def _close(self, path: Path, group: _Group) -> None:
        """The dumps that the files of one path are: one, if it is a tree, else one each."""
        if not group.accounts:
            return
        batches = [group.accounts] if group.is_tree else [[entry] for entry in group.accounts]
        for batch in batches:
            name = str(path) if group.is_tree else batch[0].source.name
            dump = Dump(name)
            for entry in batch:
                dump.segments.append(entry.account.segment)
                dump.scopes.update(entry.account.lists)
                for kind, version in entry.account.newest.items():
                    dump.newest[kind] = max(dump.newest.get(kind, 0), version)
            dump.at, by = _time_of(batch, self._said_of(path, name))
            same = self._dumps.setdefault((dump.at, frozenset(entry.digest for entry in batch)), dump)
            if same is not dump:
                self._notes.append(f"{name}: the same as {same.name}: taken once")
            else:
                self._notes.append(f"{name}: taken to be of {format_rfc3339(dump.at)}, {by}")


def _head(source: Input) -> bytes:
    with closing(source.open()) as stream:
        return stream.read(LOOKED_AT)


def _digest(source: Input) -> bytes:
    """By which a file that was given twice is known."""
    digest = hashlib.blake2b(digest_size=16)
    with closing(source.open()) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()


def _time_of(batch: Sequence[_Entry], taken_at: int | None) -> tuple[int, str]:
    """When a dump was taken, and by what that is known. Kubelets renew their Leases every ten seconds."""
    modified_at = max(entry.source.modified_at for entry in batch)
    leased_at = max(entry.account.lease_at for entry in batch)
    latest_at = max(entry.account.latest_at for entry in batch)
    if taken_at is not None:
        later = f"; but it tells of {format_rfc3339(latest_at)}" if latest_at > taken_at else ""
        return taken_at, f"by --taken-at{later}"
    if leased_at and leased_at <= modified_at + MINUTE:
        return max(leased_at, min(latest_at, modified_at)), "by the newest times in it, Leases among them"
    if latest_at > modified_at:
        return latest_at, "by the latest time in it: the file's own is before that; else use --taken-at"
    return modified_at, "by the file's time: else use --taken-at"


@dataclass(frozen=True)
class _Events:
    """The events, computed anew each time they are gone through."""

    dumps: Sequence[Dump]
    segments: Sequence[Segment]

    def __iter__(self) -> Iterator[TraceEvent]:
        at = 0
        for seq, told in enumerate(self._facts(), 1):
            at = max(at, told.at)
            occurred_at = told.occurred_at if told.occurred_at is not None and told.occurred_at >= 0 else at
            yield TraceEvent(
                seq=seq, observed_at=at, occurred_at=min(occurred_at, at), stamp=told.stamp, body=told.body
            )

    def _facts(self) -> Iterator[Told]:
        known = Known()
        at = 0
        for when, _, _, item in heapq.merge(
            self._dump_keys(), *map(self._told_keys, range(len(self.segments)))
        ):
            at = when
            yield from known.dump(item) if isinstance(item, Dump) else known.change(item)
        for kind, why in known.silences():
            yield Told(at, SourceDown(witness=Witness.KUBERNETES, scope=kind, reason=why))
        yield Told(at, _no_other_mounts())

    def _dump_keys(self) -> Iterator[tuple[int, int, int, Dump | Told]]:
        at = 0
        for place, dump in enumerate(self.dumps):
            at = max(at, dump.at)
            yield at, -1, place, dump

    def _told_keys(self, origin: int) -> Iterator[tuple[int, int, int, Dump | Told]]:
        for place, told in enumerate(self.segments[origin]):
            yield told.at, origin, place, told


def _no_other_mounts() -> Body:
    return SourceDown(witness=Witness.KERNEL, scope=ALL_NODES, reason=_NO_MOUNTS)
