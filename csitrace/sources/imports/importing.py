"""Everything that is not a trace, as one recording: read file by file into a spool, then put in the order of its times."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from csitrace.errors import TraceError
from csitrace.model.events import ALL_NODES, Body, SourceDown, TraceEvent, Witness
from csitrace.model.times import MINUTE, format_rfc3339
from csitrace.sources.imports.dumps import Account, first_line
from csitrace.sources.imports.forms import FORMS, LOOKED_AT, Hints, form_of
from csitrace.sources.imports.history import Dump, Known, in_order
from csitrace.sources.imports.inputs import Input, inputs
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment, Spool, Told
from csitrace.sources.recording import Recording

_READ_FAULTS = (OSError, EOFError, ValueError, RecursionError, MemoryError)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_TREE = frozenset({"cluster-scoped-resources", "namespaces"})
_TREE_FILES = frozenset({"nodes.json", "nodes.yaml"})
_NO_MOUNTS = "no copy of a mountinfo was given"


def open_import(paths: Sequence[Path], *, form: str = "", hints: Hints | None = None) -> Recording:
    """What the files and directories tell, in one order. `form`: a name of `FORMS` for all of them, else each is guessed.

    The files are read before this returns, into a temporary file. Raises `TraceError` where nothing at all could be made of them.
    """
    importing = _Importing(form, hints or Hints())
    for path in paths:
        importing.take(path)
    return importing.recording(", ".join(path.name or str(path) for path in paths))


@dataclass
class _Group:
    """What one path led to: dumps of one moment if it is a tree."""

    accounts: list[tuple[Input, Account, Report]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    is_tree: bool = False


class _Importing:
    def __init__(self, form: str, hints: Hints) -> None:
        self._form = form
        self._hints = hints
        self._spool = Spool()
        self._dumps: list[Dump] = []
        self._segments: list[Segment] = []
        self._notes: list[str] = []

    def take(self, path: Path) -> None:
        group = _Group()
        for source in inputs(path, self._notes):
            try:
                self._file(source, group)
            except _READ_FAULTS as error:
                self._notes.append(f"{source.name}: cannot be read: {first_line(error)}")
        if group.unknown:
            more = f" and {len(group.unknown) - 1} more files" if len(group.unknown) > 1 else ""
            self._notes.append(f"{group.unknown[0]}{more}: not understood: of no form that is known")
        self._close(path, group)

    def recording(self, title: str) -> Recording:
        if not self._dumps and not self._segments:
            told = "; ".join(self._notes[:3]) or "there are no files in it"
            raise TraceError(f"nothing could be imported: {told}")
        return Recording(title, _Events(in_order(self._dumps), self._segments), self._notes)

    def _file(self, source: Input, group: _Group) -> None:
        with closing(source.open()) as stream:
            head = stream.read(LOOKED_AT)
        if head.startswith(_UTF16):
            self._notes.append(f"{source.name}: is UTF-16, as PowerShell writes: save it as UTF-8")
            return
        name = self._form or form_of(head)
        if not name:
            if head:
                group.unknown.append(source.name)
            return
        parts = source.parts
        group.is_tree = group.is_tree or not _TREE.isdisjoint(parts[:-1]) or parts[-1:][0] in _TREE_FILES
        segment = self._spool.segment()
        report = Report(source.name, FORMS[name].title)
        account = FORMS[name].read(source, segment, report, self._hints)
        if account is not None and (segment.count or account.lists):
            group.accounts.append((source, account, report))
        elif segment.count:
            self._segments.append(segment)
        if segment.dropped:
            report.fault(f"{segment.dropped} facts with numbers or text that no trace can hold")
        self._notes += report.lines()

    def _close(self, path: Path, group: _Group) -> None:
        """The dumps that the files of one path are: one, if it is a tree, else one each."""
        if not group.accounts:
            return
        batches = [group.accounts] if group.is_tree else [[entry] for entry in group.accounts]
        for batch in batches:
            name = str(path) if group.is_tree else batch[0][0].name
            dump = Dump(name)
            for _, account, _ in batch:
                dump.segments.append(account.segment)
                dump.scopes.update(account.lists)
                for kind, version in account.newest.items():
                    dump.newest[kind] = max(dump.newest.get(kind, 0), version)
            dump.at, why = _time_of(batch)
            self._notes.append(f"{name}: taken to be of {format_rfc3339(dump.at)}, {why}")
            self._dumps.append(dump)


def _time_of(batch: Sequence[tuple[Input, Account, Report]]) -> tuple[int, str]:
    """When a dump was taken, and by what that is known. Kubelets renew their Leases every ten seconds."""
    modified_at = max(source.modified_at for source, _, _ in batch)
    leased_at = max(account.lease_at for _, account, _ in batch)
    latest_at = max(account.latest_at for _, account, _ in batch)
    if leased_at and leased_at <= modified_at + MINUTE:
        return max(leased_at, min(latest_at, modified_at)), "by the newest times in it, Leases among them"
    if latest_at > modified_at:
        return latest_at, "by the latest time in it: the file's own is before that"
    return modified_at, "by the file's time"


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
