"""Random and mutated bytes at every importer: facts or notes come of them, or the one documented exception, and nothing else.

python -m tools.fuzz_imports [RUNS] [SEED]
"""

import io
import random
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from csitrace.sources.imports.forms import FORMS, form_of
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.history import Dump, Known
from csitrace.sources.imports.inputs import Input, in_utf8
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Spool

_POD = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"s","uid":"u","resourceVersion":"3"},"spec":{}}'
_HEADER = b"I0102 10:00:00.000001       1 connection.go:244] "
SEEDS: tuple[bytes, ...] = (
    b'{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":""},"items":[' + _POD + b"," + _POD + b"]}",
    b'{"kind":"PodList","items":[{"metadata":{"name":"p","uid":"u"}}],"apiVersion":"v1"}\n==== START logs for\n{\n==== END logs\n'
    + _POD,
    b"apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p\n    uid: u\n    managedFields:\n"
    b"    - fieldsV1:\n        f:a: {}\n      manager: m\n  spec: {a: &x [1], b: *x, <<: *x}\nkind: List\n---\nkind: Node\nmetadata: {name: n}\n",
    _HEADER + b"GRPC call: /csi.v1.Controller/CreateVolume\n" + _HEADER + b'GRPC request: {"name":"pvc-1"}\n'
    + _HEADER + b'GRPC response: {"volume":{"volume_id":"v"}}\n' + _HEADER + b"GRPC error: <nil>\n",
    _HEADER + b'"GRPC call" method="/csi.v1.Node/NodeStageVolume" request="{\\"volume_id\\":\\"v\\"}"\n'
    + _HEADER + b'"GRPC response" response="{}" err="rpc error: code = Internal desc = x"\n',
    _HEADER + b'Operation for "{volumeName:kubernetes.io/csi/d^h podName: nodeName:}" failed. Error: MountVolume.SetUp failed for '
    b'volume "p" : rpc error: code = Internal desc = x\n',
    b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":"create",'
    b'"objectRef":{"resource":"pods","name":"p"},"responseStatus":{"code":201},"requestReceivedTimestamp":'
    b'"2026-01-02T10:00:00.000000Z","stageTimestamp":"2026-01-02T10:00:00.1Z","responseObject":' + _POD + b"}\n",
    b'{"ts":1767348001000.5,"caller":"a/b.go:1","msg":"GRPC call","v":5,"method":"/csi.v1.Node/NodeStageVolume","request":'
    b'"{\\"volume_id\\":\\"v\\"}"}\n{"ts":1767348002000,"msg":"GRPC response","response":"{}","err":"rpc error: code = Internal desc = x"}\n',
    b"2026-01-02T10:00:01Z stderr P " + _HEADER + b"GRPC call: /csi.v1\n2026-01-02T10:00:01Z stderr F .Node/NodeStageVolume\n"
    b'{"log":"' + _HEADER + b'GRPC error: <nil>\\n","stream":"stderr","time":"2026-01-02T10:00:02Z"}\n',
    b"Jan 02 10:00:01 n1 kubelet[1]: " + _HEADER + b'"UnmountVolume.TearDown succeeded for volume \\"kubernetes.io/csi/d^h\\" pod '
    b'\\"u\\". InnerVolumeSpecName \\"p\\". " err=<\n\ta\n >\n' + _HEADER + b'"MountVolume.SetUp succeeded for volume \\"p\\" '
    b'(UniqueName: \\"kubernetes.io/csi/d^h\\")" pod="a/b"\n',
    b"apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: e, uid: u}\nregarding: {kind: Pod}\nseries: {count: 2, "
    b'lastObservedTime: "2026-01-02T10:00:01.000000Z"}\n',
    "apiVersion: v1\nkind: Node\nmetadata: {name: n, uid: u}\n".encode("utf-16"),
    b"100 1 0:50 / /var/lib/kubelet/pods/x/volumes/kubernetes.io~csi/p/mount rw shared:1 - fuse.x ref rw\n",
    b"LAST SEEN   TYPE   REASON   OBJECT   MESSAGE\n",
)  # fmt: skip
_TOKENS = (
    b'"', b"{", b"}", b"[", b"]", b"\\", b"\n", b"- ", b": ", b"---\n", b"&a ", b"*a ", b"!!binary ", b"!!python/x ", b"? ", b"null",
    b"9" * 40, b"1e999", b"\xff", b"\x00", b"items:\n", b'"items":[', b"fieldsV1:\n", b"GRPC error: ", b"| \n", b"2026-13-45T99:99:99Z",
    b"0o7", b"0x", b"1:2:3", b".inf", b"\xe2\x80\xa8", b"stderr P ", b"err=<\n\t", b'{"log":"', b"\xff\xfe", b"[" * 300, b"{" * 300, b'"a":' * 9,
)  # fmt: skip


def mutants(random_: random.Random) -> Iterator[bytes]:
    """Without end: noise, and seeds with parts changed, cut out, doubled or put together."""
    while True:
        if random_.random() < 0.1:
            yield random_.randbytes(random_.randrange(200))
            continue
        raw = bytearray(random_.choice(SEEDS))
        for _ in range(random_.randrange(1, 6)):
            at = random_.randrange(len(raw) + 1)
            match random_.randrange(5):
                case 0:
                    raw[at:at] = random_.choice(_TOKENS)
                case 1:
                    del raw[at : at + random_.randrange(20)]
                case 2:
                    raw[at : at + 1] = random_.randbytes(1)
                case 3:
                    raw[at:at] = raw[at : at + random_.randrange(80)]
                case _:
                    raw = raw[:at] + random_.choice(SEEDS)[at:]
        yield bytes(raw)


def source_of(raw: bytes) -> Input:
    """The bytes as a file of a node."""
    return in_utf8(Input("n1/mountinfo", "n1", 1_767_348_000_000_000_000, lambda: io.BytesIO(raw)), raw)


def random_hints(raw: bytes) -> Hints:
    """Zones that have two hours in one, far times: by the bytes, so that a failure can be repeated."""
    zones = (UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Kiritimati"))
    return Hints(
        zone=zones[len(raw) % 3], others_at=len(raw) % 2 * 10**18, taken_at=0 if len(raw) % 5 == 1 else None
    )


def judge(raw: bytes, name: str, spool: Spool) -> None:
    """One importer on one string of bytes, and what follows from its facts. Raises what it must not."""
    source = source_of(raw)
    segment, report = spool.segment(), Report("n1")
    account = FORMS[name].read(source, segment, report, random_hints(raw))
    known = Known()
    if account is not None:
        dump = Dump("n1", 1, [account.segment], account.lists, account.newest)
        assert all(told.at >= 0 for told in known.dump(dump))
    else:
        for told in segment:
            list(known.change(told))
    assert all("\n" not in line for line in report.lines())


def main(runs: int, seed: int) -> None:
    """`runs` strings, each at every importer, whatever it is taken for."""
    random_ = random.Random(seed)
    began = time.monotonic()
    spool = Spool()
    for count, raw in enumerate(islice(mutants(random_), runs), 1):
        assert form_of(source_of(raw).open().read()) in ("", *FORMS)
        for name in FORMS:
            try:
                judge(raw, name, spool)
            except BaseException:
                Path("fuzz-failure").write_bytes(raw)
                print(f"{name}: {raw!r}", file=sys.stderr)
                raise
        if count % 10_000 == 0:
            spool = Spool()
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            print(f"{count} in {time.monotonic() - began:.0f} s, {used} MiB at most", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
