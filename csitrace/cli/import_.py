"""`csitrace import`: dumps, logs, audit logs and mount tables become one trace."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from csitrace.errors import UsageError

DESCRIPTION = (
    "Make one trace of what there is: kubectl's dumps, must-gather trees, audit logs, klog files, copies of a mountinfo. What "
    "was understood of each file, and what was not, is said on stderr."
)

FORM_NAMES = ("audit", "json", "klog", "mountinfo", "events-table", "yaml")


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, directories, archives")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the trace to be made"
    )
    parser.add_argument("--overwrite", action="store_true", help="also where the file is there already")
    parser.add_argument(
        "--as", dest="form", default="", choices=FORM_NAMES, metavar="FORM",
        help=f"what all of them are, instead of guessing: {', '.join(FORM_NAMES)}",
    )  # fmt: skip
    parser.add_argument(
        "--driver", default="", metavar="NAME", help="whose logs they are, if they do not say"
    )
    parser.add_argument("--node", default="", metavar="NAME", help="of which node logs and mount tables are")
    parser.add_argument(
        "--log-zone", default="UTC", metavar="ZONE",
        help="the zone of logs whose lines do not say it, as klog's: a name as Europe/Berlin, an offset as +02:00, or local "
        "(default: UTC)",
    )  # fmt: skip
    parser.add_argument(
        "--taken-at", action="append", default=[], metavar="[PATH=]TIME",
        help="when a dump or mount table was taken, or a log ends, such as 2026-01-02T03:04:05Z: of all, or of one path or "
        "a file within it; may be repeated (default: by what they tell, else the file's time)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.sources.imports.hints import Hints, times_taken, zone_of
    from csitrace.sources.imports.importing import open_import
    from csitrace.trace.writer import write_trace

    _check_output(arguments.output, arguments.paths, overwrite=arguments.overwrite)
    zone = arguments.log_zone
    hints = Hints(driver=arguments.driver, node=arguments.node, zone=zone_of(zone), zone_name=zone)
    taken_at = times_taken(arguments.taken_at, arguments.paths)
    recording = open_import(arguments.paths, form=arguments.form, hints=hints, taken_at=taken_at)
    for note in recording.notes:
        print(note, file=sys.stderr)
    count = write_trace(arguments.output, recording.title, recording.events, overwrite=arguments.overwrite)
    print(f"{arguments.output}: {count} events", file=sys.stderr)
    return 0


def _check_output(output: Path, paths: Sequence[Path], *, overwrite: bool) -> None:
    """Before hours of reading, not after. Raises `UsageError`."""
    if any(output.absolute() == path.absolute() or _is_same(output, path) for path in paths):
        raise UsageError(f"{output} is what is to be imported: name another file with -o")
    if os.path.lexists(output) and not overwrite:
        raise UsageError(f"{output} is there already: name another file, or say --overwrite")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: there is no directory {output.absolute().parent} to make it in")
    if not os.access(output.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{output}: {output.absolute().parent} may not be written to: name another file with -o"
        )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
