"""Programs the harness owns: started in their own session, logged, recorded on disk, and found again after a crash.

A process is identified by pid *and* start time, so that a recycled pid is never signalled. Each also carries
``MARKER`` in its environment, which its children inherit: what a killed harness forgot to record is found that way.
"""

import fcntl
import os
import select
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from tests.cluster.harness.certificates import client_context
from tests.cluster.harness.errors import ClusterError

MARKER = "CSITRACE_CLUSTER_DIR"
"""Environment variable of every process of a cluster; its value is the cluster's directory."""

NODE_MARKER = "CSITRACE_CLUSTER_NODE"
"""The same for a node's processes; its value is the node's directory."""

_INHERITED = ("PATH", "HOME", "LANG")
_POLL_S = 0.05
_STARTS = 4
_LAST_WORDS = 40
"""Lines of a log in which a program that ended says why."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    ``ready`` says when it serves: an https URL answering 200, or ``unix://`` and a socket's path. ``kept``: in a
    usual cluster it would be a container, and is started again when it ends by itself. ``transient``: said by one that ended
    before it was ready for a cause that passes; it is then started once more.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = {}
    ready: str = ""
    ready_within_s: float = 60.0
    kept: bool = False
    transient: str = ""
    added: int = 0
    """How many of ``argv``, at its end, are not its usual ones."""


class ProcessId(msgspec.Struct, frozen=True):
    """A process for as long as the machine runs: ``started`` is field 22 of /proc/pid/stat (clock ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The identity of ``pid``, or None when it is gone or a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone is left in peace."""
        with self._pidfd() as fd:
            if fd is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)

    def gone_within(self, seconds: float) -> bool:
        """Wait until the process has ended; False when it has not after ``seconds``."""
        with self._pidfd() as fd:
            if fd is None:
                return True
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            return bool(poller.poll(max(0.0, seconds) * 1000))

    def end(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL for what is still there after ``grace_s``."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a suspended process would sit on its SIGTERM
        if not self.gone_within(grace_s):
            self.signal(signal.SIGKILL)
            self.gone_within(grace_s)

    @contextmanager
    def _pidfd(self) -> Iterator[int | None]:
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            # Checked after opening: from here on the descriptor cannot come to mean another process.
            yield fd if self.alive else None
        finally:
            os.close(fd)


class Started(msgspec.Struct, frozen=True):
    """A program and the process it became. ``killed``: on purpose, so that it stays so until it is restarted."""

    program: Program
    process: ProcessId
    killed: bool = False


class Ledger(msgspec.Struct):
    """What is on disk: the programs in the order they were first started, and who wants them stopped when it dies.

    ``complete``: the cluster was up once, so that whatever is missing now can be started again as recorded.
    """

    started: list[Started] = []
    complete: bool = False
    owner: ProcessId | None = None


class Processes:
    """The programs of the cluster in ``directory``; any process may hold one, the ledger on disk is the truth."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self._ledger = directory / "processes.json"
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other harness processes from changing this cluster meanwhile. Not re-entrant."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def ledger(self) -> Ledger:
        """The programs on record, running or not."""
        try:
            return msgspec.json.decode(self._ledger.read_bytes(), type=Ledger)
        except FileNotFoundError:
            return Ledger()

    def own(self, owner: ProcessId | None) -> None:
        """Record whose cluster this is: when ``owner`` is dead, anyone may clear it away."""
        ledger = self.ledger()
        ledger.owner = owner
        self._save(ledger)

    def complete(self) -> None:
        """Record that the cluster is up."""
        ledger = self.ledger()
        ledger.complete = True
        self._save(ledger)

    def names(self) -> list[str]:
        return [entry.program.name for entry in self.ledger().started]

    def process(self, name: str) -> ProcessId:
        """The recorded process of a part; it may have ended."""
        return self._entry(name).process

    def node(self, name: str) -> str:
        """The directory of the node that a part belongs to; empty for one of the cluster's own."""
        return self._entry(name).program.env.get(NODE_MARKER, "")

    def alive(self, name: str) -> bool:
        self._reap()
        return any(e.program.name == name and e.process.alive for e in self.ledger().started)

    def start(self, *programs: Program) -> None:
        """Start what does not run yet of ``programs``, all at once, and wait until they are ready.

        A start that fails shows the log's end.
        """
        started = [(program, self._spawn(program)) for program in programs if not self.alive(program.name)]
        for program, process in started:
            self._until_ready(program, process)

    def _until_ready(self, program: Program, process: ProcessId) -> None:
        for _ in range(_STARTS - 1):
            try:
                self._wait_ready(program, process)
            except ClusterError:
                last_words = self.tail(program.name, _LAST_WORDS)
                if process.alive or not program.transient or program.transient not in last_words:
                    raise
                process = self._spawn(program)
            else:
                return
        self._wait_ready(program, process)

    def _spawn(self, program: Program) -> ProcessId:
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.log(program.name)
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        environment |= program.env | {MARKER: str(self.directory)}
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    program.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=self.directory,
                    start_new_session=True,
                )
            except OSError as error:
                raise ClusterError(f"{program.name} cannot be started: {error}") from error
        self._children[child.pid] = child
        process = ProcessId.of(child.pid)
        if process is None:
            raise ClusterError(self._failure(program.name, "ended at once"))
        self._record(Started(program, process))
        return process

    def restart(self, name: str) -> None:
        """Start a part again as it was started the first time, after ending it if it still runs."""
        entry = self._entry(name)
        entry.process.end(grace_s=5)
        self.start(entry.program)

    def replace(self, name: str, flags: Sequence[str]) -> None:
        """Restart a part with ``flags`` after those it was first started with, instead of any that an earlier call gave it."""
        entry = self._entry(name)
        entry.process.end(grace_s=5)
        program = entry.program
        usual = program.argv[: len(program.argv) - program.added]
        changed = msgspec.structs.replace(program, argv=[*usual, *flags], added=len(flags))
        self.start(changed)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one part. Its children are not touched."""
        self.process(name).signal(number)

    def kill(self, name: str) -> None:
        """kill -9 one part, wait until it is gone, and record that this was wanted. Its children are not touched."""
        entry = self._entry(name)
        self._record(msgspec.structs.replace(entry, killed=True))
        entry.process.signal(signal.SIGKILL)
        if not entry.process.gone_within(10):
            raise ClusterError(f"{name} (pid {entry.process.pid}) is still there 10 s after SIGKILL")

    def ended_by_themselves(self) -> list[str]:
        """The kept parts that are gone though nobody killed them."""
        return [
            entry.program.name
            for entry in self.ledger().started
            if entry.program.kept and not entry.killed and not entry.process.alive
        ]

    def stop_all(self, grace_s: float = 3.0) -> None:
        """End every recorded program, last started first, then whatever else carries this cluster's marker."""
        self._stop(self.ledger().started, grace_s, lambda: marked(self.directory))

    def stop_node(self, node: Path, grace_s: float = 3.0) -> None:
        """The same for what runs on one node, by its directory; it is forgotten, too."""
        on_node = [name for name in self.names() if self.node(name) == str(node)]
        self.remove(*on_node, grace_s=grace_s, rest=lambda: marked(node, NODE_MARKER))

    def remove(self, *names: str, grace_s: float = 3.0, rest: Callable[[], list[ProcessId]] = list) -> None:
        """End some parts, and whatever ``rest`` finds, and forget them."""
        ledger = self.ledger()
        gone = [entry for entry in ledger.started if entry.program.name in names]
        self._stop(gone, grace_s, rest)
        ledger.started = [entry for entry in ledger.started if entry not in gone]
        self._save(ledger)

    def _stop(self, entries: list[Started], grace_s: float, rest: Callable[[], list[ProcessId]]) -> None:
        """One that waits for a hung volume dies only with the volume's FUSE process, so nothing is waited for between
        the first SIGKILL and the last."""
        started = [entry.process for entry in reversed(entries)]
        for process in started:
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)  # a suspended process would sit on its SIGTERM
            process.gone_within(grace_s)
        kill_all(lambda: [process for process in started if process.alive] + rest())
        self._reap()

    def forget(self) -> None:
        """Drop the ledger, once nothing of it runs."""
        self._ledger.unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a part's log; says so when there is none."""
        try:
            text = self.log(name).read_text(errors="replace")
        except FileNotFoundError:
            return f"(no log of {name})"
        return "\n".join(text.splitlines()[-lines:])

    def _wait_ready(self, program: Program, process: ProcessId) -> None:
        deadline = time.monotonic() + program.ready_within_s
        while not _answers(program.ready, self.directory):
            self._reap()
            if not process.alive:
                raise ClusterError(self._failure(program.name, "ended before it was ready"))
            if time.monotonic() > deadline:
                raise ClusterError(
                    self._failure(program.name, f"was not ready after {program.ready_within_s:g} s")
                )
            time.sleep(_POLL_S)

    def _failure(self, name: str, what: str) -> str:
        return f"{name} {what}; the end of {self.log(name)}:\n{self.tail(name)}"

    def _entry(self, name: str) -> Started:
        for entry in self.ledger().started:
            if entry.program.name == name:
                return entry
        raise ClusterError(f"no part named {name}; there are: {', '.join(self.names()) or 'none'}")

    def _record(self, started: Started) -> None:
        ledger = self.ledger()
        names = [entry.program.name for entry in ledger.started]
        if started.program.name in names:
            ledger.started[names.index(started.program.name)] = started
        else:
            ledger.started.append(started)
        self._save(ledger)

    def _save(self, ledger: Ledger) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = self._ledger.with_suffix(".new")
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(ledger)))
        scratch.replace(self._ledger)

    def _reap(self) -> None:
        for pid in [pid for pid, child in self._children.items() if child.poll() is not None]:
            del self._children[pid]


