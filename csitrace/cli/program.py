"""The table of commands, the parser made from it, and how the program ends."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from csitrace import __version__
from csitrace.cli import (
    agent,
    assert_,
    demo,
    diff,
    explain,
    export,
    get,
    import_,
    rbac,
    record,
    replay,
    stats,
    wait,
    watch,
)
from csitrace.cli.completion import command as completion
from csitrace.cli.parser import Parser
from csitrace.cli.showing import INTERRUPTED
from csitrace.errors import CsitraceError, FilterError


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `configure` adds its arguments, `run` does it and returns the exit code.

    A command with commands of its own configures those, and sets the `run` of each with `set_defaults`.
    """

    name: str
    help: str
    description: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int] | None


COMMANDS: tuple[Command, ...] = (
    Command("watch", "follow the volumes of a cluster, live", watch.DESCRIPTION, watch.configure, watch.run),
    Command("get", "list the volumes of a cluster, once", get.DESCRIPTION, get.configure, get.run),
    Command(
        "explain",
        "why volumes stand where they stand, one page each",
        explain.DESCRIPTION,
        explain.configure,
        explain.run,
    ),
    Command("wait", "until volumes are where they are to be", wait.DESCRIPTION, wait.configure, wait.run),
    Command(
        "record", "keep what a cluster tells in a file", record.DESCRIPTION, record.configure, record.run
    ),
    Command("replay", "show recordings again", replay.DESCRIPTION, replay.configure, replay.run),
    Command(
        "import",
        "make a trace of dumps, logs and audit logs",
        import_.DESCRIPTION,
        import_.configure,
        import_.run,
    ),
    Command(
        "export",
        "write a recording in the formats of other tools",
        export.DESCRIPTION,
        export.configure,
        export.run,
    ),
    Command("stats", "how long spans and steps took", stats.DESCRIPTION, stats.configure, stats.run),
    Command("diff", "what differs between two recordings", diff.DESCRIPTION, diff.configure, diff.run),
    Command(
        "assert",
        "whether what has to hold of a recording does",
        assert_.DESCRIPTION,
        assert_.configure,
        assert_.run,
    ),
    Command(
        "agent", "tell what a node's kernel and drivers tell", agent.DESCRIPTION, agent.configure, agent.run
    ),
    Command(
        "demo",
        "volumes on their way on this machine, without a cluster",
        demo.DESCRIPTION,
        demo.configure,
        demo.run,
    ),
    Command("rbac", "print the role that lets somebody watch", rbac.DESCRIPTION, rbac.configure, rbac.run),
    Command(
        "completion", "completion for a shell", completion.DESCRIPTION, completion.configure, completion.run
    ),
)

COMPLETE = "__complete"
"""The word before what is to be completed; cobra's programs have it under the same name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the answer is the exit code. What is wrong is said in one line on stderr, never as a traceback."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == [COMPLETE]:
        from csitrace.cli.completion.program import answer

        answer(arguments[1:])
    prog = program_name(sys.argv[0])
    parsed = build_parser(prog).parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except CsitraceError as error:
        where = f"filter, character {error.position + 1}: " if isinstance(error, FilterError) else ""
        print(f"{prog}: {where}{error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our lines went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def program_name(path: str) -> str:
    """How the user called us, for usage texts, by the path of the program: kubectl runs `kubectl-csitrace`."""
    return "kubectl csitrace" if Path(path).name.startswith("kubectl-") else "csitrace"


def build_parser(prog: str) -> Parser:
    """The whole command line. `prog`: how the user called the program."""
    parser = Parser(
        prog=prog, description="strace for Kubernetes volumes: where each one stands, who holds it, and why"
    )
    parser.add_argument("--version", action="version", version=f"csitrace {__version__}")

    def print_help(_: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(run=print_help)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        added = commands.add_parser(command.name, help=command.help, description=command.description)
        command.configure(added)
        if command.run is not None:
            added.set_defaults(run=command.run)
    return parser
