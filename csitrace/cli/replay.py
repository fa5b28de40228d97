"""`csitrace replay`: what was recorded, on the screen of `watch`, or as the changes it holds."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import SHOWN, add_filter_flag, add_output_flag
from csitrace.cli.showing import has_terminal, require_terminal, run_screen
from csitrace.errors import UsageError

if TYPE_CHECKING:
    from csitrace.sources.recording import Recording

DESCRIPTION = (
    "Show recordings again: on the screen of `watch`, to play, pause, step, go to a time, a mark or the next change of stage; or "
    "with --print as the changes they hold, at once, with their own times. Several recordings are shown as one."
)

SLOWEST, FASTEST = 0.1, 1000.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="recordings, or directories with them in"
    )
    parser.add_argument(
        "--at",
        default="",
        metavar="MOMENT",
        help="on the screen, begin and hold there: 14:02:11 (UTC), +1m30s from the beginning, -30s from the end, a mark's name",
    )
    parser.add_argument(
        "--speed",
        default="",
        metavar="X",
        help="on the screen, play so many times as fast, 0.1 to 1000 (default: 1); with --at: from there",
    )
    parser.add_argument("--print", action="store_true", help="print the changes as lines")
    add_filter_flag(parser)
    add_output_flag(parser, SHOWN, "default: screen on a terminal, else lines")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.lifecycle.filter import parse_volume_filter
    from csitrace.sources.recording import open_recording

    form = _form(arguments)
    speed = parse_speed(arguments.speed)
    parse_volume_filter(arguments.filter)  # a wrong one is told before anything is opened
    recording = open_recording(arguments.files)
    if form == "screen":
        return asyncio.run(show_recording(recording, arguments.at, speed, arguments.filter))
    from csitrace.report.replayed import print_recording

    return print_recording(recording.title, recording.events, recording.notes, arguments.filter, form=form)


def _form(arguments: argparse.Namespace) -> str:
    """What to show. Raises `UsageError` where that cannot be."""
    if arguments.print and arguments.output == "screen":
        raise UsageError("--print and -o screen exclude each other: say one of them")
    chosen: str = arguments.output or ("screen" if has_terminal() and not arguments.print else "lines")
    if chosen == "screen":
        require_terminal("use --print or -o json")
    elif arguments.at or arguments.speed:
        raise UsageError("--at and --speed are for the screen: without it everything is printed at once")
    return chosen


def parse_speed(text: str) -> float | None:
    """`10`, `x10` or `0.5`; None for no text. Raises UsageError."""
    if not text:
        return None
    try:
        speed = float(text.removeprefix("x"))
    except ValueError:
        speed = 0.0
    if not SLOWEST <= speed <= FASTEST:
        raise UsageError(f"--speed {text}: give a number from {SLOWEST:g} to {FASTEST:g}")
    return speed


async def show_recording(recording: "Recording", at: str, speed: float | None, wanted: str) -> int:
    """A recording on the screen until the user leaves it; the answer is the exit code.

    `at`: where to begin, "" at the beginning; `speed`: to play from there, None to hold there (from the beginning: to play as it
    was); `wanted`: the list's filter. Raises `TraceError` when it cannot be read to its end.
    """
    from csitrace.engine.replay import load, replay_session
    from csitrace.tui.app import CsitraceApp
    from csitrace.tui.session_view import SessionView

    session = replay_session(recording.title)
    session.set_speed(speed or 1.0)

    async def take_in() -> None:
        if at:
            session.go_to(at, play=speed is not None)
        else:
            session.play()
        await load(session, recording.events)
        for note in recording.notes[:3]:
            app.notify(note, title="Not all could be read", severity="warning", markup=False)

    app = CsitraceApp(SessionView(session), take_in, wanted)
    return await run_screen(app)
