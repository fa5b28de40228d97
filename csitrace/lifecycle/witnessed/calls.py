"""The driver's own word on the steps that are one CSI call."""

from collections.abc import Callable

from msgspec.structs import replace

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import Call, StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed import Attest
from csitrace.lifecycle.witnessed.words import STILL_RUNNING, moving
from csitrace.model.events import Stamp
from csitrace.model.rpc import RPC_BY_METHOD, code_name


def call_answered(
    method: str, inverse: str = "", *, target: bool = False, since: Callable[[Context], int] = lambda ctx: 0
) -> Attest:
    """The driver's word on a step that is one CSI call: answered OK, refused, or in flight; an `inverse` call undoes it.

    A refusal stands while the caller tries again: it is taken back by an answer, not by a question. Calls before the fact
    `since` do not count.
    """

    def attest(ctx: Context) -> Testimony | None:
        methods = (method, inverse) if inverse else (method,)
        newest = ctx.last_call(*methods, target=target)
        if newest is None or newest.seq < since(ctx):
            silence = ctx.driver_silence(method)
            return Testimony(StepStatus.UNKNOWN, silence) if silence else None
        if newest.method == inverse and newest.code == 0:
            return Testimony(
                StepStatus.PENDING, f"undone by {inverse}", newest.finished_at, Stamp.ORIGIN, newest.seq
            )
        if newest.method == inverse and newest.in_flight:  # the mount may be gone before the answer is there
            text = f"being undone by {inverse}"
            return Testimony(StepStatus.PENDING, text, newest.started_at, Stamp.ORIGIN, newest.seq)
        tries = [call for call in ctx.calls(method, target=target) if call.seq >= since(ctx)]
        return _testimony(ctx, tries) if tries else None

    return attest


def _testimony(ctx: Context, tries: list[Call]) -> Testimony:
    call, before = tries[-1], tries[-2] if len(tries) > 1 else None
    if not call.in_flight:
        return _answered(call, len(tries))
    if silence := ctx.driver_silence(call.method):
        text = f"{call.method} was in flight when its driver was last heard: {silence}"
        return Testimony(StepStatus.UNKNOWN, text, call.started_at, Stamp.ORIGIN, call.seq)
    if before is not None and before.code and RPC_BY_METHOD[call.method].is_final(before.code):
        text = f"{code_name(before.code)}: {before.message}; try {call.attempt} is in flight"
        return Testimony(StepStatus.FAILED, text, before.finished_at, Stamp.ORIGIN, call.seq)
    text = f"{call.method} in flight{_times(call)}"
    if before is None or not before.code:
        return moving(text, call.seq, call.started_at)
    told = moving(f"{text} (before: {code_name(before.code)})", call.seq, call.started_at)
    return replace(told, refused=True)


def _answered(call: Call, calls: int) -> Testimony:
    seq = call.finished_seq or call.seq
    if call.abandoned:
        text = f"{call.method} was under way when the driver stopped"
        return Testimony(StepStatus.FAILED, text, call.finished_at, Stamp.OBSERVED, call.seq)
    if call.code == 0:
        text = f"{call.method} OK{f' ({calls} calls)' if calls > 1 else ''}"
        return Testimony(StepStatus.DONE, text, call.finished_at, Stamp.ORIGIN, seq)
    text = f"{code_name(call.code or 0)}: {call.message}{_times(call)}"
    if RPC_BY_METHOD[call.method].is_final(call.code or 0):
        return Testimony(StepStatus.FAILED, text, call.finished_at, Stamp.ORIGIN, seq)
    text = f"{text}; {STILL_RUNNING}"
    return Testimony(StepStatus.MOVING, text, call.finished_at, Stamp.ORIGIN, seq, refused=True)


def _times(call: Call) -> str:
    return f", try {call.attempt}" if call.attempt > 1 else ""
