"""The program in the lab's containers: a light, steady load of ordinary file operations, so that something moves.

`python -m csitrace.lab.workload DIRECTORY…` writes, syncs, reads, renames, lists and removes a few small files in each
directory until SIGTERM. It says `started` first: from then on SIGTERM ends it well. An error of the file system is waited out:
it is the volume's trouble, not the program's.
"""

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PAUSE_SECONDS = 0.5
_FILES = 8
_PR_SET_PDEATHSIG = 1


def work(directory: Path, turn: int) -> None:
    """One round: some twenty operations on a few kilobytes."""
    data = directory / f"data-{turn % _FILES}"
    draft = data.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(random.randbytes(random.randrange(1024, 32768)))  # noqa: S311 - contents do not matter
        file.flush()
        os.fsync(file.fileno())
    draft.rename(data)
    data.read_bytes()
    for entry in sorted(directory.iterdir()):
        entry.stat()
    if turn % _FILES == _FILES - 1:
        data.unlink()


def main(arguments: Sequence[str]) -> int:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    print("started", flush=True)
    turn = 0
    while not stopped:
        for directory in arguments:
            try:
                work(Path(directory), turn)
            except OSError as error:
                print(error, file=sys.stderr)
        turn += 1
        time.sleep(_PAUSE_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
