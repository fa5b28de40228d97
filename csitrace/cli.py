"""The command line: arguments become sources, a session and a view. The only place that knows all three.

Nothing heavy is imported before a command needs it: `csitrace --help` loads neither textual, grpc nor kubernetes.
"""

import argparse
import asyncio
import functools
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace import __version__
from csitrace.errors import CsitraceError, FilterError, UsageError

if TYPE_CHECKING:
    from csitrace.engine.session import Session
    from csitrace.lab.sandbox import Sandbox
    from csitrace.sources import Source

DEFAULT_KUBELET_ROOT = "/var/lib/kubelet"

SCENARIO_NAMES = (
    "healthy",
    "wait-for-consumer",
    "stuck-attach",
    "failing-stage",
    "hung-fuse",
    "teardown",
    "mixed",
)
"""The demo's scenarios, named here too so that `--help` need not load the lab."""

INTERRUPTED = 130
"""128 + SIGINT, as shells count a program that Ctrl-C ended."""

INTERRUPT_SECONDS = 5.0
"""How long an interrupted program may take to close what it has open."""

TERMINATED = 143
"""128 + SIGTERM, likewise."""

EXIT_CODES = "exit codes: 0 done, 1 a finding or a failed wait, 2 wrong usage, 3 cannot reach or not allowed"

RESOURCE_FIELDS = {
    **dict.fromkeys(("pvc", "pvcs", "persistentvolumeclaim", "persistentvolumeclaims"), "claim"),
    **dict.fromkeys(("pv", "pvs", "persistentvolume", "persistentvolumes"), "pv"),
    **dict.fromkeys(("po", "pod", "pods"), "pod"),
    **dict.fromkeys(("no", "node", "nodes"), "node"),
    **dict.fromkeys(("sc", "storageclass", "storageclasses"), "class"),
}
"""What may be named on the command line, and the filter field it becomes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the answer is the exit code. What is wrong is said in one line on stderr, never as a traceback."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    prog = "kubectl csitrace" if Path(sys.argv[0]).name.startswith("kubectl-") else "csitrace"
    parsed = build_parser(prog).parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except CsitraceError as error:
        where = f"filter, character {error.position + 1}: " if isinstance(error, FilterError) else ""
        print(f"{prog}: {where}{error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our lines went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The whole command line. `prog`: how the user called the program, for usage texts."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="strace for Kubernetes volumes: where each one stands, who holds it, and why",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"csitrace {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    watch = commands.add_parser(
        "watch",
        help="follow the volumes of a cluster, live",
        description="Follow the volumes of the current kubeconfig's cluster: a screen on a terminal, lines without one.",
        epilog=EXIT_CODES,
    )
    watch.add_argument(
        "resources", nargs="*", metavar="KIND/NAME", help="only these: pvc/x, pod/y, pv/z, node/n, sc/c"
    )
    _add_kubectl_flags(watch)
    _add_witness_flags(watch)
    _add_view_flags(watch)
    watch.set_defaults(run=_watch)

    demo = commands.add_parser(
        "demo",
        help="volumes on their way on this machine, without a cluster",
        description="An embedded control plane, the reference driver, real gRPC and real FUSE mounts, and the screen on them.",
        epilog=EXIT_CODES,
    )
    demo.add_argument(
        "--scenario",
        default="mixed",
        metavar="NAME",
        help=f"what happens: {', '.join(SCENARIO_NAMES)} (default: mixed)",
    )
    _add_view_flags(demo)
    demo.set_defaults(run=_demo)
    return parser


def _add_kubectl_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("kubectl's flags, with kubectl's meaning")
    group.add_argument("--kubeconfig", default="", metavar="FILE")
    group.add_argument("--context", default="", metavar="NAME")
    group.add_argument("--cluster", default="", metavar="NAME")
    group.add_argument("--user", default="", metavar="NAME")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "-n", "--namespace", default="", metavar="NS", help="only this one (default: all that you may see)"
    )
    where.add_argument(
        "-A", "--all-namespaces", action="store_true", help="all of them, which is the default"
    )
    group.add_argument("-l", "--selector", default="", metavar="LABELS", help="only claims with these labels")
    group.add_argument("--as", dest="as_user", default="", metavar="USER", help="act as someone else")
    group.add_argument("--as-group", dest="as_groups", action="append", default=[], metavar="GROUP")
    group.add_argument(
        "--request-timeout", default="0", metavar="TIME", help="for one request, e.g. 5s (default: none)"
    )


def _add_witness_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the other witnesses")
    group.add_argument(
        "--feed",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a driver's feed, unix:///path or host:port (those below the kubelet root are found)",
    )
    group.add_argument(
        "--kubelet-root",
        default="",
        metavar="DIR",
        help=f"watch this machine's mounts below it (default: {DEFAULT_KUBELET_ROOT}, where there is one)",
    )
    group.add_argument(
        "--node-name",
        default="",
        metavar="NAME",
        help="which Kubernetes node this machine is (default: its host name)",
    )


def _add_view_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument(
        "--filter", default="", metavar="EXPR", help="e.g. 'driver:ebs and stuck>30s and not ns:dev'"
    )
    group.add_argument(
        "-o",
        "--output",
        choices=("screen", "lines", "json"),
        default="",
        help="default: screen on a terminal, else lines",
    )


def resource_filter(resources: Sequence[str]) -> str:
    """`pvc/x pod/y` as a filter; kubectl's `pvc x` is understood, too. Raises UsageError."""
    terms, words = [], list(resources)
    while words:
        kind, slash, name = words.pop(0).partition("/")
        if not slash:
            if kind.lower() not in RESOURCE_FIELDS or not words:
                raise UsageError(f"{kind!r} names no object: say e.g. pvc/{kind}")
            name = words.pop(0)
        field = RESOURCE_FIELDS.get(kind.lower())
        if field is None:
            raise UsageError(f"{kind}/{name}: volumes are not found by {kind}; use pvc, pod, pv, node or sc")
        terms.append(f'{field}="{name}"')
    return f"({' or '.join(terms)})" if terms else ""


