"""``python -m tests.cluster up|down|status|env|logs|kill|restart``: the real cluster from the command line."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cluster.harness import storage, tools
from tests.cluster.harness.cluster import Cluster, default_directory, reap_orphans
from tests.cluster.harness.errors import ClusterError


def main() -> int:
    """Run one command; a failure is one message on standard error and exit code 1."""
    arguments = _parser().parse_args()
    command: Callable[[Cluster, argparse.Namespace], int] = arguments.run
    try:
        return command(Cluster(arguments.dir or default_directory()), arguments)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`… | head`) has enough; the interpreter must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _up(cluster: Cluster, arguments: argparse.Namespace) -> int:
    reap_orphans()
    cluster.up(driver=arguments.driver)
    version = json.loads(cluster.kubectl()("get", "--raw=/version"))["gitVersion"]
    print(f"Kubernetes {version} is up in {cluster.directory}")
    print(f"  export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    print(f"  {cluster.directory / 'bin' / 'kubectl'} get nodes,storageclasses")
    if arguments.driver:
        print(f"  csitrace watch {shlex.join(cluster.hearing())}")
        print(f"storage classes: {storage.IMMEDIATE_CLASS}, {storage.WAITING_CLASS}")
    return 0


def _down(cluster: Cluster, _arguments: argparse.Namespace) -> int:
    reap_orphans()
    cluster.down()
    if cluster.processes.logs.exists():
        print(f"down; logs are kept in {cluster.processes.logs}")
    return 0


def _status(cluster: Cluster, _arguments: argparse.Namespace) -> int:
    names = cluster.processes.names()
    if not names:
        print(f"no cluster in {cluster.directory}")
        return 1
    for name in names:
        process = cluster.processes.process(name)
        state = f"running, pid {process.pid}" if process.alive else "ENDED"
        print(f"{name:24} {state:20} {cluster.processes.log(name)}")
    return 0 if all(cluster.processes.alive(name) for name in names) else 1


def _env(cluster: Cluster, _arguments: argparse.Namespace) -> int:
    if not cluster.is_up:
        raise ClusterError(f"no cluster in {cluster.directory}; start one: make cluster-up")
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    print(f"export PATH={shlex.quote(str(cluster.directory / 'bin'))}:$PATH")
    return 0


def _logs(cluster: Cluster, arguments: argparse.Namespace) -> int:
    for name in [arguments.part] if arguments.part else cluster.processes.names():
        print(f"==> {cluster.processes.log(name)} <==")
        print(cluster.processes.tail(name, arguments.lines))
    return 0


def _kill(cluster: Cluster, arguments: argparse.Namespace) -> int:
    cluster.kill(arguments.part)
    return 0


def _restart(cluster: Cluster, arguments: argparse.Namespace) -> int:
    cluster.restart(arguments.part)
    return 0


def _build(_cluster: Cluster, arguments: argparse.Namespace) -> int:
    for path in tools.build_all(tuple(arguments.tool or tools.TOOLS), _to_stderr).values():
        print(path)
    return 0


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--dir", type=Path, help=f"the cluster's directory (default {default_directory()})")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the cluster, or whatever of it does not run")
    up.add_argument("--no-driver", dest="driver", action="store_false", help="without driver and sidecars")
    up.set_defaults(run=_up)

    commands.add_parser("down", help="stop it and leave nothing but logs").set_defaults(run=_down)
    commands.add_parser("status", help="which parts run").set_defaults(run=_status)
    commands.add_parser("env", help="shell lines that point kubectl at it").set_defaults(run=_env)

    logs = commands.add_parser("logs", help="the end of each part's log")
    logs.add_argument("part", nargs="?")
    logs.add_argument("-n", "--lines", type=int, default=40)
    logs.set_defaults(run=_logs)

    for name, run, text in (
        ("kill", _kill, "kill -9 one part"),
        ("restart", _restart, "start one part again"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("part")
        command.set_defaults(run=run)

    build = commands.add_parser("build", help="build the Go programs into the cache and print their paths")
    build.add_argument("tool", nargs="*", metavar="TOOL", help=", ".join(tools.TOOLS))
    build.set_defaults(run=_build)
    return parser


if __name__ == "__main__":
    sys.exit(main())
