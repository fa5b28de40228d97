"""The FUSE file system against the bare directory and a C pass-through (bindfs), and what counting costs.

Rounds that take turns; medians per round; ratios within this run. Reads drop the mount's page cache first, so that they
reach the daemon, and not the source's, so that no disk is measured. Needs root (or `unshare -Urm`) and /dev/fuse; bindfs
is left out if it is not installed.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.integration.fs.mounted import mounted

MIB = 1 << 20
CHUNK = 128 << 10
LARGE = 16 * MIB


def look_up(directory: Path, count: int) -> None:
    for number in range(count):
        with contextlib.suppress(FileNotFoundError):
            os.stat(directory / f"absent{number}")


def make_and_remove(directory: Path, count: int) -> None:
    for number in range(count):
        os.close(os.open(directory / f"new{number}", os.O_CREAT | os.O_WRONLY))
        os.unlink(directory / f"new{number}")


def open_read_close(directory: Path, count: int) -> None:
    for _ in range(count):
        fd = os.open(directory / "small", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(fd, 4096, 0)
        os.close(fd)


def overwrite_4k(directory: Path, count: int) -> None:
    fd, block = os.open(directory / "small", os.O_WRONLY), bytes(4096)
    for _ in range(count):
        os.pwrite(fd, block, 0)
    os.close(fd)


def write_128k(directory: Path, count: int) -> None:
    fd, block = os.open(directory / "large", os.O_WRONLY), bytes(CHUNK)
    for number in range(count):
        os.pwrite(fd, block, number * CHUNK % LARGE)
    os.close(fd)


def read_128k(directory: Path, count: int) -> None:
    fd = os.open(directory / "large", os.O_RDONLY)
    for number in range(count):
        if number * CHUNK % LARGE == 0:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(fd, CHUNK, number * CHUNK % LARGE)
    os.close(fd)


WORK: dict[str, tuple[Callable[[Path, int], None], int]] = {
    "look up an absent name": (look_up, 300),
    "create, close, unlink": (make_and_remove, 100),
    "open, read 4 KiB, close": (open_read_close, 200),
    "overwrite 4 KiB": (overwrite_4k, 300),
    "write 128 KiB": (write_128k, 128),
    "read 128 KiB": (read_128k, 128),
}


@contextlib.contextmanager
def bindfs(directory: Path) -> Iterator[Path]:
    """A C pass-through in the foreground, ended and unmounted afterwards."""
    source, path = directory / "source", directory / "mount"
    for made in (source, path):
        made.mkdir(parents=True)
    program = subprocess.Popen(["bindfs", "-f", str(source), str(path)])
    try:
        while not os.path.ismount(path):
            if program.poll() is not None:
                raise SystemExit(f"bindfs ended with {program.returncode}")
            time.sleep(0.01)
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)
        program.terminate()
        program.wait()


def measure(places: dict[str, Path], work: str, rounds: int) -> dict[str, list[float]]:
    """Microseconds per operation in each place, round by round, the places taking turns."""
    act, count = WORK[work]
    taken: dict[str, list[float]] = {name: [] for name in places}
    for number in range(rounds):
        for name in list(places) if number % 2 == 0 else reversed(places):
            started = time.perf_counter()
            act(places[name], count)
            taken[name].append((time.perf_counter() - started) / count * 1e6)
    return taken


def ratio(one: list[float], other: list[float]) -> float:
    """Median of the ratios within each round, so that a busy moment weighs on both sides."""
    return statistics.median(mine / theirs for mine, theirs in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds per measurement (default: %(default)s)")
    rounds = parser.parse_args().rounds
    with contextlib.ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuse-bench-")))
        places = {"bare": top / "bare"}
        places["bare"].mkdir()
        places["driver_ref.fs"] = stack.enter_context(mounted(top / "counted")).path
        places["uncounted"] = stack.enter_context(mounted(top / "uncounted", "--no-counters")).path
        if shutil.which("bindfs"):
            places["bindfs"] = stack.enter_context(bindfs(top / "bindfs"))
        else:
            print("bindfs is not installed: left out", file=sys.stderr)
        for directory in places.values():
            (directory / "small").write_bytes(bytes(4096))
            (directory / "large").write_bytes(bytes(LARGE))
        print(f"{'microseconds (median)':26}" + "".join(f"{name:>15}" for name in places))
        costs = []
        for work in WORK:
            taken = measure(places, work, rounds)
            served = taken["driver_ref.fs"]
            costs.append(ratio(served, taken["uncounted"]) - 1)
            medians = "".join(f"{statistics.median(values):15.1f}" for values in taken.values())
            peer = f"  {ratio(served, taken['bindfs']):5.2f} x bindfs" if "bindfs" in taken else ""
            print(
                f"{work:26}{medians}{peer}  {ratio(served, taken['bare']):6.1f} x bare  counting {costs[-1]:+.1%}"
            )
        print(f"counting costs {statistics.median(costs):+.1%} (median of the rows)")


if __name__ == "__main__":
    main()
