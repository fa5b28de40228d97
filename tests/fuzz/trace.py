"""Random and mutated byte strings at the reader of trace files: `python -m tests.fuzz.trace --strings 1000000`.

Every string must be read to its end, or refused with `TraceError`; nothing else may be raised. Prints how many were, how long it
took, and how much memory the process has come to use meanwhile.
"""

import argparse
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import zstandard

from csitrace.errors import TraceError
from csitrace.trace.format import DATA_MAGIC_BYTES, INDEX_MAGIC_BYTES, Index, pack_index
from csitrace.trace.reader import TraceReader
from csitrace.trace.writer import TraceWriter, new_header
from tests.story import Story, straight_road

EVENTS, BLOCK = 12, 4


def seed_trace() -> bytes:
    """A small file that is whole."""
    told = Story()
    straight_road(told)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "seed"
        writer = TraceWriter(path, new_header("seed", 1, 1, "seed"))
        chosen = told.events[-EVENTS:]
        for start in range(0, EVENTS, BLOCK):
            writer.write(chosen[start : start + BLOCK])
            writer.flush()
        writer.close()
        return path.read_bytes()


Mutation = Callable[[random.Random, bytes], bytes]


def noise(chance: random.Random, seed: bytes) -> bytes:
    """Random bytes; some begin like a trace."""
    start = chance.choice((b"", INDEX_MAGIC_BYTES, DATA_MAGIC_BYTES, seed[: chance.randrange(400)]))
    return start + chance.randbytes(chance.randrange(600))


def flips(chance: random.Random, seed: bytes) -> bytes:
    """Some bytes changed."""
    changed = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def cut(chance: random.Random, seed: bytes) -> bytes:
    """Cut off, or a piece cut out of it."""
    start, end = sorted((chance.randrange(len(seed)), chance.randrange(len(seed))))
    return seed[:start] + (seed[end:] if chance.random() < 0.5 else b"")


def spliced(chance: random.Random, seed: bytes) -> bytes:
    """A piece of it put in somewhere else."""
    start, end = sorted((chance.randrange(len(seed)), chance.randrange(len(seed))))
    place = chance.randrange(len(seed))
    return seed[:place] + seed[start:end] + seed[place:]


def lines(chance: random.Random, seed: bytes) -> bytes:
    """A whole block whose lines are mutated JSON: checksums do not save the parser."""
    with zstandard.ZstdDecompressor().stream_reader(seed, read_across_frames=True) as stream:
        plain = bytearray(stream.read())
    for _ in range(chance.choice((1, 2, 8, 32))):
        place = chance.randrange(len(plain))
        plain[place : place + chance.randrange(3)] = chance.choice(
            (b"", b"-", b'"', b"[" * 2_000, b"{", b"9" * 400, b"\\ud800", b"\xff", b"1e999", b"null", chance.randbytes(3))
        )  # fmt: skip
    head, body = seed[: seed.index(DATA_MAGIC_BYTES)], bytes(plain)
    data = zstandard.compress(body)
    if chance.random() < 0.3:
        return data
    size = len(data) if chance.random() < 0.9 else chance.randrange(1 << 20)
    numbers = [chance.choice((0, 1, 1 << 40, (1 << 63) - 1)) for _ in range(4)]
    index = Index(
        flags=chance.randrange(4), count=3, size=size, raw=len(body), first_seq=numbers[0], last_seq=numbers[1],
        first_at=numbers[2], last_at=numbers[3],
    )  # fmt: skip
    return head + seed[len(head) : len(head) + chance.randrange(200)] + pack_index(index) + data


MUTATIONS: tuple[Mutation, ...] = (noise, flips, cut, spliced, lines)


def fuzz(strings: int, number: int = 1) -> Counter[str]:
    """Read so many strings; the answer counts how they fared. Raises what the reader ought not to."""
    chance, seed, fared = random.Random(number), seed_trace(), Counter[str]()
    for _ in range(strings):
        mutate = chance.choice(MUTATIONS)
        content = mutate(chance, seed)
        try:
            reader = TraceReader.of(content)
            read = sum(
                1 for _ in reader.events(chance.choice((0, 0, 0, 5)), since=chance.choice((0, 0, 0, 7)))
            )
            reader.extent()
            fared[
                "read whole" if not reader.notes else "read in part" if read else "nothing whole in it"
            ] += 1
        except TraceError:
            fared["refused"] += 1
        except BaseException:
            Path("fuzz-failure").write_bytes(content)
            raise
    return fared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    fuzz(1_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    fared = fuzz(arguments.strings, arguments.seed)
    took = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    told = ", ".join(f"{count:,} {what}" for what, count in fared.most_common())
    print(
        f"{arguments.strings:,} strings in {took:.0f} s: {told}; no other error; memory grew by {grown / 1024:.1f} MiB"
    )


if __name__ == "__main__":
    main()
