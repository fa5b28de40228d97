"""The driver's own word on the steps that are one CSI call."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import Call, StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed import Attest
from csitrace.lifecycle.witnessed.words import moving
from csitrace.model.events import Stamp
from csitrace.model.rpc import code_name


def call_answered(method: str, inverse: str = "", *, target: bool = False) -> Attest:
    """The driver's word on a step that is one CSI call: answered OK, refused, or in flight; an `inverse` call undoes it."""

    def attest(ctx: Context) -> Testimony | None:
        methods = (method, inverse) if inverse else (method,)
        newest = ctx.last_call(*methods, target=target)
        if newest is None:
            return None
        if newest.method == inverse:
            if newest.code == 0:
                return Testimony(
                    StepStatus.PENDING, f"undone by {inverse}", newest.finished_at, Stamp.ORIGIN, newest.seq
                )
            newest = ctx.last_call(method, target=target)
        if newest is not None and newest.in_flight and (silence := ctx.feed_silence(newest)):
            text = f"{newest.method} was in flight when its driver was last heard: {silence}"
            return Testimony(StepStatus.UNKNOWN, text, newest.started_at, Stamp.ORIGIN, newest.seq)
        return _call_testimony(newest, len(ctx.calls(method, target=target))) if newest is not None else None

    return attest


def _call_testimony(call: Call, calls: int) -> Testimony:
    times = f", try {call.attempt}" if call.attempt > 1 else ""
    if call.in_flight:
        return moving(f"{call.method} in flight{times}", call.seq, call.started_at)
    if call.abandoned:
        return Testimony(
            StepStatus.FAILED,
            f"{call.method} was under way when the driver stopped",
            call.finished_at,
            Stamp.OBSERVED,
            call.seq,
        )
    seq = call.finished_seq or call.seq
    if call.code == 0:
        return Testimony(
            StepStatus.DONE,
            f"{call.method} OK{f' ({calls} calls)' if calls > 1 else ''}",
            call.finished_at,
            Stamp.ORIGIN,
            seq,
        )
    text = f"{code_name(call.code or 0)}: {call.message}{times}"
    return Testimony(StepStatus.FAILED, text, call.finished_at, Stamp.ORIGIN, seq)
