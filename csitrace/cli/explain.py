"""`csitrace explain`: why volumes stand where they stand, on a cluster or from what was recorded."""

import argparse
import asyncio
from pathlib import Path

from csitrace.cli.flags import add_hearing_flags, add_output_flag
from csitrace.cli.hearing import hear
from csitrace.cli.resources import watch_filter
from csitrace.cli.showing import leave_on_interrupt, taking_in

DESCRIPTION = (
    "Explain volumes, one page each: the verdict, who holds it since when, every step with its time and where that is known "
    "from, the evidence, and what to run next. Without names: those that are not well, worst first. "
    "Exit code 1: one that is explained is stuck."
)

OUTPUTS = ("text", "json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    add_hearing_flags(parser)
    parser.add_argument(
        "--from",
        dest="recordings",
        action="append",
        default=[],
        metavar="PATH",
        help="not on a cluster, but from a trace, or a dump that can be imported; repeat it for several",
    )
    add_output_flag(parser, OUTPUTS, "default: text")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    if arguments.recordings:
        return _explain_recorded(arguments)
    return asyncio.run(_explain_heard(arguments))


def _explain_recorded(arguments: argparse.Namespace) -> int:
    from csitrace.report.explain import explain_recording
    from csitrace.sources.recording import open_recording

    wanted = watch_filter(arguments.namespace, arguments.resources, arguments.filter)
    recording = open_recording([Path(path) for path in arguments.recordings])
    return explain_recording(
        recording, wanted, named=bool(arguments.resources), form=arguments.output or "text"
    )


async def _explain_heard(arguments: argparse.Namespace) -> int:
    from csitrace.report.explain import explain_session

    heard = await hear(arguments)
    leave_on_interrupt()
    return await explain_session(
        heard.session,
        taking_in(heard.session, heard.sources),
        heard.wanted,
        named=bool(arguments.resources),
        form=arguments.output or "text",
    )