def watch_filter(namespace: str, resources: Sequence[str], expression: str) -> str:
    """What is to be shown, as one filter: of one namespace (PVs come from all of them), of these objects, of this expression."""
    only = f'ns="{namespace}"' if namespace else ""
    given = f"({expression})" if expression and (only or resources) else expression
    return " and ".join(part for part in (only, resource_filter(resources), given) if part)


def _watch(arguments: argparse.Namespace) -> int:
    return asyncio.run(_run_watch(arguments))


async def _run_watch(arguments: argparse.Namespace) -> int:
    from csitrace.engine.session import Session
    from csitrace.lifecycle.filter import parse_volume_filter
    from csitrace.sources.kubernetes.config import ConnectionOptions, parse_request_timeout
    from csitrace.sources.kubernetes.source import KubernetesSource

    wanted = watch_filter(arguments.namespace, arguments.resources, arguments.filter)
    parse_volume_filter(arguments.filter)  # a wrong one is told before anything is opened
    options = ConnectionOptions(
        kubeconfig=arguments.kubeconfig,
        context=arguments.context,
        cluster=arguments.cluster,
        user=arguments.user,
        namespace=arguments.namespace,
        as_user=arguments.as_user,
        as_groups=tuple(arguments.as_groups),
        request_timeout_ns=parse_request_timeout(arguments.request_timeout),
    )
    cluster = await KubernetesSource.open(
        options,
        all_namespaces=not arguments.namespace,
        selectors={"PersistentVolumeClaim": arguments.selector} if arguments.selector else None,
        interactive=sys.stdin.isatty(),
    )
    sources: list[Source] = [
        cluster,
        *local_sources(arguments.kubelet_root, arguments.node_name, arguments.feed),
    ]
    session = Session(arguments.context or cluster.name)
    return await show(session, sources, arguments.output, wanted)


def local_sources(kubelet_root: str, node_name: str, feeds: Sequence[str]) -> "list[Source]":
    """What can be heard from this machine: its kernel and its drivers, where it is a node, and the feeds that were named."""
    from csitrace.sources.feed import DiscoveredFeeds, FeedSource

    sources: list[Source] = [FeedSource(address) for address in feeds]
    root = kubelet_root or (DEFAULT_KUBELET_ROOT if Path(DEFAULT_KUBELET_ROOT).is_dir() else "")
    if root:
        from csitrace.sources.kernel import KernelSource

        sources.append(DiscoveredFeeds(root, besides=feeds))
        sources.append(KernelSource(node_name=node_name or socket.gethostname().lower(), kubelet_root=root))
    return sources


async def show(session: "Session", sources: "Sequence[Source]", output: str, wanted: str) -> int:
    """Run the view that was asked for until the user leaves it or the sources end."""
    from csitrace.engine.merge import merge

    async def take_in() -> None:
        await session.run(merge(sources))

    on_terminal = all(
        stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    )  # the screen is drawn on stderr
    chosen = output or ("screen" if on_terminal else "lines")
    if chosen == "screen" and not on_terminal:
        raise UsageError("-o screen needs a terminal on stdin, stdout and stderr: use -o lines or -o json")
    if chosen == "screen":
        from csitrace.tui.app import CsitraceApp
        from csitrace.tui.session_view import SessionView

        app = CsitraceApp(SessionView(session), take_in, wanted)
        leave = functools.partial(app.exit, return_code=TERMINATED)  # the terminal is put back before we go
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
        await app.run_async()
        if app.failure is not None:
            raise app.failure
        return app.return_code or 0
    from csitrace.report.printer import print_changes

    _leave_on_interrupt()
    return await print_changes(session, take_in, wanted, as_json=chosen == "json")


def _leave_on_interrupt() -> None:
    """Ctrl-C ends the running task; what does not let go of a connection in time must not hold up who pressed it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def leave() -> None:
        loop.call_later(INTERRUPT_SECONDS, os._exit, INTERRUPTED)
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, leave)


def _demo(arguments: argparse.Namespace) -> int:
    from csitrace.lab.demo import SCENARIOS, enter
    from csitrace.lifecycle.filter import parse_volume_filter

    parse_volume_filter(arguments.filter)
    if arguments.scenario not in SCENARIOS:
        raise UsageError(f"--scenario {arguments.scenario!r} is none of {', '.join(SCENARIOS)}")
    sandbox = enter()  # forks, so before any thread or loop is there
    if sandbox.missing:
        print(f"csitrace: {sandbox.missing}", file=sys.stderr)
    return asyncio.run(_run_demo(sandbox, arguments))


async def _run_demo(sandbox: "Sandbox", arguments: argparse.Namespace) -> int:
    from csitrace.engine.session import Session
    from csitrace.lab.demo import running_lab
    from csitrace.sources.kubernetes.config import ConnectionOptions
    from csitrace.sources.kubernetes.source import KubernetesSource

    async with running_lab(sandbox, arguments.scenario) as lab:
        cluster = await KubernetesSource.open(ConnectionOptions(kubeconfig=lab.ready.kubeconfig))
        sources: list[Source] = [cluster, *local_sources(lab.ready.kubelet_root, lab.ready.node_name, [])]
        title = f"demo {arguments.scenario}" + (f" ({sandbox.missing})" if sandbox.missing else "")
        return await show(Session(title), sources, arguments.output, arguments.filter)


if __name__ == "__main__":
    sys.exit(main())
