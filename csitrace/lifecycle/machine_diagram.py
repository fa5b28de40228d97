"""The CSI state machine as a picture, drawn from its table."""

from csitrace.lifecycle.machine import TRANSITIONS, Phase


def mermaid() -> str:
    """The transitions as a Mermaid state diagram; repeated (idempotent) calls are left out."""
    lines = ["stateDiagram-v2", "    [*] --> CREATED: CreateVolume"]
    for (before, method), after in TRANSITIONS.items():
        if before is after or before is Phase.ABSENT:
            continue
        target = "[*]" if after is Phase.ABSENT else after
        lines.append(f"    {before} --> {target}: {method}")
    return "\n".join(lines)
