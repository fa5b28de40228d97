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
    parser.add_argument("--volume-id", required=True, help="name of the volume, shown as the mount's source")
    parser.add_argument(
        "--source", required=True, metavar="DIR", help="directory that holds the volume's data"
    )
    parser.add_argument("--mountpoint", required=True, metavar="DIR", help="existing directory to mount on")
    parser.add_argument(
        "--control", required=True, metavar="SOCKET", help="path of the control socket to make"
    )
    parser.add_argument(
        "--size", required=True, type=_at_least_one, metavar="BYTES", help="size of the volume"
    )
    parser.add_argument(
        "--interval-ms",
        type=_at_least_one,
        default=250,
        help="time between counter messages (default: %(default)s)",
    )
    parser.add_argument(
        "--slow-ms", type=_at_least_one, default=100, help="report slower operations (default: %(default)s)"
    )
    parser.add_argument(
        "--sample", type=int, default=0, metavar="N", help="report every N-th operation (0: none)"
    )
    parser.add_argument(
        "--cache-seconds",
        type=float,
        default=1.0,
        help="how long the kernel trusts names and attributes (default: %(default)s); "
        "more is faster, where nobody else changes the directory",
    )
    parser.add_argument(
        "--no-counters", action="store_true", help="count nothing, to measure what counting costs"
    )
    given = parser.parse_args(arguments)
    return Options(
        volume_id=given.volume_id,
        source=given.source,
        mountpoint=given.mountpoint,
        control=given.control,
        size_bytes=given.size,
        interval_seconds=given.interval_ms / 1000,
        slow_seconds=given.slow_ms / 1000,
        sample_every=given.sample,
        cache_seconds=given.cache_seconds,
        counting=not given.no_counters,
    )


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


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
