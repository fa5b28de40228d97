"""`csitrace watch`: the volumes of a cluster, live."""

import argparse
import asyncio

from csitrace.cli.flags import SHOWN, add_hearing_flags, add_output_flag
from csitrace.cli.hearing import hear
from csitrace.cli.showing import show

DESCRIPTION = (
    "Follow the volumes of the current kubeconfig's cluster: a screen on a terminal, lines without one."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    add_hearing_flags(parser)
    add_output_flag(parser, SHOWN, "default: screen on a terminal, else lines")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    return asyncio.run(_watch(arguments))


async def _watch(arguments: argparse.Namespace) -> int:
    heard = await hear(arguments)
    return await show(heard.session, heard.sources, arguments.output, heard.wanted)
