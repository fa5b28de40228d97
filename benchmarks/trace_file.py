"""What it costs to write, keep and read a trace, beside plain JSON lines in gzip and in zstd; and to seek in a long one.

    python -m benchmarks.trace_file [--events N] [--seeking N]

All keep the same events. The others use Python's own json, and are read back into the same types. Read the ratios, which are
of one run.
"""

import argparse
import gzip
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import zstandard

from benchmarks.fold import volume_facts
from csitrace.model.events import TraceEvent
from csitrace.model.times import MILLISECOND
from csitrace.trace.reader import TraceReader
from csitrace.trace.writer import TraceWriter, new_header
from tests.story import START

SEEKS = 50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--seeking", type=int, default=1_000_000)
    arguments = parser.parse_args()
    events = list(facts(arguments.events))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x"
        ways: dict[str, tuple[Callable[[], None], Callable[[], int]]] = {
            "csitrace": (lambda: write_trace(path, events), lambda: read_trace(path)),
            "json + zstd": (
                lambda: write_json(path, events, zstd_writer),
                lambda: read_json(path, zstd_reader),
            ),
            "json + gzip": (
                lambda: write_json(path, events, gzip_writer),
                lambda: read_json(path, gzip_reader),
            ),
        }
        print(
            f"{len(events):,} events; rates in events a second of processor time, and csitrace as a multiple"
        )
        print(f"{'':>12} {'write/s':>10} {'ratio':>6} {'read/s':>10} {'ratio':>6} {'bytes/event':>12}")
        ours: tuple[float, float] = (0.0, 0.0)
        for name, (write, read) in ways.items():
            wrote = min(cost(write) for _ in range(3))
            size = path.stat().st_size / len(events)
            took = min(cost(read) for _ in range(3))
            ours = ours if any(ours) else (wrote, took)
            print(
                f"{name:>12} {len(events) / wrote:>10,.0f} {wrote / ours[0]:>5.1f}x {len(events) / took:>10,.0f} "
                f"{took / ours[1]:>5.1f}x {size:>12.1f}"
            )
        seeking(Path(directory) / "long", arguments.seeking)


def cost(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def facts(count: int) -> Iterator[TraceEvent]:
    """Pods, claims, PVs, attachments and calls of a thousand volumes, over and over."""
    bodies = [body for number in range(1_000) for body in volume_facts(number)]
    for seq in range(1, count + 1):
        at = START + seq * MILLISECOND
        yield TraceEvent(
            seq=seq, observed_at=at, occurred_at=at - seq % 97, body=bodies[seq * 7 % len(bodies)]
        )


def write_trace(path: Path, events: Iterable[TraceEvent]) -> None:
    writer = TraceWriter(path, new_header("bench", 1, 1), overwrite=True)
    writer.write(events)
    writer.flush()
    writer.close()


def read_trace(path: Path) -> int:
    with TraceReader.open(path) as reader:
        return sum(1 for _ in reader.events())


def write_json(path: Path, events: Iterable[TraceEvent], opened: Callable[[Path], io.BufferedIOBase]) -> None:
    with opened(path) as file:
        for event in events:
            file.write(json.dumps(msgspec.to_builtins(event)).encode() + b"\n")


def read_json(path: Path, opened: Callable[[Path], io.BufferedReader]) -> int:
    with opened(path) as file:
        return sum(1 for line in file if msgspec.convert(json.loads(line), TraceEvent))


def zstd_writer(path: Path) -> io.BufferedIOBase:
    return zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=3))  # type: ignore[return-value]


def zstd_reader(path: Path) -> io.BufferedReader:
    return io.BufferedReader(zstandard.open(path, "rb"))  # type: ignore[arg-type]


def gzip_writer(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "wb")  # type: ignore[return-value]


def gzip_reader(path: Path) -> io.BufferedReader:
    return io.BufferedReader(gzip.open(path, "rb"))


def seeking(path: Path, count: int) -> None:
    """To any event of a long trace: the first time, with the index read from the file, and later."""
    write_trace(path, facts(count))
    chance = random.Random(1)
    with TraceReader.open(path) as reader:
        started = time.perf_counter()
        next(reader.events(chance.randrange(1, count)))
        first = time.perf_counter() - started
        later = []
        for _ in range(SEEKS):
            started = time.perf_counter()
            next(reader.events(chance.randrange(1, count)))
            later.append(time.perf_counter() - started)
    started = time.perf_counter()
    whole = read_trace(path)
    took = time.perf_counter() - started
    median = sorted(later)[len(later) // 2]
    size = path.stat().st_size / 1e6
    print(
        f"seeking in {whole:,} events ({size:.0f} MB): first {first * 1e3:.1f} ms, later {median * 1e3:.1f} ms"
    )
    print(f"reading all of it: {took:.1f} s, {took / median:,.0f} times as long")


if __name__ == "__main__":
    main()
