"""`csitrace watch`: the volumes of a cluster, live."""

import argparse
import asyncio
from pathlib import Path

from csitrace.cli.flags import SHOWN, add_hearing_flags, add_output_flag
from csitrace.cli.hearing import hear
from csitrace.cli.recording import add_recording_flags, bounds, leave_on_termination, recordings
from csitrace.cli.showing import show

DESCRIPTION = (
    "Follow the volumes of the current kubeconfig's cluster: a screen on a terminal, lines without one."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    add_hearing_flags(parser)
    add_output_flag(parser, SHOWN, "default: screen on a terminal, else lines")
    parser.add_argument("--record", default="", metavar="FILE", help="and keep what is heard in a file")
    add_recording_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    return asyncio.run(_watch(arguments))


async def _watch(arguments: argparse.Namespace) -> int:
    limits = bounds(arguments)
    heard = await hear(arguments)
    path = Path(arguments.record) if arguments.record else None
    if path is not None:
        leave_on_termination()
    async with recordings(heard.session, limits, path, overwrite=arguments.overwrite) as recorder:
        return await show(heard.session, heard.sources, arguments.output, heard.wanted, recorder=recorder)
