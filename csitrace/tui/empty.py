"""What the list of volumes says when there are none: why there is nothing, and what would make something appear."""

from csitrace.engine.session import LIVE
from csitrace.lifecycle.views import WitnessView
from csitrace.model.events import Witness
from csitrace.tui.header import WITNESS_NAMES, folded
from csitrace.tui.lines import Line, Tone, line
from csitrace.tui.watched import Overview


def no_volumes_lines(overview: Overview) -> list[Line]:
    """The text in place of rows: nothing heard, or nothing there."""
    kubernetes = [view for view in overview.witnesses if view.witness is Witness.KUBERNETES]
    if any(view.total and not view.up for view in kubernetes):
        return [*_not_heard(overview.witnesses), *_problems(overview.witnesses)]
    if overview.loading:
        return [
            line((f"{overview.loading[0].upper()}{overview.loading[1:]}", Tone.STRONG)),
            line(),
            line(_MEANWHILE),
        ]
    if overview.playhead.mode != LIVE:
        return [line(("No CSI volumes at this moment.", Tone.STRONG)), line(), *map(line, _IN_THE_PAST)]
    lines = [
        line(("No CSI volumes yet.", Tone.STRONG)),
        line(),
        line(
            "One appears as soon as a claim (PersistentVolumeClaim) names a class whose provisioner is a CSI driver,"
        ),
        line("a pod names an inline CSI volume, or a driver that is listened to receives a call."),
    ]
    if overview.other_volumes:
        count = overview.other_volumes
        lines += [
            line(),
            line(f"{count:,} other volume{'s are' if count > 1 else ' is'} not served by CSI and left out."),
        ]
    return [*lines, *_problems(overview.witnesses)]


def _not_heard(witnesses: tuple[WitnessView, ...]) -> list[Line]:
    """What to try depends on why: a refusal is a matter of rights, all else one of reaching the server."""
    problems = [
        problem for view in witnesses if view.witness is Witness.KUBERNETES for problem in view.problems
    ]
    denied = [problem for problem in problems if ": may not " in problem]
    hints = _WITHOUT_RIGHTS if denied else _WITHOUT_ANSWER
    return [
        line(("Kubernetes is not heard: whether there are volumes is unknown.", Tone.STRONG)),
        line(),
        *(line(hint) for hint in hints),
    ]


_WITHOUT_RIGHTS = (
    "Check with:  kubectl auth can-i list persistentvolumeclaims --all-namespaces",
    "With rights in one namespace only, name it:  csitrace watch -n NAMESPACE",
)

_WITHOUT_ANSWER = (
    "It is tried again all the time. Check with:  kubectl cluster-info",
    "Which cluster is meant:  kubectl config current-context",
)


_MEANWHILE = "Volumes appear here as soon as the facts about them are read."

_IN_THE_PAST = (
    "}  goes to the next change of a volume's stage.",
    ")  goes to the end.",
    "@  goes to a time.",
)


def _problems(witnesses: tuple[WitnessView, ...]) -> list[Line]:
    """The scopes that are not heard, one line for each reason."""
    told = [(WITNESS_NAMES[view.witness], problem) for view in witnesses for problem in folded(view.problems)]
    if not told:
        return []
    heading = line(("Not heard:", Tone.UNKNOWN))
    return [line(), heading, *(line("  ", (name, Tone.DIM), "  ", problem) for name, problem in told)]
