"""Made-up moments of a session: every kind of row, step and witness that the screens must be able to draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from csitrace.lifecycle.drivers import DriverView
from csitrace.lifecycle.facts import Fact, describe
from csitrace.lifecycle.history import History
from csitrace.lifecycle.nodes import NodeView
from csitrace.lifecycle.state import StepStatus, Volume
from csitrace.lifecycle.views import Evidence, Severity, Verdict, VolumeRow, WitnessView
from csitrace.model.events import TraceEvent, Witness
from csitrace.model.times import DAY, HOUR, MILLISECOND, MINUTE, SECOND, parse_rfc3339
from csitrace.tui.recording import RecordingControl, RecordingStatus
from csitrace.tui.timeline import Timeline
from csitrace.tui.watched import Detail, Overview, Playhead

NOW = parse_rfc3339("2026-03-04T14:02:11Z") or 0

_SIGNS = {
    "●": StepStatus.DONE,
    "◐": StepStatus.MOVING,
    "○": StepStatus.PENDING,
    "✗": StepStatus.FAILED,
    "–": StepStatus.NOT_APPLICABLE,
    "?": StepStatus.UNKNOWN,
}


def phases(signs: str) -> tuple[StepStatus, StepStatus, StepStatus, StepStatus]:
    first, second, third, fourth = (_SIGNS[sign] for sign in signs)
    return first, second, third, fourth


def row(name: str, severity: Severity = Severity.OK, finding: str = "", **changes: object) -> VolumeRow:
    """A row that is in use unless told otherwise."""
    namespace, _, claim = name.partition("/")
    fields: dict[str, object] = {
        "key": f"claim/{name}",
        "namespace": namespace,
        "name": claim,
        "display_name": name,
        "pv_name": f"pvc-{claim}",
        "driver": "ref.csitrace.dev",
        "storage_class": "fast",
        "phases": phases("●●●●"),
        "stage": "Mount",
        "step_id": "17",
        "step_title": "containers started",
        "since": NOW - 2 * HOUR,
        "node_names": ("n5",),
        "pods": ("train-7xk9",),
        "severity": severity,
        "finding": finding,
        "verdict": Verdict(severity, "17", finding),
    }
    return VolumeRow(**{**fields, **changes})  # type: ignore[arg-type]  # names and types are VolumeRow's own


REFUSED = Verdict(
    Severity.STUCK,
    "13",
    "Attach is refused: the volume is still attached to n1, whose kubelet stopped reporting 5m02s ago. "
    "Kubernetes detaches it by force at 14:03:09, in 58 s.",
    holder="external-attacher → driver",
    since=NOW - 4 * MINUTE - 12 * SECOND,
    evidence=(
        Evidence(
            Witness.DRIVER,
            "ControllerPublishVolume answered FAILED_PRECONDITION, 9 times",
            41,
            NOW - 9 * SECOND,
        ),
        Evidence(Witness.KUBERNETES, "VolumeAttachment csi-8d… names n1, attached for 9d", 12, NOW - 9 * DAY),
        Evidence(
            Witness.KUBERNETES,
            "node n1 is not Ready: kubelet stopped posting node status",
            30,
            NOW - 5 * MINUTE,
        ),
        Evidence(Witness.KERNEL, "nothing is mounted on n3"),
    ),
    command="kubectl taint node n1 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
)

ROWS: tuple[VolumeRow, ...] = (
    row("web/uploads", driver="nfs.csi.k8s.io", phases=phases("●––●"), since=NOW - 9 * DAY, node_names=("n2", "n4"),
        pods=("web-6d4f-a", "web-6d4f-b")),
    row("shop/orders-data", Severity.STUCK, "attach refused: volume in use by n1, which is NotReady",
        driver="ebs.csi.aws.com", phases=phases("●✗○○"), stage="Attach", step_id="13",
        step_title="ControllerPublishVolume", since=REFUSED.since, node_names=("n3",), pods=("orders-0",), verdict=REFUSED),
    row("ml/features", ops_per_second=3412.4, p99_ns=int(1.9 * MILLISECOND), errors=0),
    row("ml/train-cache", Severity.MOVING, "FUSE daemon has not answered INIT", phases=phases("●●◐○"), step_id="16a",
        step_title="NodeStageVolume", since=NOW - 38 * SECOND,
        verdict=Verdict(Severity.MOVING, "16a", "kubelet n5 waits for NodeStageVolume: the FUSE daemon has not answered INIT.")),
    row("dev/scratch", Severity.WAITING, "waits for a pod, as asked", phases=phases("○○○○"), stage="Schedule", step_id="2",
        step_title="scheduler sees the pod", since=NOW - 3 * MINUTE, node_names=(), pods=()),
    row("data/archive", Severity.UNKNOWN, "unknown since 40s: node n7 is silent", driver="s3.csi.aws.com",
        phases=phases("●–?●"), step_id="16b", step_title="NodePublishVolume", since=NOW - 40 * SECOND, node_names=("n7",),
        pods=("reader-2",)),
    row("monitoring/prometheus-db-prometheus-k8s-0", Severity.SLOW, "CreateVolume takes 3x longer than usual",
        phases=phases("◐○○○"), stage="Provision", step_id="6", step_title="CreateVolume", since=NOW - 95 * SECOND,
        node_names=("n11",), pods=("prometheus-k8s-0",)),
    row("dev/old", Severity.GONE, "", phases=phases("●○○○"), stage="Back", step_id="b13", step_title="PV gone",
        since=NOW - 10 * SECOND, node_names=(), pods=(), going=True),
)  # fmt: skip

WITNESSES = (
    WitnessView(Witness.KUBERNETES, 10, 10, NOW - 200 * MILLISECOND),
    WitnessView(Witness.DRIVER, 3, 3, NOW - 2 * SECOND),
    WitnessView(
        Witness.KERNEL,
        11,
        12,
        NOW - SECOND,
        ("n7: agent silent, connection refused",),
        (("n7", NOW - 40 * SECOND),),
    ),
)


@dataclass
class Synthetic:
    """A session made of values. Tests change its fields and call `changed()`, as a session does when facts came in."""

    rows: Sequence[VolumeRow] = ROWS
    witnesses: tuple[WitnessView, ...] = WITNESSES
    now: int = NOW
    mode: str = "LIVE"
    other_volumes: int = 0
    recorded: bool = False
    playing: bool = False
    speed: float = 1.0
    recording: RecordingStatus | None = None
    recorder: RecordingControl | None = None
    driver_rows: Sequence[DriverView] = ()
    node_rows: Sequence[NodeView] = ()
    asked: list[tuple[object, ...]] = field(default_factory=list)
    listeners: list[Callable[[], None]] = field(default_factory=list)
    facts: History = field(default_factory=History)

    def changed(self) -> None:
        for listener in self.listeners:
            listener()

    @property
    def playhead(self) -> Playhead:
        seq = 0 if self.mode == "LIVE" else -66
        return Playhead(self.mode, self.now, seq, 0, self.recorded, self.playing, self.speed)

    def overview(self) -> Overview:
        return Overview(
            "prod-eu-1",
            self.now,
            self.playhead,
            self.rows,
            self.witnesses,
            self.other_volumes,
            self.recording,
        )

    def detail(self, key: str, pod_uid: str = "") -> Detail | None:
        row = next((row for row in self.rows if row.key == key), None)
        return Detail(self.now, Volume(key), row) if row is not None else None

    def drivers(self) -> Sequence[DriverView]:
        return self.driver_rows

    def nodes(self) -> Sequence[NodeView]:
        return self.node_rows

    def relevant(self, key: str) -> Callable[[TraceEvent], bool]:
        return lambda event: True

    def describe(self, event: TraceEvent) -> Fact:
        return describe(event)

    def pause(self) -> None:
        self.mode = "PAUSED"
        self.asked.append(("pause",))

    def follow(self) -> None:
        self.mode = "LIVE"
        self.asked.append(("follow",))

    def play(self) -> None:
        self.asked.append(("play",))

    def advance(self) -> None:
        pass

    def change_speed(self, direction: int) -> None:
        self.asked.append(("change_speed", direction))

    def seek_time(self, at: int) -> None:
        self.asked.append(("seek_time", at))

    def go_to(self, text: str) -> bool:
        self.asked.append(("go_to", text))
        return False

    def go_to_begin(self) -> None:
        self.asked.append(("go_to_begin",))

    def jump_mark(self, direction: int) -> str | None:
        self.asked.append(("jump_mark", direction))
        return None

    def timeline(self, cells: int) -> Timeline:
        return Timeline(
            self.now - HOUR, self.now, self.now - MINUTE, tuple(cell % 5 for cell in range(cells))
        )

    def step(self, events: int) -> None:
        self.asked.append(("step", events))

    def jump_change(self, direction: int, key: str) -> bool:
        self.asked.append(("jump_change", direction, key))
        return True

    def mark(self, text: str) -> None:
        self.asked.append(("mark", text))

    def on_change(self, listener: Callable[[], None]) -> object:
        self.listeners.append(listener)
        return listener
