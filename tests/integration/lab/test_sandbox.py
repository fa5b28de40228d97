"""However it ends, nothing of the lab is left: no process, no mount, no directory."""

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from csitrace.errors import UnreachableError
from csitrace.lab.demo import Sandbox, running_lab
from tests.integration.lab.conftest import DEADLINE_SECONDS, LabProcess, wait_until

ONE_VOLUME = ("--scenario", "wait-for-consumer", "--speed", "50", "--once")
"""The scenario with one volume, and so one FUSE process that outlives its driver."""


def assert_nothing_left(lab: LabProcess) -> None:
    wait_until(lambda: not lab.members(), "no process is left")
    wait_until(lambda: not lab.directory.exists(), "the directory is removed")
    assert str(lab.directory) not in Path("/proc/self/mountinfo").read_text()


def keeper_of(lab: LabProcess) -> int:
    """The supervisor's other child."""
    children = Path(f"/proc/{lab.process.pid}/task/{lab.process.pid}/children").read_text().split()
    [keeper] = [int(pid) for pid in children if int(pid) not in lab.members()]
    return keeper


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(new_lab: Callable[..., LabProcess], number: signal.Signals) -> None:
    """A signal to the process that the user started ends all, in good order."""
    lab = new_lab("--scenario", "none")
    lab.process.send_signal(number)
    assert lab.process.wait(DEADLINE_SECONDS) == 0
    assert_nothing_left(lab)


def test_killed_while_a_volume_hangs(new_lab: Callable[..., LabProcess]) -> None:
    """kill -9 of the supervisor, with a program stuck in a FUSE request: the keeper ends everything."""
    lab = new_lab("--scenario", "hung-fuse", "--speed", "20", "--once")
    lab.wait_reached("hung-fuse")
    lab.process.kill()
    assert lab.process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    assert_nothing_left(lab)


def test_killed_inside(new_lab: Callable[..., LabProcess]) -> None:
    """kill -9 of the lab itself: the supervisor ends the rest and tells how it ended."""
    lab = new_lab(*ONE_VOLUME)
    lab.wait_reached("wait-for-consumer")
    os.kill(lab.ready["pid"], signal.SIGKILL)
    assert lab.process.wait(DEADLINE_SECONDS) == 128 + signal.SIGKILL
    assert_nothing_left(lab)


def test_it_does_without_its_keeper(new_lab: Callable[..., LabProcess]) -> None:
    """kill -9 of the keeper changes nothing for the rest, nor for the end."""
    lab = new_lab("--scenario", "none")
    os.kill(keeper_of(lab), signal.SIGKILL)
    assert lab.items("/api/v1/nodes")
    lab.close()
    assert_nothing_left(lab)


def test_a_killed_driver_comes_back(new_lab: Callable[..., LabProcess]) -> None:
    """kill -9 of the driver: it is started again, registers again, and finds its volumes."""
    lab = new_lab(*ONE_VOLUME)
    lab.wait_reached("wait-for-consumer")
    mounts = lab.mounts()

    def drivers() -> list[int]:
        found = []
        for pid in lab.members():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"driver_ref" in words:
                found.append(pid)
        return found

    [first] = drivers()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: drivers() not in ([], [first]), "the driver is started again")

    def registered() -> bool:
        [csi_node] = lab.items("/apis/storage.k8s.io/v1/csinodes")
        return [driver["name"] for driver in csi_node["spec"]["drivers"]] == [lab.ready["driver_name"]]

    wait_until(registered, "the driver is registered again")
    assert lab.mounts() == mounts
    lab.close()
    assert_nothing_left(lab)


FULL_SCREEN = """
import os, sys, time, tty
from csitrace.lab.sandbox import enter
box = enter()
tty.setraw(0)
os.write(1, b"\\x1b[?1049h\\x1b[?25l")
os.write(1, b"pid=%d;" % os.getpid())
time.sleep(60)
"""


@pytest.mark.parametrize("victim", ["program", "supervisor"])
def test_a_killed_full_screen_program_leaves_a_usable_terminal(mounts_allowed: None, victim: str) -> None:
    """kill -9 of the program that draws, or of its supervisor: the terminal's mode and screen are put back."""
    leader, follower = pty.openpty()
    before = termios.tcgetattr(follower)
    process = subprocess.Popen(
        [sys.executable, "-c", FULL_SCREEN], stdin=follower, stdout=follower, start_new_session=True
    )
    said = b""
    while b";" not in said.partition(b"pid=")[2]:
        said += os.read(leader, 1024)
    assert termios.tcgetattr(follower) != before
    program = int(said.partition(b"pid=")[2].partition(b";")[0])
    os.kill(program if victim == "program" else process.pid, signal.SIGKILL)
    expected = 128 + signal.SIGKILL if victim == "program" else -signal.SIGKILL
    assert process.wait(DEADLINE_SECONDS) == expected
    while b"\x1b[?1049l\x1b[?25h" not in said:
        said += os.read(leader, 1024)
    wait_until(lambda: termios.tcgetattr(follower) == before, "the terminal's mode is restored")
    os.close(leader)
    os.close(follower)


def test_a_terminal_that_goes_away_ends_it(mounts_allowed: None) -> None:
    """A window closed, an SSH connection lost: the kernel tells the session's leader, our supervisor, and all ends."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + FULL_SCREEN],
        stdin=follower,
        stdout=follower,
        start_new_session=True,
    )
    os.close(follower)
    said = b""
    while b";" not in said.partition(b"pid=")[2]:
        said += os.read(leader, 1024)
    program = int(said.partition(b"pid=")[2].partition(b";")[0])
    os.close(leader)
    assert process.wait(DEADLINE_SECONDS) == 128 + signal.SIGHUP
    assert not Path(f"/proc/{program}").exists()


DEMO = """
import asyncio
from csitrace.lab.demo import enter, running_lab

async def main():
    async with running_lab(box, "wait-for-consumer", speed=50, once=True) as lab:
        await lab.wait_reached("wait-for-consumer")
        print(lab.ready.pid, sum(
            str(box.directory) in line and "/globalmount " in line for line in open("/proc/self/mountinfo")
        ))

box = enter()
asyncio.run(main())
"""


def test_the_demo_shares_its_mounts_with_its_watcher(mounts_allowed: None) -> None:
    """Who calls `running_lab` inside the sandbox sees the volumes in its own mount table; leaving ends the lab."""
    done = subprocess.run(
        [sys.executable, "-c", DEMO], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    pid, mounts = done.stdout.split()
    assert int(mounts) == 1
    assert not Path(f"/proc/{pid}").exists()


async def test_a_lab_that_does_not_start_says_why(tmp_path: Path) -> None:
    """One line, from the lab's own log."""
    with pytest.raises(UnreachableError, match="invalid choice: 'no-such-scenario'"):
        async with running_lab(Sandbox(tmp_path), "no-such-scenario"):
            raise AssertionError("it started")
