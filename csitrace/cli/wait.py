"""`csitrace wait`: until volumes are where they are to be, for scripts and CI."""

import argparse
import asyncio

from csitrace.cli.flags import add_hearing_flags
from csitrace.cli.hearing import hear
from csitrace.cli.resources import resource_terms, watch_filter
from csitrace.cli.showing import leave_on_interrupt, taking_in
from csitrace.errors import UsageError

DESCRIPTION = (
    "Wait until volumes have what is asked for, as kubectl wait does for objects: silent, then exit code 0, or 1 with a line for "
    "each volume that has it not: where it stands, why, and who holds it."
)

A_WEEK_S = 7 * 24 * 3600.0
"""What a negative time-out means to kubectl."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    add_hearing_flags(parser)
    parser.add_argument(
        "--for",
        dest="condition",
        required=True,
        metavar="WHAT",
        help="phase=PUBLISHED (or another CSI state), bound, attached, mounted, deleted, step=13",
    )
    parser.add_argument(
        "--timeout",
        default="30s",
        metavar="TIME",
        help="e.g. 60s or 2m; 0 looks once; less than 0: a week (default: 30s)",
    )
    parser.add_argument("--all", action="store_true", help="all volumes that you may see, or those of -n")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    return asyncio.run(_wait(arguments))


async def _wait(arguments: argparse.Namespace) -> int:
    from csitrace.lifecycle.condition import parse_condition
    from csitrace.lifecycle.filter import parse_volume_filter
    from csitrace.report.wait import Target, wait_session

    condition = parse_condition(arguments.condition)
    timeout = timeout_seconds(arguments.timeout)
    terms = resource_terms(arguments.resources)
    is_selection = arguments.all or bool(arguments.selector) or bool(arguments.filter)
    if not terms and not is_selection:
        raise UsageError("say what to wait for: pvc/x, pod/y …, or all of them with -l, --filter or --all")
    heard = await hear(arguments)
    leave_on_interrupt()
    targets = []
    for term in terms or [""]:
        given = f"({arguments.filter})" if arguments.filter and term else arguments.filter
        wanted = watch_filter(arguments.namespace, [], " and ".join(part for part in (term, given) if part))
        text = wanted or (f"-l {arguments.selector}" if arguments.selector else "--all")
        target = Target(
            text, parse_volume_filter(wanted), must_exist=is_selection, claimed=bool(arguments.selector)
        )
        targets.append(target)
    take_in = taking_in(heard.session, heard.sources)
    return await wait_session(heard.session, take_in, targets, condition, timeout)


def timeout_seconds(text: str) -> float:
    """kubectl's `--timeout`: a duration, or a number of seconds; below 0 a week. Raises UsageError."""
    from csitrace.lifecycle.filter import read_duration, read_number
    from csitrace.model.times import SECOND

    if text.startswith("-") and (read_number(text[1:]) or read_duration(text[1:])):
        return A_WEEK_S
    seconds, ns = read_number(text), read_duration(text)
    if seconds is not None:
        return seconds
    if ns is not None:
        return ns / SECOND
    raise UsageError(f"--timeout {text!r} is no duration: give seconds, or e.g. 60s, 2m, 1m30s")
