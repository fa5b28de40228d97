"""The health of an agent's sources on the wire and back. Rows of `conversion`'s table."""

from csitrace.feed import feed_pb2 as pb
from csitrace.model.events import ListCompleted, SourceDown, SourceGap, SourceUp, Witness

HealthBody = SourceUp | SourceDown | SourceGap | ListCompleted
"""What a source says of itself."""

_WITNESSES: dict[Witness, "pb.Witness.ValueType"] = {
    Witness.KUBERNETES: pb.WITNESS_KUBERNETES,
    Witness.DRIVER: pb.WITNESS_DRIVER,
    Witness.KERNEL: pb.WITNESS_KERNEL,
}
_FROM_WIRE = {wire: witness for witness, wire in _WITNESSES.items()}


def text(told: str) -> str:
    """Text as protobuf accepts it: bytes of a path that are no UTF-8 become `\\udcXX`, readable, rather than an error."""
    return told if told.isascii() else told.encode("utf-8", "backslashreplace").decode()


def _witness(wire: "pb.Witness.ValueType") -> Witness:
    """One that this version does not know is taken for a driver, as everything that a feed tells once was."""
    return _FROM_WIRE.get(wire, Witness.DRIVER)


def up_to_wire(body: SourceUp, _origin: object) -> pb.SourceUp:
    return pb.SourceUp(
        witness=_WITNESSES[body.witness],
        scope=text(body.scope),
        detail=text(body.detail),
        instance=text(body.instance),
        formerly=text(body.formerly),
    )


def up(wire: pb.SourceUp, _origin: object) -> SourceUp:
    return SourceUp(
        witness=_witness(wire.witness),
        scope=wire.scope,
        detail=wire.detail,
        instance=wire.instance,
        formerly=wire.formerly,
    )


def down_to_wire(body: SourceDown, _origin: object) -> pb.SourceDown:
    return pb.SourceDown(
        witness=_WITNESSES[body.witness], scope=text(body.scope), reason=text(body.reason), denied=body.denied
    )


def down(wire: pb.SourceDown, _origin: object) -> SourceDown:
    return SourceDown(
        witness=_witness(wire.witness), scope=wire.scope, reason=wire.reason, denied=wire.denied
    )


def gap_to_wire(body: SourceGap, _origin: object) -> pb.SourceGap:
    return pb.SourceGap(
        witness=_WITNESSES[body.witness], scope=text(body.scope), reason=text(body.reason), lost=body.lost
    )


def gap(wire: pb.SourceGap, _origin: object) -> SourceGap:
    lost = wire.lost if wire.HasField("lost") else None
    return SourceGap(witness=_witness(wire.witness), scope=wire.scope, reason=wire.reason, lost=lost)


def completed_to_wire(body: ListCompleted, _origin: object) -> pb.ListCompleted:
    return pb.ListCompleted(witness=_WITNESSES[body.witness], scope=text(body.scope), count=body.count)


def completed(wire: pb.ListCompleted, _origin: object) -> ListCompleted:
    return ListCompleted(witness=_witness(wire.witness), scope=wire.scope, count=wire.count)
