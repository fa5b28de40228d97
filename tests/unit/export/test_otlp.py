import json
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from csitrace.cli.collector import send
from csitrace.errors import UnreachableError
from csitrace.export.otlp import otlp, requests
from tests.unit.export.told import of, stuck, whole_life

Request = trace_service_pb2.ExportTraceServiceRequest


def _attributes(span: trace_pb2.Span) -> dict[str, object]:
    told = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        told[pair.key] = getattr(pair.value, kind)
    return told


def test_opentelemetry_decodes_the_same_from_json_and_protobuf() -> None:
    """OpenTelemetry's own messages read both encodings, and there is no difference between them."""
    told = of(whole_life())
    lines = list(otlp(told))
    for line, request in zip(lines, requests(told), strict=True):
        document = json.loads(line)
        for spans in document["resourceSpans"][0]["scopeSpans"]:
            for span in spans["spans"]:  # OTLP's JSON has ids in hex, protobuf's own mapping in base64
                for name in ("traceId", "spanId", "parentSpanId"):
                    span[name] = _base64(span[name])
        assert json_format.ParseDict(document, Request()) == Request.FromString(request)


def _base64(digits: str) -> str:
    from base64 import b64encode

    return b64encode(bytes.fromhex(digits)).decode()


def test_a_volume_is_one_trace_with_semantic_attributes() -> None:
    """A root, spans below it, calls below those, each with the names by which OpenTelemetry knows them."""
    (request,) = requests(of(stuck()))
    spans = Request.FromString(request).resource_spans[0].scope_spans[0].spans
    by_id = {span.span_id: span for span in spans}
    assert len({span.trace_id for span in spans}) == 1
    assert len(by_id) == len(spans)
    assert all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)
    call = next(span for span in spans if span.name == "ControllerPublishVolume")
    span = by_id[call.parent_span_id]
    root = by_id[span.parent_span_id]
    assert (span.name, root.name, root.parent_span_id) == ("attach", "volume shop/data", b"")
    told = _attributes(call)
    assert told["rpc.system"] == "grpc"
    assert told["rpc.service"] == "csi.v1.Controller"
    assert told["rpc.method"] == "ControllerPublishVolume"
    assert told["rpc.grpc.status_code"] == 8
    assert told["k8s.namespace.name"] == "shop"
    assert told["k8s.persistentvolumeclaim.name"] == "data"
    assert call.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert _attributes(span)["csitrace.open"] is True
    assert any(event.name == "kubernetes event" for event in root.events)


def test_exporting_twice_names_the_same_spans() -> None:
    """Ids depend on the volume alone, so that a collector recognises what it has."""
    assert list(requests(of(stuck()))) == list(requests(of(stuck())))


@contextmanager
def _http_collector(status: int = 200) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    taken: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, self.headers["Content-Type"], body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join()


def test_a_collector_takes_it_over_http() -> None:
    """One POST per volume to /v1/traces."""
    with _http_collector() as (address, taken):
        assert send(requests(of(whole_life())), address) == 1
    ((path, kind, body),) = taken
    assert (path, kind) == ("/v1/traces", "application/x-protobuf")
    assert Request.FromString(body).resource_spans


def test_a_refusal_over_http_is_told_in_one_line() -> None:
    """Which address, and what it said."""
    with _http_collector(400) as (address, _), pytest.raises(UnreachableError, match="HTTP 400"):
        send(requests(of(whole_life())), address)


def test_a_collector_takes_it_over_grpc() -> None:
    """OpenTelemetry's own service stub, behind a real gRPC server."""
    taken: list[trace_service_pb2.ExportTraceServiceRequest] = []

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
            taken.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert send(requests(of(whole_life())), f"grpc://127.0.0.1:{port}") == 1
    finally:
        server.stop(None).wait()
    assert taken[0].resource_spans[0].scope_spans[0].spans[0].name == "volume shop/data"


def test_where_no_collector_is_that_is_told() -> None:
    """A closed port, over HTTP and gRPC."""
    with _http_collector() as (address, _):
        pass
    for scheme in ("http", "grpc"):
        with pytest.raises(UnreachableError):
            send(requests(of(whole_life())), address.replace("http", scheme))
