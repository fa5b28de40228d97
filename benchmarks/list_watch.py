"""List and watch: csitrace's Kubernetes source beside the kubernetes package's typed client, on one fake server.

    python -m benchmarks.list_watch [--full]

The server is a process of its own on the loopback and sends bytes made beforehand, framed as a real API server frames them (each
watch event is one HTTP chunk). Each contender is a fresh process. Absolute times are this machine's; read the ratios. The
source is measured whole: bytes to observations, as the session gets them.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

PAGE = 500
CONTENDERS = ("typed client", "source, paged list", "source, streaming list")


def pod(number: int, version: int) -> dict[str, object]:
    """A pod of some 9 KB, most of which nobody needs: environment, managed fields, conditions."""
    name = f"web-{number:06}"
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": f"team-{number % 50}",
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
            "managedFields": [
                {
                    "manager": manager,
                    "operation": "Update",
                    "apiVersion": "v1",
                    "time": "2026-01-02T03:04:05Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {f"f:field-{index}": {".": {}, "f:value": {}} for index in range(60)},
                }
                for manager in ("kube-controller-manager", "kubelet")
            ],
        },
        "spec": {
            "nodeName": f"node-{number % 100}",
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": f"data-{name}"}}],
            "containers": [
                {
                    "name": "main",
                    "image": "web:1",
                    "env": [{"name": f"SETTING_{index}", "value": "x" * 40} for index in range(40)],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-02T03:04:06Z"}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
            "containerStatuses": [
                {
                    "name": "main",
                    "image": "web:1",
                    "imageID": "web@sha256:0",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-02T03:04:06Z"}},
                }
            ],
        },
    }


class Server:
    """Answers from bytes made beforehand: list pages, a streaming list, and one burst of watch events."""

    def __init__(self, objects: int, events: int) -> None:
        pods = [pod(number, number + 1) for number in range(objects)]
        self.pages: dict[str, bytes] = {}
        for start in range(0, objects, PAGE):
            following = str(start + PAGE) if start + PAGE < objects else ""
            metadata = {"resourceVersion": str(objects), **({"continue": following} if following else {})}
            body = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata}
            self.pages[str(start)] = json.dumps({**body, "items": pods[start : start + PAGE]}).encode()
        end = {"resourceVersion": str(objects), "annotations": {"k8s.io/initial-events-end": "true"}}
        bookmark = _event("BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": end})
        self.initial = b"".join(_event("ADDED", item) for item in pods) + bookmark
        changed = [pod(number % objects, objects + number + 1) for number in range(events)]
        self.burst = b"".join(_event("MODIFIED", item) for item in changed)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                url = urlsplit(request.split(b" ", 2)[1].decode())
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                if "watch" not in query:
                    page = self.pages[query.get("continue", "0")] if url.path.endswith("pods") else b"ok"
                    writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(page) + page)
                    continue
                writer.write(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
                writer.write((self.initial if "sendInitialEvents" in query else b"") + self.burst)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _event(change: str, obj: dict[str, object]) -> bytes:
    line = json.dumps({"type": change, "object": obj}).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


async def serve(objects: int, events: int) -> None:
    server = await asyncio.start_server(Server(objects, events).answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


Result = tuple[float, float]  # seconds to list, seconds to watch


async def run_source(url: str, events: int, *, streaming: bool) -> Result:
    """Through `KubernetesSource`, with the other way of listing switched off for the comparison."""
    from csitrace.model.events import ListCompleted, ObjectModified
    from csitrace.model.kinds import POD
    from csitrace.sources.kubernetes.access import Access
    from csitrace.sources.kubernetes.source import KubernetesSource

    source = KubernetesSource(Access(server=url, near=True), kinds=(POD,), streaming=streaming)
    began_at = listed_at = time.perf_counter()
    seen = 0
    observations = source.observe()
    kept = []
    async for observation in observations:
        kept.append(observation)
        if isinstance(observation.body, ListCompleted):
            listed_at = time.perf_counter()
        elif isinstance(observation.body, ObjectModified):
            seen += 1
            if seen == events:
                break
    done_at = time.perf_counter()
    await observations.aclose()
    return listed_at - began_at, done_at - listed_at


def run_typed(url: str, events: int) -> Result:
    """As the package's documentation shows it; building the client is not counted."""
    from kubernetes import client, watch

    configuration = client.Configuration()
    configuration.host = url
    api = client.CoreV1Api(client.ApiClient(configuration))
    began_at = time.perf_counter()
    kept, token = [], None
    while True:
        page = api.list_pod_for_all_namespaces(limit=PAGE, _continue=token)
        kept += page.items
        token = page.metadata._continue
        if not token:
            break
    listed_at = time.perf_counter()
    stream = watch.Watch().stream(
        api.list_pod_for_all_namespaces, resource_version=page.metadata.resource_version
    )
    for number, event in enumerate(stream, 1):
        kept.append(event["object"])
        if number == events:
            break
    return listed_at - began_at, time.perf_counter() - listed_at


RUN: dict[str, Callable[[str, int], Result]] = {
    "typed client": run_typed,
    "source, paged list": lambda url, events: asyncio.run(run_source(url, events, streaming=False)),
    "source, streaming list": lambda url, events: asyncio.run(run_source(url, events, streaming=True)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="50,000 objects and 20,000 events; minutes")
    parser.add_argument("--serve", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(*arguments.serve))
    elif arguments.run:
        contender, url, events = arguments.run
        listed, watched = RUN[contender](url, int(events))
        print(json.dumps([listed, watched, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
    else:
        compare(*((50_000, 20_000) if arguments.full else (4_000, 2_000)))


def compare(objects: int, events: int) -> None:
    this = [sys.executable, "-m", "benchmarks.list_watch"]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    serve_command = [*this, "--serve", str(objects), str(events)]
    with subprocess.Popen(serve_command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            results: dict[str, list[float]] = {}
            for contender in CONTENDERS:
                command = [*this, "--run", contender, url, str(events)]
                output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                results[contender] = json.loads(output.stdout)
        finally:
            server.terminate()
    print(f"{objects:,} pods of {len(json.dumps(pod(0, 1))) / 1000:.1f} KB, {events:,} watch events")
    print(f"{'':24}{'list':>10}{'times':>8}{'watch, 1/s':>13}{'times':>8}{'memory':>10}")
    typed = results["typed client"]
    for contender, (listed, watched, memory) in results.items():
        print(
            f"{contender:24}{listed:9.2f}s{typed[0] / listed:7.1f}x{events / watched:13,.0f}"
            f"{typed[1] / watched:7.1f}x{memory:8.0f}MB"
        )


if __name__ == "__main__":
    main()
