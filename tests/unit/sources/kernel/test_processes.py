"""Finding the process behind a FUSE connection, and learning how it ended."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from csitrace.sources.processes import (
    Daemon,
    DaemonSearch,
    FuseHolder,
    FuseHolders,
    find_daemons,
    how_it_ended,
    in_unawaited_thread,
)


def _search(
    wanted: dict[int, list[str]], holders: list[FuseHolder], command_lines: dict[int, list[str]] | None = None
) -> DaemonSearch:
    lines = command_lines or {}
    return find_daemons(
        wanted, holders=lambda: FuseHolders(tuple(holders), all_seen=True), command_line=lines.__getitem__
    )


def _holder(pid: int, *connections: int) -> FuseHolder:
    return FuseHolder(pid, frozenset(connections), started=pid)


def test_fdinfo_names_the_connection() -> None:
    """Where the kernel tells, no command line is read."""
    assert _search({40: ["/m"], 41: ["/n"]}, [_holder(7, 40), _holder(8, 41, 42)]).found == {40: 7, 41: 8}


def test_of_two_holders_the_younger_serves() -> None:
    """The older one mounted and passed its descriptor on."""
    assert _search({40: ["/m"]}, [_holder(7, 40), _holder(8, 40)]).found == {40: 8}


@pytest.mark.parametrize(
    "words", [["bindfs", "/src", "/m"], ["daemon", "--mountpoint=/m"], ["daemon", "--mountpoint", "/m"]]
)
def test_older_kernels_leave_the_command_line(words: list[str]) -> None:
    """A holder that names one of the connection's mount points serves it; one that names none serves nobody."""
    search = _search({40: ["/m", "/m2"]}, [_holder(7), _holder(8)], {7: words, 8: ["other", "/elsewhere"]})
    assert search == DaemonSearch({40: 7}, unnamed=True, all_seen=True)


def test_what_nobody_names_is_not_guessed() -> None:
    """The only holder may serve another connection than the only one that is wanted."""
    search = _search({40: ["/m"]}, [_holder(7)], {7: ["daemon"]})
    assert (dict(search.found), search.unnamed) == ({}, True)


@pytest.fixture
def program() -> Iterator["subprocess.Popen[bytes]"]:
    """A program that ends with the status that it reads."""
    command = [sys.executable, "-Sc", "import sys; sys.exit(int(sys.stdin.readline()))"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process
        if process.poll() is None:
            process.kill()


def _end(process: "subprocess.Popen[bytes]", status: int) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{status}\n".encode())
    process.stdin.flush()


def _await_end(pidfd: int) -> None:
    """Until the process has ended, without reaping it."""
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)


def test_a_running_daemon_has_figures(program: "subprocess.Popen[bytes]") -> None:
    """State, start time, memory and CPU time of a live process."""
    daemon = Daemon(program.pid)
    try:
        status = daemon.status()
    finally:
        daemon.close()
    assert status.pid == program.pid
    assert status.name.startswith("python")
    assert status.state in ("R", "S", "D")
    assert status.rss_bytes
    assert status.started_at
    assert status.cpu_ns is not None
    assert not status.exited


@pytest.mark.parametrize("reaped", [False, True])
@pytest.mark.parametrize(
    ("signal", "words"), [(0, "exited with status 3"), (9, "killed by SIGKILL"), (34, "killed by ")]
)
def test_how_a_process_ended_is_known(
    program: "subprocess.Popen[bytes]", reaped: bool, signal: int, words: str
) -> None:
    """By its status or signal; after its parent asked as well, if the kernel keeps the answer (Linux 6.15)."""
    daemon = Daemon(program.pid)
    try:
        if signal:
            program.send_signal(signal)
        else:
            _end(program, 3)
        _await_end(daemon.pidfd)
        if reaped:
            program.wait()
        ended = daemon.ended()
        assert ended.pid == program.pid
        kept = not reaped or _kernel_release() >= (6, 15)
        assert ended.exited.startswith(words if kept else "ended; how is not known")
    finally:
        daemon.close()


def _kernel_release() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


def test_what_cannot_be_asked_is_said_to_be_unknown() -> None:
    """Not a pidfd, and no such process: no claim."""
    with open(os.devnull) as nothing:
        assert how_it_ended(nothing.fileno(), 0) == "ended; how is not known"


def test_a_process_that_has_ended_is_no_daemon(program: "subprocess.Popen[bytes]") -> None:
    """Neither as a zombie nor when reaped."""
    _end(program, 0)
    pidfd = os.pidfd_open(program.pid)
    try:
        _await_end(pidfd)
    finally:
        os.close(pidfd)
    with pytest.raises(ProcessLookupError):
        Daemon(program.pid)
    program.wait()
    with pytest.raises(ProcessLookupError):
        Daemon(program.pid)


async def test_a_hanging_thread_is_not_waited_for() -> None:
    """Cancellation takes effect at once, and the thread does not keep the program from ending."""
    started, release, threads = threading.Event(), threading.Event(), []

    def hang() -> None:
        threads.append(threading.current_thread())
        started.set()
        release.wait()

    task = asyncio.create_task(in_unawaited_thread(hang))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threads[0].daemon
    release.set()


async def test_a_thread_gives_its_result_or_its_error() -> None:
    """As if it had been called here."""
    assert await in_unawaited_thread(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await in_unawaited_thread(lambda: 1 // 0)
