"""`csitrace stats`: how long spans and steps took in a recording."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import add_output_flag

if TYPE_CHECKING:
    from csitrace.lifecycle.samples import Gathered

DESCRIPTION = "Tell how long each span and step of a recording took: median, 95th percentile, longest, outcomes, histogram."

OUTPUTS = ("table", "wide", "json")
DIMENSION_NAMES = ("class", "driver", "node", "namespace")


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "paths", nargs="+", metavar="F", help="a recording; several are read as one, e.g. of several nodes"
    )
    add_sample_flags(parser)


def add_sample_flags(parser: argparse.ArgumentParser) -> None:
    """Which samples, in which groups, and how they are told."""
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        choices=DIMENSION_NAMES,
        help="a row for each of these; may be repeated",
    )
    parser.add_argument(
        "--filter", default="", metavar="EXPR", help="e.g. 'driver:ebs and span:attach and took>5s'"
    )
    parser.add_argument(
        "--whole-seconds", action="store_true", help="count times that are known to the second only, too"
    )
    parser.add_argument("--ascii", action="store_true", help="draw without Unicode")
    add_output_flag(parser, OUTPUTS, "default: table")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.lifecycle.samples import parse_sample_filter
    from csitrace.lifecycle.statistics import summaries
    from csitrace.report.stats import STATS_FORMS, StatsReport

    chosen = parse_sample_filter(arguments.filter)
    title, gathered = read(arguments.paths)
    kept = [sample for sample in gathered.samples if chosen.matches(sample, gathered.last_at)]
    by = tuple(dict.fromkeys(arguments.by))
    rows = summaries(kept, by, rough=arguments.whole_seconds)
    report = StatsReport(title, gathered, rows, by, arguments.filter, ascii_only(arguments.ascii))
    print(STATS_FORMS[arguments.output or "table"](report), flush=True)
    return 0


def read(paths: Sequence[str]) -> "tuple[str, Gathered]":
    """What is in a recording, and its title; what could not be read of it is said on stderr. Raises `TraceError`."""
    from csitrace.lifecycle.samples import gather
    from csitrace.sources.recording import open_recording

    recording = open_recording([Path(path) for path in paths])
    gathered = gather(recording.events)
    for note in recording.notes:
        print(note, file=sys.stderr)
    return recording.title, gathered


def ascii_only(asked: bool) -> bool:
    """Whether to draw without Unicode: because it was asked for, or because stdout cannot carry it."""
    return asked or (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