def kill_all(remaining: Callable[[], list[ProcessId]], within_s: float = 10.0) -> None:
    """SIGKILL what ``remaining`` finds until it finds nothing, since what is killed may have just forked."""
    deadline = time.monotonic() + within_s
    while processes := remaining():
        if time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in processes)
            raise ClusterError(f"still there {within_s:g} s after SIGKILL: pid {pids}")
        for process in processes:
            process.signal(signal.SIGKILL)
        processes[0].gone_within(1)


def marked(directory: Path, name: str = MARKER) -> list[ProcessId]:
    """Every process that carries the marker of the cluster, or with NODE_MARKER of the node, in ``directory``."""
    return [
        process for pid in all_pids() if marker(pid, name) == directory and (process := ProcessId.of(pid))
    ]


def marked_directories() -> set[Path]:
    """The directories of all clusters that have a process on this machine."""
    return {directory for pid in all_pids() if (directory := marker(pid)) is not None}


def marker(pid: int, name: str = MARKER) -> Path | None:
    """The directory of the cluster or node that ``pid`` belongs to; None for any other process and for this one."""
    prefix = f"{name}=".encode()
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone meanwhile, or another user's
        return None
    values = [variable[len(prefix) :] for variable in variables if variable.startswith(prefix)]
    return Path(os.fsdecode(values[0])) if values and pid != os.getpid() else None


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _answers(ready: str, directory: Path) -> bool:
    url = urllib.parse.urlsplit(ready)
    return _READY[url.scheme](ready, directory)


def _https_answers(url: str, directory: Path) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=client_context(directory / "pki")) as answer:
            return bool(answer.status == 200)
    except (OSError, ssl.SSLError, urllib.error.URLError):
        return False


def _socket_answers(url: str, _directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(urllib.parse.urlsplit(url).path)
        except OSError:
            return False
    return True


_READY: dict[str, Callable[[str, Path], bool]] = {
    "https": _https_answers,
    "unix": _socket_answers,
    "": lambda _url, _directory: True,
}
