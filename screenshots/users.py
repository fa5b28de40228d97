"""The pictures of `kubectl csitrace watch` under three users, from a real cluster with real RBAC: `make cluster-up`, then

    KUBECONFIG=… python screenshots/users.py

It makes the namespaces `shop` and `bank` with volumes, one of which cannot be provisioned, and a user who may read everything,
one who may read `shop` alone, and one without any right; at the end all of it is deleted again.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from csitrace.cli.hearing import hear
from csitrace.cli.program import build_parser
from csitrace.cli.rbac import manifest
from csitrace.cli.showing import taking_in
from csitrace.errors import NotAllowedError
from csitrace.lifecycle.rowcache import RowCache
from csitrace.lifecycle.views import Severity
from csitrace.report.printer import has_begun
from csitrace.tui.app import CsitraceApp
from csitrace.tui.session_view import SessionView

sys.path.insert(0, str(Path(__file__).parent.parent))

from screenshots.render import DIRECTORY, SMALL, painted, to_png
from tests.cluster.harness import objects, storage

READER, TENANT, NOBODY = "reader", "tenant", "nobody"
REFUSED_CLASS = "csitrace-picture"
PATIENCE_S = 120.0


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    return subprocess.run(
        ["kubectl", *arguments], input=stdin, text=True, check=True, stdout=subprocess.PIPE
    ).stdout


def apply(namespace: str, *things: dict[str, Any]) -> None:
    bundle = {"apiVersion": "v1", "kind": "List", "items": list(things)}
    kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(bundle))


def prepare() -> None:
    """Volumes in use in both namespaces, one that the driver refuses to make, and the rights of the users."""
    refused = {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": REFUSED_CLASS},
        "provisioner": storage.DRIVER_NAME, "parameters": {"nonsense": "yes"},
    }  # fmt: skip
    apply("default", refused)
    for namespace in ("shop", "bank"):
        kubectl("create", "namespace", namespace)
        kubectl("wait", "-n", namespace, "--for=create", "serviceaccount/default")
        script = "while :; do date > /data/now; sleep 1; done"
        pod = objects.pod("web", objects.LOCAL, script, claims=("data",))
        apply(namespace, objects.claim("data", storage.WAITING_CLASS), pod)
    apply("shop", objects.claim("ledger", REFUSED_CLASS))
    kubectl("apply", "-f", "-", stdin=manifest())
    kubectl("apply", "-f", "-", stdin=manifest("shop"))
    kubectl("create", "clusterrolebinding", "csitrace-picture", "--clusterrole=csitrace", f"--user={READER}")
    kubectl("create", "rolebinding", "-n", "shop", "csitrace-picture", "--role=csitrace", f"--user={TENANT}")
    for namespace in ("shop", "bank"):
        kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/web", f"--timeout={PATIENCE_S:g}s")


def clean() -> None:
    kubectl("delete", "namespace", "shop", "bank", "--ignore-not-found")
    kubectl("delete", "storageclass", REFUSED_CLASS, "--ignore-not-found")
    kubectl("delete", "clusterrolebinding", "csitrace-picture", "--ignore-not-found")
    kubectl("delete", "clusterrole", "csitrace", "--ignore-not-found")


async def picture(user: str, *flags: str) -> str:
    """The screen of `kubectl csitrace watch` under a user, when it knows of the stuck volume; or the line that it ends with."""
    arguments = build_parser("kubectl csitrace").parse_args(["watch", "--no-agents", "--as", user, *flags])
    heard = await hear(arguments)
    running = asyncio.ensure_future(taking_in(heard.session, heard.sources)())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not running.done() and not (has_begun(heard.session.state) and _is_stuck(heard.session)):
                await asyncio.wait({running}, timeout=0.2)
        if running.done():
            running.result()
    except NotAllowedError as error:
        said = f"kubectl csitrace: {error}\n$ echo $?\n{error.exit_code}"
        return typed(f"$ kubectl csitrace watch --as {user}\n{said}", user)
    finally:
        running.cancel()
        await asyncio.wait({running})
    app = CsitraceApp(SessionView(heard.session), None, heard.wanted)
    async with app.run_test(size=SMALL) as pilot:
        await painted(app, pilot)
        return app.export_screenshot(title=" ".join(("kubectl csitrace watch --as", user, *flags)))


def _is_stuck(session: Any) -> bool:
    rows = RowCache().rows(session.state, session.now)
    return any(row.severity is Severity.STUCK for row in rows)


def typed(text: str, user: str) -> str:
    """A terminal with these lines."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=SMALL[0], file=nowhere)
        console.print(Text(text))
        return console.export_svg(title=f"kubectl csitrace watch --as {user}")


async def draw_all() -> None:
    for user, flags in ((READER, ()), (TENANT, ("-n", "shop")), (NOBODY, ())):
        to_png(await picture(user, *flags), DIRECTORY / f"user-{user}.png")
        print(f"screenshots/user-{user}.png", flush=True)


if __name__ == "__main__":
    os.environ.pop("NO_COLOR", None)
    try:
        prepare()
        asyncio.run(draw_all())
    finally:
        clean()
