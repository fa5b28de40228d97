"""The harness's pieces, each alone: building, processes, images, mounts. None of these needs a cluster."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.harness import images, mounts, tools
from tests.cluster.harness.errors import ClusterError, UnavailableError
from tests.cluster.harness.ports import free_ports
from tests.cluster.harness.processes import Processes, ProcessId, Program, kill_all, marked

_GO = """#!/bin/sh
# Stands for the compiler: says its version, and "builds" by writing the file after -o.
[ "$1" = env ] && {{ echo {version}; exit 0; }}
echo "$@" >> "{log}"
while [ "$1" != -o ]; do shift; done
{build}
"""


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that builds at once, an empty cache; returns the log of its calls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return _install_go(tmp_path, monkeypatch)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes of a directory of this test, all ended after it."""
    owned = Processes(tmp_path)
    yield owned
    owned.stop_all()


def test_a_program_is_built_once_however_many_ask(compiler: Path) -> None:
    """Four that want the same program at the same time get one path after one compilation."""
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(tools.build, ["csi-sanity"] * 4))
    assert len(paths) == 1
    assert paths.pop().read_text() == "built\n"
    assert len(compiler.read_text().splitlines()) == 1


@pytest.mark.parametrize("name", tools.TOOLS)
def test_every_program_is_pinned_stripped_and_stamped(compiler: Path, name: str) -> None:
    """Each build uses its module's pinned sums, drops symbols, and stamps exactly the required version."""
    tools.build(name)
    call = compiler.read_text()
    assert "-mod=readonly" in call
    assert "-s -w" in call
    assert "{" not in call
    for stamp in tools.TOOLS[name].stamps:
        assert f"-X {stamp.partition('=')[0]}=" in call
    assert (tools.MODULES / tools.TOOLS[name].directory / "go.sum").exists()


