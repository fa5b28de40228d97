"""`csitrace get`: the volumes of a cluster, once."""

import argparse
import asyncio

from csitrace.cli.flags import add_hearing_flags, add_output_flag
from csitrace.cli.hearing import hear
from csitrace.cli.showing import leave_on_interrupt, taking_in

DESCRIPTION = "List the volumes of the current kubeconfig's cluster once, worst first. Exit code 1: one of them is stuck."

OUTPUTS = ("table", "wide", "json", "yaml")


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    add_hearing_flags(parser)
    add_output_flag(parser, OUTPUTS, "default: table")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    return asyncio.run(_get(arguments))


async def _get(arguments: argparse.Namespace) -> int:
    from csitrace.report.once import print_once

    heard = await hear(arguments)
    leave_on_interrupt()
    take_in = taking_in(heard.session, heard.sources)
    return await print_once(heard.session, take_in, heard.wanted, form=arguments.output or "table")
