"""A real FUSE mount for a test: started as a program, spoken to over its control socket, and never left behind."""

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from driver_ref.fs.channel import (
    Counters,
    Error,
    Fault,
    FromDaemon,
    Hello,
    LineBuffer,
    Ok,
    SetFaults,
    ToDaemon,
    decode_from_daemon,
    encode,
)
from driver_ref.fs.mountpoint import connection_at

MIB = 1 << 20
PATIENCE_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1

Found = TypeVar("Found", bound=FromDaemon)


def need(available: bool, reason: str) -> None:
    """Skip where this machine lacks something; on CI, where it must not be lacking, fail."""
    if not available:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def need_programs(*names: str) -> None:
    """The test runs these programs."""
    for name in names:
        need(shutil.which(name) is not None, f"the program {name} is not installed")


def eventually(claim: Callable[[], object], what: str) -> None:
    """Wait until the claim is true; fail saying what was waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not claim():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_SECONDS:.0f} s in vain: {what}")
        time.sleep(0.01)


def _end_with_parent() -> None:
    """In the child: SIGTERM, at which it unmounts, should the test run itself be killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Control:
    """One connection to the control socket, blocking."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE_SECONDS)
        self._lines = LineBuffer()
        self._received: list[FromDaemon] = []
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> FromDaemon | None:
        """The next message; None at the end of the stream."""
        while not self._received:
            chunk = self._socket.recv(65536)
            if not chunk:
                return None
            self._received.extend(map(decode_from_daemon, self._lines.feed(chunk)))
        return self._received.pop(0)

    def expect(self, kind: type[Found], where: Callable[[Found], bool] = lambda _: True) -> Found:
        """The next message of this kind that fits; others are passed over."""
        while (message := self.receive()) is not None:
            if isinstance(message, kind) and where(message):
                return message
        raise AssertionError(f"the daemon closed the connection; a {kind.__name__} was expected")

    def command(self, command: ToDaemon) -> Ok | Error:
        """Send a command and wait for its answer."""
        self._socket.sendall(encode(command))
        while (message := self.receive()) is not None:
            if isinstance(message, Ok | Error):
                return message
        raise AssertionError("the daemon closed the connection without an answer")

    def set_faults(self, *faults: Fault) -> None:
        assert self.command(SetFaults(list(faults))) == Ok()


class MountedVolume:
    """A running daemon: ``path`` is the mount, ``source`` the directory behind it, ``hello`` what it said first."""

    def __init__(self, directory: Path, *, size: int, options: tuple[str, ...]) -> None:
        self.path = directory / "mount"
        self.source = directory / "source"
        self.control_path = directory / "control"
        self.log_path = directory / "log"
        self._controls: list[Control] = []
        self._programs: list[subprocess.Popen[bytes]] = []
        self.path.mkdir(exist_ok=True)
        self.source.mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-m", "driver_ref.fs", "--volume-id", "vol-1", "--source", str(self.source)),
            *("--mountpoint", str(self.path), "--control", str(self.control_path), "--size", str(size)),
            *("--interval-ms", "20", *options),
        ]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def wait_until_served(self) -> None:
        self.control = self.connect()
        self.hello = self.control.expect(Hello)

    def connect(self) -> Control:
        """Another connection to the control socket."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                control = Control(self.control_path)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the FUSE process did not come up:\n{self.log()}")
                time.sleep(0.01)
            else:
                self._controls.append(control)
                return control

    def counted(self, op: str) -> int:
        """How often an operation has been asked for by now (a fresh connection is told at once)."""
        control = Control(self.control_path)
        try:
            totals = control.expect(Counters).ops
        finally:
            control.close()
        return totals[op].count if op in totals else 0

    def start_program(self, *command: str) -> "subprocess.Popen[bytes]":
        """A program that may get stuck in the mount, in place of the test; ended after the daemon is."""
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._programs.append(program)
        return program

    def waiting(self) -> int:
        """How many requests the kernel waits for, asked without touching the mount (fusectl)."""
        return int((self.connections / str(self.hello.connection) / "waiting").read_text())

    def abort(self) -> None:
        """Cut the connection between the kernel and the daemon."""
        (self.connections / str(self.hello.connection) / "abort").write_text("1")

    @functools.cached_property
    def connections(self) -> Path:
        """The kernel's table of FUSE connections; many machines mount it at /sys/fs/fuse/connections, not all."""
        directory = self.control_path.with_name("connections")
        directory.mkdir()
        subprocess.run(["mount", "-t", "fusectl", "none", str(directory)], check=True)
        return directory

    def log(self) -> str:
        return self.log_path.read_text()

    def is_mounted(self) -> bool:
        return connection_at(str(self.path)) is not None

    def detach(self) -> None:
        """Take a dead mount away."""
        subprocess.run(["umount", "-l", "-c", "-i", str(self.path)], check=True)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def clean_up(self) -> None:
        """Leave no process and no mount, whatever has happened."""
        for control in self._controls:
            control.close()
        try:
            if self.process.poll() is None:
                self.kill()
                self.wait()
        finally:
            while self.is_mounted():
                self.detach()
            if "connections" in vars(self):
                subprocess.run(["umount", str(self.connections)], check=True)
            for program in self._programs:
                program.kill()
                program.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def mounted(directory: Path, *options: str, size: int = 512 * MIB) -> Iterator[MountedVolume]:
    """A volume served for the duration of the block, with the daemon's log shown if the block fails."""
    need(os.access("/dev/fuse", os.R_OK | os.W_OK), "/dev/fuse is missing or not ours to open")
    need(os.geteuid() == 0, "mounting needs root (or run the tests under `unshare -Urm`)")
    directory.mkdir(parents=True, exist_ok=True)
    volume = MountedVolume(directory, size=size, options=options)
    try:
        volume.wait_until_served()
        yield volume
    except BaseException:
        print(f"--- log of the FUSE process\n{volume.log()}", file=sys.stderr)
        raise
    finally:
        volume.clean_up()