def test_another_go_builds_again(compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program built by one version of Go is not taken for that of another."""
    before = tools.build("etcd")
    _install_go(tmp_path, monkeypatch, version="go1.99.1")
    assert tools.build("etcd") != before


def test_a_failed_build_shows_the_compiler_and_caches_nothing(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names program and module and carries what the compiler said; the next call builds again."""
    _install_go(tmp_path, monkeypatch, build="echo undefined: Frob >&2; exit 1")
    with pytest.raises(ClusterError, match=r"(?s)building etcd in .*undefined: Frob"):
        tools.build("etcd")
    _install_go(tmp_path, monkeypatch)
    assert tools.build("etcd").exists()


@pytest.mark.parametrize(
    ("version", "complaint"), [(None, r"no `go` on PATH"), ("go1.11.2", r"needs Go 1\..* is go1\.11\.2")]
)
def test_without_a_fitting_go_the_reason_is_told(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, complaint: str
) -> None:
    """Without Go, or with one that is too old, the error says so and which is needed."""
    if version is None:
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    else:
        _install_go(tmp_path, monkeypatch, version=version)
    with pytest.raises(UnavailableError, match=complaint):
        tools.build("kubelet")


def test_an_unknown_program_is_refused_with_the_known_ones() -> None:
    """A misspelt name is answered with the list of right ones."""
    with pytest.raises(ClusterError, match=r"no program named kubelt; there are:.*kubelet"):
        tools.build("kubelt")


def test_a_program_that_ends_before_it_is_ready_is_quoted(processes: Processes) -> None:
    """The error of a failed start has the part's name and the last lines of its log."""
    script = "echo the disk is on fire >&2; exit 3"
    with pytest.raises(ClusterError, match=r"(?s)^etcd ended.*the disk is on fire"):
        processes.start(Program(name="etcd", argv=["sh", "-c", script], ready="unix:///nowhere"))


def test_a_program_that_never_gets_ready_is_given_up(processes: Processes) -> None:
    """One that runs but does not serve is reported as such when its time is over."""
    program = Program(name="idle", argv=["sleep", "60"], ready="unix:///nowhere", ready_within_s=0.2)
    with pytest.raises(ClusterError, match=r"idle was not ready after 0\.2 s"):
        processes.start(program)


def test_another_harness_process_sees_and_ends_what_one_started(processes: Processes) -> None:
    """The ledger on disk is enough to find a part, restart it as it was, and stop it."""
    processes.start(_listening("part", processes.directory / "part.sock", env={"COLOUR": "green"}))
    first = processes.process("part")
    other = Processes(processes.directory)
    other.restart("part")
    second = other.process("part")
    assert not first.alive
    assert b"COLOUR=green" in Path(f"/proc/{second.pid}/environ").read_bytes()
    processes.stop_all()
    assert not second.alive


def test_children_that_nobody_recorded_are_ended_too(processes: Processes) -> None:
    """A grandchild in a session of its own, its parent killed, still carries the marker and is ended."""
    child = _listening("child", processes.directory / "child.sock")
    parent = f"import subprocess; subprocess.run({child.argv!r}, start_new_session=True)"
    processes.start(Program(name="parent", argv=[sys.executable, "-c", parent], ready=child.ready))
    processes.kill("parent")
    processes.forget()
    assert len(marked(processes.directory)) == 1
    processes.stop_all()
    assert marked(processes.directory) == []


def test_a_killed_part_is_not_one_that_ended_by_itself(processes: Processes) -> None:
    """What a test killed stays dead for the keeper; what died otherwise is to be started again."""
    for name in ("killed", "died"):
        processes.start(Program(name=name, argv=["sleep", "60"], kept=True))
    processes.kill("killed")
    processes.signal("died", signal.SIGKILL)
    assert processes.process("died").gone_within(5)
    assert processes.ended_by_themselves() == ["died"]


def test_a_recycled_pid_is_not_signalled() -> None:
    """An identity with another start time means another process: it is gone, and this one gets no signal."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        identity = ProcessId.of(child.pid)
        assert identity is not None
        earlier = ProcessId(identity.pid, identity.started - 1)
        earlier.signal(signal.SIGKILL)
        assert not earlier.alive
        assert earlier.gone_within(0)
        assert identity.alive
    finally:
        child.communicate(b"\n")


def test_what_does_not_die_is_told() -> None:
    """When something survives SIGKILL (here: ourselves, who are never signalled) the error names its pid."""

    class Undying(ProcessId, frozen=True):
        def signal(self, number: signal.Signals) -> None:
            pass

    with pytest.raises(ClusterError, match=f"still there .* pid {os.getpid()}"):
        kill_all(lambda: [Undying(os.getpid(), 0)], within_s=0)


def test_images_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    """Packing is reproducible, so that a node's store holds one image however often it is imported."""
    images.write_archive(tmp_path / "one.tar")
    images.write_archive(tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_mounts_with_odd_names_are_found_and_detached(machine: None, tmp_path: Path) -> None:
    """A mount point with blanks and backslashes, another mounted on top of it, is found twice and both go."""
    point = tmp_path / "a b\\040c"
    point.mkdir()
    for _ in range(2):
        subprocess.run(["mount", "-t", "tmpfs", "test", str(point)], check=True)
    assert mounts.below(tmp_path) == [point, point]
    mounts.detach_below(tmp_path)
    assert mounts.below(tmp_path) == []


def test_ports_are_distinct_and_below_the_ephemeral_range() -> None:
    """No outgoing connection can take the port of a part that is down for a restart."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < low


_LISTENER = """
import os, socket, sys
if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
while True:
    server.accept()
"""


def _listening(name: str, path: Path, env: dict[str, str] | None = None) -> Program:
    """A program that accepts connections on a socket, so that its readiness can be seen."""
    argv = [sys.executable, "-c", _LISTENER, str(path)]
    return Program(name=name, argv=argv, env=env or {}, ready=f"unix://{path}")


def _install_go(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str = "go1.98.7",
    build: str = 'echo built > "$2"',
) -> Path:
    programs = directory / "programs"
    programs.mkdir(exist_ok=True)
    log = directory / "go.log"
    (programs / "go").write_text(_GO.format(version=version, log=log, build=build))
    (programs / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return log
