"""A session shown as it was asked for, until the user leaves or the sources end."""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from csitrace.errors import UsageError

if TYPE_CHECKING:
    from csitrace.engine.session import Session
    from csitrace.sources import Source
    from csitrace.tui.app import CsitraceApp
    from csitrace.tui.recording import RecordingControl

INTERRUPTED = 130
"""128 + SIGINT, as shells count a program that Ctrl-C ended."""

INTERRUPT_SECONDS = 5.0
"""How long an interrupted program may take to close what it has open."""

TERMINATED = 143
"""128 + SIGTERM, likewise."""


def taking_in(session: "Session", sources: "Sequence[Source]") -> Callable[[], Awaitable[None]]:
    """What takes in all that the sources tell. It raises `NotAllowedError` when they are allowed to tell nothing at all."""
    from csitrace.engine.merge import merge
    from csitrace.report.refusal import unless_refused

    async def take_in() -> None:
        await session.run(unless_refused(session, merge(sources)))

    return take_in


async def show(
    session: "Session",
    sources: "Sequence[Source]",
    output: str,
    wanted: str,
    hint: str = "",
    recorder: "RecordingControl | None" = None,
) -> int:
    """Run the view that was asked for until the user leaves it or the sources end. `hint`: what the screen says to look at;
    `recorder`: what key `r` starts and stops."""
    take_in = taking_in(session, sources)
    chosen = output or ("screen" if has_terminal() else "lines")
    if chosen == "screen":
        require_terminal("use -o lines or -o json")
        from csitrace.tui.app import CsitraceApp
        from csitrace.tui.session_view import SessionView

        return await run_screen(CsitraceApp(SessionView(session, recorder), take_in, wanted, hint))
    from csitrace.report.printer import print_changes

    leave_on_interrupt()
    return await print_changes(session, take_in, wanted, form=chosen)


def has_terminal() -> bool:
    """Whether a screen can be shown. It is drawn on stderr."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def require_terminal(instead: str) -> None:
    """Raises UsageError where no screen can be shown; `instead`: what to do then."""
    if not has_terminal():
        raise UsageError(f"a screen needs a terminal on stdin, stdout and stderr: {instead}")


async def run_screen(app: "CsitraceApp") -> int:
    """Show the screen until the user leaves it; the answer is the exit code. Raises what ended it against their wish."""
    leave = functools.partial(app.exit, return_code=TERMINATED)  # the terminal is put back before we go
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
    await app.run_async()
    if app.failure is not None:
        raise app.failure
    return app.return_code or 0


def leave_on_interrupt() -> None:
    """Ctrl-C ends the running task; what does not let go of a connection in time must not hold up who pressed it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def leave() -> None:
        loop.call_later(INTERRUPT_SECONDS, os._exit, INTERRUPTED)
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, leave)
