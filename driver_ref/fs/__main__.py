"""Command line of the FUSE process: ``python -m driver_ref.fs``."""

import argparse
import logging
import sys

from driver_ref.fs.daemon import Options, StartError, run


def _parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m driver_ref.fs",
        description="Serve one volume: a pass-through FUSE file system over a directory. Unmounts on SIGTERM.",
    )
    add = parser.add_argument
    add("--volume-id", required=True, help="name of the volume, shown as the mount's source")
    add("--source", required=True, metavar="DIR", help="directory that holds the volume's data")
    add("--mountpoint", required=True, metavar="DIR", help="existing directory to mount on")
    add("--control", required=True, metavar="SOCKET", help="path of the control socket to make")
    add(
        "--size",
        required=True,
        dest="size_bytes",
        type=_at_least_one,
        metavar="BYTES",
        help="size of the volume",
    )
    add(
        "--interval-ms",
        dest="interval_seconds",
        type=_milliseconds,
        default=Options.interval_seconds,
        metavar="MS",
        help="time between counter messages (default: 250)",
    )
    add(
        "--slow-ms",
        dest="slow_seconds",
        type=_milliseconds,
        default=Options.slow_seconds,
        metavar="MS",
        help="report operations that take this long (default: 100)",
    )
    add(
        "--sample",
        dest="sample_every",
        type=_at_least_one,
        default=Options.sample_every,
        metavar="N",
        help="report every N-th operation of each kind too",
    )
    add(
        "--cache-seconds",
        type=float,
        default=Options.cache_seconds,
        metavar="SECONDS",
        help="how long the kernel trusts names and attributes (default: %(default)s); longer is faster where nothing "
        "else changes the source",
    )
    add(
        "--cached-files",
        type=_at_least_one,
        default=Options.cached_files,
        metavar="N",
        help="descriptors kept open for inodes not in use (default: a quarter of the limit on open files)",
    )
    add(
        "--succeed",
        action="store_true",
        help="take the place of a daemon that died: detach what it left at the mount point, which is made where missing",
    )
    add(
        "--no-counters",
        dest="counting",
        action="store_false",
        help="count nothing, to measure what counting costs",
    )
    return Options(**vars(parser.parse_args(arguments)))


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _milliseconds(text: str) -> float:
    """Whole milliseconds, in seconds."""
    return _at_least_one(text) / 1000


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon; 0 after a clean end, 1 when it cannot start, 2 for a wrong command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        run(_parse(sys.argv[1:] if arguments is None else arguments))
    except StartError as error:
        print(f"driver_ref.fs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
