"""`csitrace replay`: what was recorded, shown again."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import SHOWN, add_filter_flag, add_output_flag
from csitrace.errors import UsageError

if TYPE_CHECKING:
    from csitrace.sources.recording import Recording

DESCRIPTION = (
    "Show recordings again: as a screen, or with --print as the changes they hold, at once, with their own times. "
    "Several recordings are shown as one."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings, or directories with them in")
    parser.add_argument("--print", action="store_true", help="print the changes as lines")
    add_filter_flag(parser)
    add_output_flag(parser, SHOWN, "default: screen on a terminal, else lines")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.lifecycle.filter import parse_volume_filter
    from csitrace.sources.recording import open_recording

    form = _form(arguments)
    parse_volume_filter(arguments.filter)
    recording = open_recording([Path(name) for name in arguments.files])
    if form == "screen":
        return _screen(recording, arguments)
    from csitrace.report.replayed import print_recording

    return print_recording(recording.title, recording.events, recording.notes, arguments.filter, form=form)


def _form(arguments: argparse.Namespace) -> str:
    """What to show. Raises `UsageError` where that cannot be."""
    on_terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if arguments.print and arguments.output == "screen":
        raise UsageError("--print and -o screen exclude each other: say one of them")
    chosen: str = arguments.output or ("screen" if on_terminal and not arguments.print else "lines")
    if chosen == "screen" and not on_terminal:
        raise UsageError("-o screen needs a terminal on stdin, stdout and stderr: use --print or -o json")
    return chosen


def _screen(recording: "Recording", arguments: argparse.Namespace) -> int:
    """The screen on a recording."""
    raise UsageError("there is no screen for recordings yet: use --print")
