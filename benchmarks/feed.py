"""The feed: batches beside one event per message, and the payload as JSON text beside google.protobuf.Struct.

    python -m benchmarks.feed [--events N] [--rounds N]

A publisher in a process of its own, a reader here, a unix socket between them; rounds of the contenders alternate. "wire" is
messages alone, made beforehand and not looked into; "whole" is from bodies in the publisher to observations in the reader.
Absolute figures are this machine's; read the ratios, which are of medians.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from google.protobuf import json_format, struct_pb2

from csitrace.feed import feed_pb2 as pb
from csitrace.feed import publisher as publisher_module
from csitrace.feed.conversion import FeedEvent, Origin, encode, encode_origin
from csitrace.feed.feed_pb2_grpc import TraceFeedStub
from csitrace.feed.publisher import Publisher
from csitrace.feed.reader import FeedReader
from csitrace.feed.server import listen
from csitrace.model.events import RpcFinished, RpcStarted

ORIGIN = Origin("run-1", "bench.example.com", "node-1", 1)
REQUEST: dict[str, Any] = {
    "volume_id": "vol-0123456789abcdef",
    "staging_target_path": "/var/lib/kubelet/plugins/kubernetes.io/csi/bench.example.com/0123456789abcdef/globalmount",
    "volume_capability": {"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}},
    "volume_context": {
        "storage.kubernetes.io/csiProvisionerIdentity": "1700000000000-8081-bench.example.com"
    },
}


def body(number: int) -> RpcStarted | RpcFinished:
    """Calls come in and are answered in turn."""
    driver, instance, node = ORIGIN.driver, ORIGIN.instance, ORIGIN.node_name
    call_id, method, volume_id = number // 2, "/csi.v1.Node/NodeStageVolume", f"vol-{number // 2 % 1000:016}"
    if number % 2:
        return RpcFinished(
            driver=driver,
            instance=instance,
            node_name=node,
            call_id=call_id,
            method=method,
            code=0,
            duration_ns=1_900_000,
            volume_id=volume_id,
        )
    return RpcStarted(
        driver=driver,
        instance=instance,
        node_name=node,
        call_id=call_id,
        method=method,
        volume_id=volume_id,
        request=REQUEST,
    )


class WireOnly(Publisher):
    """Serves batches made beforehand."""

    def __init__(self, events: int, batch_events: int) -> None:
        super().__init__(ORIGIN.driver, ORIGIN.node_name, ORIGIN.instance)
        encoded = [encode(FeedEvent(number + 1, number, body(number)), ORIGIN) for number in range(events)]
        self._batches = [
            pb.Batch(
                kind=pb.Batch.STREAM,
                events=encoded[at : at + batch_events],
                through_sequence=at + batch_events,
            )
            for at in range(0, events, batch_events)
        ]
        self._batches[0].origin.CopyFrom(encode_origin(ORIGIN))

    async def subscribe(
        self, _request: pb.SubscribeRequest, write: Callable[[pb.Batch], Awaitable[None]]
    ) -> None:
        for batch in self._batches:
            await write(batch)


async def serve(address: str, contender: str, events: int, batch_events: int) -> None:
    """The publisher's process, until its standard input ends."""
    publisher_module.BATCH_EVENTS = batch_events
    if contender == "wire":
        publisher: Publisher = WireOnly(events, batch_events)
    else:
        publisher = Publisher(ORIGIN.driver, ORIGIN.node_name, ORIGIN.instance, ring_size=events, linger_s=0)
        for number in range(events):
            publisher.publish(body(number), number)
    server = grpc.aio.server()
    publisher.add_to(server)
    listen(server, address)
    await server.start()
    print("serving", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    publisher.close()
    await server.stop(0)


async def read(address: str, contender: str, events: int) -> float:
    """Events a second from the subscription to the last event."""
    resume = pb.SubscribeRequest.Resume(instance=ORIGIN.instance, after_sequence=0)
    reader, seen = FeedReader(), 0
    async with grpc.aio.insecure_channel(f"unix:{address}") as channel:
        await channel.channel_ready()
        began = time.perf_counter()
        async for batch in TraceFeedStub(channel).Subscribe(pb.SubscribeRequest(resume=resume)):
            seen += len(batch.events) if contender == "wire" else len(reader.read(batch))
            if seen >= events:
                break
        return events / (time.perf_counter() - began)


def one_round(contender: str, events: int, batch_events: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        address = f"{directory}/feed.sock"
        arguments = [address, contender, str(events), str(batch_events)]
        publisher = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.feed", "--serve", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with publisher:
            assert publisher.stdout is not None
            publisher.stdout.readline()
            return asyncio.run(read(address, contender, events))


def payloads(rounds: int) -> tuple[float, float]:
    """Microseconds to write a payload into bytes and to read it back: as JSON text, as Struct."""

    def as_json() -> None:
        text = json.dumps(REQUEST)
        json.loads(
            pb.RpcStarted.FromString(pb.RpcStarted(request_json=text).SerializeToString()).request_json
        )

    def as_struct() -> None:
        payload = struct_pb2.Struct()
        payload.update(REQUEST)
        json_format.MessageToDict(struct_pb2.Struct.FromString(payload.SerializeToString()))

    def timed(once: Callable[[], None]) -> float:
        began = time.perf_counter()
        for _ in range(1000):
            once()
        return (time.perf_counter() - began) * 1000

    pairs = [(timed(as_json), timed(as_struct)) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the trace feed.")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--serve", nargs=4, metavar=("ADDRESS", "CONTENDER", "EVENTS", "BATCH"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.serve:
        address, contender, events, batch_events = arguments.serve
        asyncio.run(serve(address, contender, int(events), int(batch_events)))
        return
    print(
        f"{'feed':8}{'batches of 100':>18}{'one a message':>18}{'ratio':>8}   events/s, {arguments.events} events"
    )
    for contender in ("wire", "whole"):
        rates: dict[int, list[float]] = {100: [], 1: []}
        for _ in range(arguments.rounds):
            for batch_events, measured in rates.items():
                measured.append(one_round(contender, arguments.events, batch_events))
        batched, single = statistics.median(rates[100]), statistics.median(rates[1])
        print(f"{contender:8}{batched:>18,.0f}{single:>18,.0f}{batched / single:>8.1f}")
    text, struct = payloads(arguments.rounds)
    print(f"\n{'payload':8}{'JSON text':>18}{'Struct':>18}{'ratio':>8}   us to write and read one request")
    print(f"{'':8}{text:>18.1f}{struct:>18.1f}{struct / text:>8.1f}")


if __name__ == "__main__":
    main()
