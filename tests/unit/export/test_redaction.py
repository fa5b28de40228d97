import re
from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csitrace.export.formats import FORMATS
from csitrace.export.redaction import redact
from csitrace.lifecycle.chronicle import Chronicle, chronicle
from csitrace.model.events import RpcStarted, TraceEvent
from tests import story
from tests.fleet import fleet
from tests.unit.export.told import renamed, stuck, whole_life

KEY = b"a key"
NAMED = ("shop", "data", "web-0", "vol-1", "n1", "csi-0123456789")
"""What the story calls its namespace, claim, pod, handle, node and VolumeAttachment."""

names = st.lists(
    st.from_regex(r"[aeiou][aeiouy][a-z0-9]{1,3}[aeiou][aeiou](-[aeiou]{2}[0-9]{1,2})?", fullmatch=True),
    min_size=len(NAMED), max_size=len(NAMED), unique=True,
).filter(lambda found: not any(a != b and a in b for a in found for b in found))  # fmt: skip
"""Names that spell no word of csitrace's, Kubernetes' or a token's own."""


def _stories() -> list[list[TraceEvent]]:
    message = "cannot attach vol-1 of shop/data for web-0 to n1.corp.example.org (10.1.2.3): //n1/share/vol-1"
    return [stuck(message).events, whole_life().events]


def _meaning(told: Chronicle) -> list[object]:
    """What must not change: verdicts, steps with their times, spans and calls."""
    return [
        (
            life.row.severity, life.row.step_id, life.row.driver, life.row.storage_class,
            [(f.at, f.verdict.severity, f.verdict.step_id, f.verdict.holder.partition(" ")[0]) for f in life.findings],
            [(w.name, [(s.step_id, s.status, s.at, s.stamp, sorted(s.testimonies)) for s in w.steps]) for w in life.ways],
            [(s.name, s.started_at, s.ended_at, s.outcome, s.attempts) for s in life.spans],
            [(c.method, c.code, c.started_at) for c in life.calls],
            [(f.seq, f.kind) for f in life.facts],
        )
        for life in told.lives
    ]  # fmt: skip


def _everything(events: Sequence[TraceEvent]) -> bytes:
    """The output of every format, and the events themselves, as a trace holds them."""
    told = chronicle(events, "recording")
    made = [b"".join(form.render(told)) for form in FORMATS.values()]
    return b"\n".join([*made, *(msgspec.json.encode(event) for event in events)])


@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(names)
def test_no_name_survives_in_any_format(chosen: list[str]) -> None:
    """Whatever things are called, no byte of any output has it, and all that is made of the events means the same."""
    for events in _stories():
        told = story.Story(events=events)
        original = renamed(told, dict(zip(NAMED, chosen, strict=True)))
        redacted = list(redact(original, KEY))
        output = _everything(redacted).lower()
        left = [
            name for name in (*chosen, story.CLAIM_UID, story.POD_UID, "10.1.2.3") if name.encode() in output
        ]
        assert not left
        assert _meaning(chronicle(redacted)) == _meaning(chronicle(original))


def test_a_fleet_keeps_its_verdicts() -> None:
    """Several nodes, drivers and kinds of trouble: the same verdicts at the same steps, with and without names."""
    original = fleet().events

    def order(told: Chronicle) -> list[object]:
        return sorted(map(repr, _meaning(told)))

    assert order(chronicle(list(redact(original, KEY)))) == order(chronicle(original))


def test_one_name_is_one_token_in_every_file_with_the_same_key() -> None:
    """Two recordings of the same cluster match under one key, and not under another."""

    def handles(events: Sequence[TraceEvent], key: bytes) -> set[str]:
        return {
            e.body.volume_id
            for e in redact(events, key)
            if isinstance(e.body, RpcStarted) and e.body.volume_id
        }

    first, second = _stories()
    assert handles(first, KEY) == handles(second, KEY)
    assert handles(first, KEY) != handles(first, b"another key")


def test_words_of_drivers_and_of_kubernetes_stay() -> None:
    """The driver, the class, reasons and kubelet's paths are what a reader needs; they are nobody's names."""
    output = b"".join(_everything(list(redact(events, KEY))) for events in _stories())
    for word in (
        story.DRIVER,
        "fast",
        "FailedAttachVolume",
        "/var/lib/kubelet",
        "kubernetes.io/pvc-protection",
    ):
        assert word.encode() in output


def test_values_that_a_driver_or_user_made_up_are_tokens() -> None:
    """Contexts and parameters of requests may name backends and accounts: their keys stay, their values go."""
    told = story.Story()
    told.tell(
        RpcStarted(
            driver=story.DRIVER, instance="run-1", call_id=1, method="/csi.v1.Node/NodeStageVolume", volume_id="vol-1",
            request={"volume_context": {"server": "filer17", "readOnly": "true"}, "volume_id": "vol-1"},
        )
    )  # fmt: skip
    (event,) = redact(told.events, KEY)
    assert isinstance(event.body, RpcStarted)
    context = event.body.request["volume_context"]
    assert set(context) == {"server", "readOnly"}
    assert context["readOnly"] == "true"
    assert re.fullmatch(r"x[a-z0-9]{10}", context["server"])
    assert event.body.request["volume_id"] == event.body.volume_id
