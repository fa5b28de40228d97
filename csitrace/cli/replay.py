"""`csitrace replay`: what was recorded, on the screen of `watch`."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import add_filter_flag
from csitrace.cli.showing import require_terminal, run_screen
from csitrace.errors import UsageError

if TYPE_CHECKING:
    from csitrace.sources.recording import Recording

DESCRIPTION = "Show a recording on the screen of `watch`: play it, pause, step, go to a time, a mark or the next change of stage."

SLOWEST, FASTEST = 0.1, 1000.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a recording; several are shown as one"
    )
    parser.add_argument(
        "--at",
        default="",
        metavar="MOMENT",
        help="begin there, and hold: 14:02:11 (UTC), +1m30s from the beginning, -30s from the end, or a mark's name",
    )
    parser.add_argument(
        "--speed",
        default="",
        metavar="X",
        help="play so many times as fast, 0.1 to 1000 (default: 1); with --at: from there on",
    )
    add_filter_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.lifecycle.filter import parse_volume_filter
    from csitrace.sources.recording import open_recording

    speed = parse_speed(arguments.speed)
    parse_volume_filter(arguments.filter)  # a wrong one is told before anything is opened
    require_terminal("run it in one")
    recording = open_recording(arguments.files)
    return asyncio.run(show_recording(recording, arguments.at, speed, arguments.filter))


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
