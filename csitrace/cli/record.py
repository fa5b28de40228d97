"""`csitrace record`: what a cluster's witnesses tell, kept in a file."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import add_hearing_flags
from csitrace.cli.hearing import hear
from csitrace.cli.recording import add_recording_flags, bounds, recorded
from csitrace.cli.showing import taking_in
from csitrace.model.sizes import format_size
from csitrace.model.times import format_duration

if TYPE_CHECKING:
    from csitrace.engine.recorder import Recorder
    from csitrace.engine.session import Session

DESCRIPTION = (
    "Record what a cluster, its drivers and its nodes tell, without a screen, until Ctrl-C or SIGTERM. "
    "`csitrace replay` shows it."
)

PROGRESS_SECONDS = 1.0
QUIET_PROGRESS_SECONDS = 60.0
"""How often there is a line of progress: on a terminal, where each overwrites the last; and elsewhere."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where to, e.g. x.csitrace")
    add_hearing_flags(parser)
    add_recording_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    return asyncio.run(_record(arguments))


async def _record(arguments: argparse.Namespace) -> int:
    limits = bounds(arguments)
    heard = await hear(arguments)
    take_in = taking_in(heard.session, heard.sources)
    async with recorded(
        heard.session, Path(arguments.output), limits, overwrite=arguments.overwrite
    ) as recorder:
        taking = asyncio.ensure_future(take_in())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, taking.cancel)
        telling = asyncio.ensure_future(_tell(heard.session, recorder))
        try:
            await asyncio.wait({taking})
        finally:
            taking.cancel()
            telling.cancel()
            await asyncio.wait({taking, telling})
            if sys.stderr.isatty():
                print(file=sys.stderr)
        if not taking.cancelled():
            taking.result()
    return 0


async def _tell(session: "Session", recorder: "Recorder") -> None:
    on_terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(PROGRESS_SECONDS if on_terminal else QUIET_PROGRESS_SECONDS)
        text = progress(session, recorder)
        line = f"\r\x1b[K{text}" if on_terminal else f"{text}\n"
        print(line, end="", file=sys.stderr, flush=True)


def progress(session: "Session", recorder: "Recorder") -> str:
    """`12,345 events  1.2 MB  4m12s  17 volumes  not heard: kernel n7`"""
    from csitrace.report.silence import silences

    status, state = recorder.status, session.history.tail
    volumes = sum(volume.gone_at is None for volume in state.volumes.values())
    parts = [
        f"{status.events:,} events",
        format_size(status.bytes),
        format_duration(session.clock() - status.since),
        f"{volumes:,} volume{'' if volumes == 1 else 's'}",
    ]
    if status.lost:
        parts.append(f"{status.lost:,} facts lost")
    if status.trouble:
        parts.append(f"NOT RECORDING: {status.trouble}")
    silent = [f"{each.witness} {each.scope}" for each in silences(state).values()]
    if silent:
        more = f" and {len(silent) - 2} more" if len(silent) > 2 else ""
        parts.append(f"not heard: {', '.join(silent[:2])}{more}")
    return "  ".join(parts)
