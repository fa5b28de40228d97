"""Start, adoption, end and sudden death of the FUSE process; nothing hangs, whatever it is busy with."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from driver_ref.fs.channel import Counters, Error, Fault, Hello, Ok, SetSize, SlowOp, Stop
from tests.integration.fs.mounted import MIB, Control, MountedVolume, eventually, mounted, need

GONE = "Transport endpoint is not connected|Software caused connection abort"
SERVE = (sys.executable, "-m", "driver_ref.fs", "--volume-id", "vol-1", "--size", "1000000")


def _errors(said: Counters, op: str) -> dict[str, int]:
    """An operation's errors so far."""
    return said.ops[op].errors if op in said.ops else {}


def test_hello_says_who_serves_what(volume: MountedVolume) -> None:
    """The first message names volume, process and FUSE connection, and comes after INIT was answered."""
    hello = volume.hello
    assert (hello.version, hello.volume_id, hello.pid) == (1, "vol-1", volume.process.pid)
    assert hello.started_at <= hello.init_at
    assert (volume.connections / str(hello.connection)).is_dir()
    assert os.minor(volume.path.stat().st_dev) == hello.connection
    assert stat.S_IMODE(volume.control_path.stat().st_mode) == 0o600


def test_mount_names_its_type_and_volume(volume: MountedVolume) -> None:
    """mountinfo shows fuse.driver_ref with the volume id as source."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    (line,) = [line for line in lines if line.split()[4] == str(volume.path)]
    assert line.partition(" - ")[2].split()[:2] == ["fuse.driver_ref", "vol-1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts_and_ends_with_zero(volume: MountedVolume, number: int) -> None:
    """An idle volume is unmounted, its socket is gone, the data stays."""
    (volume.path / "file").write_bytes(b"kept")
    volume.kill(number)
    assert volume.wait() == 0
    assert not volume.is_mounted()
    assert not volume.control_path.exists()
    assert (volume.source / "file").read_bytes() == b"kept"


def test_stop_over_the_control_socket(volume: MountedVolume) -> None:
    """Stop is answered, then carried out: end of stream, exit 0, no mount."""
    assert volume.control.command(Stop()) == Ok()
    while volume.control.receive() is not None:
        pass
    assert volume.wait() == 0
    assert not volume.is_mounted()


def test_a_busy_volume_is_detached_on_sigterm(volume: MountedVolume) -> None:
    """With a file open the unmount is lazy: the process ends with 0, the user of the file gets an error, not a hang."""
    fd = os.open(volume.path / "file", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"before")
    volume.kill(signal.SIGTERM)
    assert volume.wait() == 0
    assert not volume.is_mounted()
    with pytest.raises(OSError, match=GONE):
        os.write(fd, b"after")
    with pytest.raises(OSError, match=GONE):
        os.fsync(fd)
    with pytest.raises(OSError, match=GONE):
        os.close(fd)
    assert (volume.source / "file").read_bytes() == b"before"


def test_unmounted_by_somebody_else(volume: MountedVolume) -> None:
    """umount(8) from outside ends the process with 0."""
    subprocess.run(["umount", str(volume.path)], check=True)
    assert volume.wait() == 0


def test_an_aborted_connection_leaves_no_dead_mount(volume: MountedVolume) -> None:
    """When the connection is aborted through /sys the process ends and takes its dead mount with it."""
    volume.abort()
    volume.wait()
    assert not volume.is_mounted()


def test_a_killed_process_leaves_a_dead_mount_that_can_be_detached_and_replaced(tmp_path: Path) -> None:
    """kill -9: control gets end of stream at once, the mount answers ENOTCONN, lazy unmount and a new start work."""
    with mounted(tmp_path) as volume:
        (volume.path / "file").write_bytes(b"kept")
        volume.kill()
        while volume.control.receive() is not None:
            pass
        volume.wait()
        assert volume.is_mounted()
        with pytest.raises(OSError, match="Transport endpoint is not connected") as refused:
            os.listdir(volume.path)
        assert refused.value.errno == errno.ENOTCONN
        volume.detach()
        assert not volume.is_mounted()
    with mounted(tmp_path) as volume:
        assert (volume.path / "file").read_bytes() == b"kept"


def test_clients_come_and_go(volume: MountedVolume) -> None:
    """The process outlives its clients, serves several, and tells a later one the same totals."""
    (volume.path / "file").write_bytes(b"x")
    volume.control.close()
    one, other = volume.connect(), volume.connect()
    assert one.expect(Hello) == other.expect(Hello)
    assert one.expect(Counters).ops["WRITE"].bytes == 1
    assert other.expect(Counters).ops["WRITE"].bytes == 1


def test_counters_count_what_was_asked(volume: MountedVolume) -> None:
    """Counts, bytes, errors by errno and the histogram are exact and cumulative, and are sent only when they change."""
    (volume.path / "file").write_bytes(bytes(3000))
    for _ in range(3):
        assert not (volume.path / "absent").exists()
    said = volume.control.expect(Counters, lambda said: _errors(said, "LOOKUP") == {"ENOENT": 4})
    assert said.ops["CREATE"].count == 1
    assert said.ops["WRITE"].count == 1
    assert said.ops["WRITE"].bytes == 3000
    for count in said.ops.values():
        assert sum(count.buckets) == count.count
        assert sum(count.errors.values()) <= count.count
        assert count.latency_ns_sum > 0


def test_a_client_that_does_not_read_hurts_nobody(tmp_path: Path) -> None:
    """With a client that never reads, and every operation reported to it, the mount serves; the loss is counted."""
    with mounted(tmp_path, "--sample", "1") as volume:
        volume.connect()  # and never read from
        for number in range(6000):
            (volume.path / f"absent{number}").exists()
        assert volume.counted("LOOKUP") >= 6000
        volume.control.expect(Counters, lambda said: said.slow_dropped > 0)


def test_nonsense_is_answered_with_an_error(volume: MountedVolume) -> None:
    """A bad line gets a message saying what is wrong, changes nothing, and does not end the conversation."""
    for line, wrong in (
        (b"not json\n", "not a command"),
        (b'{"type":"set_size","bytes":0}\n', "expected 1 or more"),
        (b'{"type":"set_faults","faults":[{"op":"READ","errno":"EWHAT"}]}\n', "EWHAT"),
        (b'{"type":"set_faults","faults":[{"op":"REED","errno":"EIO"}]}\n', "REED"),
        (b"\xff\xfe\n", "not a command"),
    ):
        volume.control.send_raw(line)
        assert wrong in volume.control.expect(Error).message
    assert volume.control.command(SetSize(64 * MIB)) == Ok()


def _say_until_disconnected(control: Control) -> None:
    for _ in range(64):
        control.send_raw(b"x" * (1 << 16))
    control.expect(Hello)


def test_an_endless_line_is_refused(volume: MountedVolume) -> None:
    """A peer that sends megabytes without a newline is told so and disconnected; the mount is not disturbed."""
    with pytest.raises((BrokenPipeError, ConnectionResetError, AssertionError)):
        _say_until_disconnected(volume.control)
    assert os.listdir(volume.path) == []


class TestFaults:
    """Faults on demand, on a real mount."""

    def test_an_errno_reaches_the_program_as_often_as_said(self, volume: MountedVolume) -> None:
        """count=2: two operations fail with the errno asked for, the third succeeds; all are counted."""
        (volume.path / "file").write_bytes(b"x")
        volume.control.set_faults(Fault("OPEN", errno="EDQUOT", count=2))
        for _ in range(2):
            with pytest.raises(OSError, match="quota"):
                (volume.path / "file").read_bytes()
        assert (volume.path / "file").read_bytes() == b"x"
        volume.control.expect(Counters, lambda said: _errors(said, "OPEN") == {"EDQUOT": 2})

    def test_a_delay_is_reported_as_a_slow_operation(self, volume: MountedVolume) -> None:
        """A delayed read succeeds, takes at least the delay, and is reported with inode, bytes and duration."""
        (volume.path / "file").write_bytes(b"x" * 10)
        subprocess.run(["sync", "-f", str(volume.path)], check=True)
        volume.control.set_faults(Fault("OPEN", delay_ms=150))
        assert (volume.path / "file").read_bytes() == b"x" * 10
        slow = volume.control.expect(SlowOp)
        assert (slow.op, slow.errno, slow.ino) == ("OPEN", None, (volume.path / "file").stat().st_ino)
        assert slow.duration_ns >= 150_000_000

    def test_a_hang_ends_when_the_faults_are_cleared(self, volume: MountedVolume) -> None:
        """A hung open waits in the kernel, other operations are served meanwhile, and it completes once let go."""
        (volume.path / "file").write_bytes(b"x")
        volume.control.set_faults(Fault("OPEN", hang=True, count=1))
        reader = volume.start_program("cat", str(volume.path / "file"))
        eventually(lambda: volume.waiting() == 1, "the kernel waits for the hung open")
        assert os.listdir(volume.path) == ["file"]
        assert reader.poll() is None
        volume.control.set_faults()
        assert reader.communicate()[0] == b"x"

    @pytest.mark.parametrize("op", ["*", "OPEN", "GETATTR"])
    def test_a_hung_volume_can_be_stopped(self, volume: MountedVolume, op: str) -> None:
        """SIGTERM ends the process though operations hang; who waits for them is let go, and no mount stays."""
        (volume.path / "file").write_bytes(b"x")
        volume.control.set_faults(Fault(op, hang=True))
        reader = volume.start_program("cat", str(volume.path / "file"))
        eventually(lambda: volume.waiting() >= 1, "the kernel waits for a hung operation")
        volume.kill(signal.SIGTERM)
        assert volume.wait() == 0
        assert not volume.is_mounted()
        reader.communicate()

    def test_a_hung_volume_can_be_killed(self, volume: MountedVolume) -> None:
        """kill -9 of a hung process wakes whoever waited, with an error."""
        (volume.path / "file").write_bytes(b"x")
        volume.control.set_faults(Fault("*", hang=True))
        reader = volume.start_program("cat", str(volume.path / "file"))
        eventually(lambda: volume.waiting() >= 1, "the kernel waits for a hung operation")
        volume.kill()
        volume.wait()
        reader.communicate()
        assert reader.returncode != 0


class TestRefusals:
    """A start that cannot work ends with 1 and one line."""

    def _refused(self, *options: str) -> str:
        done = subprocess.run([*SERVE, *options], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        return line

    def test_source_or_mount_point_missing(self, tmp_path: Path) -> None:
        """The path that is wrong is named."""
        control = ("--control", str(tmp_path / "control"))
        missing, there = str(tmp_path / "missing"), str(tmp_path)
        assert missing in self._refused("--source", missing, "--mountpoint", there, *control)
        assert missing in self._refused("--source", there, "--mountpoint", missing, *control)

    def test_mount_point_in_use(self, volume: MountedVolume, tmp_path: Path) -> None:
        """A second daemon on the same mount point is refused, even when the first one is dead."""
        arguments = (
            "--source",
            str(tmp_path),
            "--mountpoint",
            str(volume.path),
            "--control",
            str(tmp_path / "c2"),
        )
        assert "mounted at" in self._refused(*arguments)
        volume.kill()
        volume.wait()
        assert "mounted at" in self._refused(*arguments)

    def test_control_socket_in_use(self, volume: MountedVolume, tmp_path: Path) -> None:
        """A living daemon's socket is not taken over, and nothing is mounted."""
        other = tmp_path / "other"
        other.mkdir()
        line = self._refused(
            *("--source", str(tmp_path), "--mountpoint", str(other), "--control", str(volume.control_path))
        )
        assert "another process is listening" in line
        assert Control(volume.control_path).expect(Hello) == volume.hello


def test_works_in_a_user_and_mount_namespace(tmp_path: Path) -> None:
    """Without real root: inside `unshare -Urm` the volume mounts, serves, and unmounts."""
    probe = subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True, text=True)
    need(probe.returncode == 0, f"user namespaces are not allowed here: {probe.stderr.strip()}")
    for name in ("source", "mount"):
        (tmp_path / name).mkdir()
    script = """
        set -e
        "$0" -m driver_ref.fs --volume-id v --size 50000000 --source source --mountpoint mount --control control &
        until [ -S control ] && grep -q " $PWD/mount " /proc/self/mountinfo; do kill -0 $!; sleep 0.05; done
        mkdir mount/dir && echo hello > mount/dir/file && mv mount/dir/file mount/file
        [ "$(cat mount/file)" = hello ]
        [ "$(stat -c %u mount/file)" = 0 ]
        kill $!
        wait $!
        ! grep " $PWD/mount " /proc/self/mountinfo
    """
    command = ["unshare", "-Urm", "sh", "-c", script, sys.executable]
    program = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = program.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == 0, errors
    assert (tmp_path / "source/file").read_text() == "hello\n"
