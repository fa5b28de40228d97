"""Tab, pressed in real shells; and names looked up at an API server, or not at all."""

import argparse
import asyncio
import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from csitrace.cli.completion.lookup import names
from csitrace.cli.program import build_parser
from tests.integration.kubernetes.api_server import ApiServer

PROGRAMS = Path(sys.executable).parent
PATIENCE_S = 60.0

STEERING = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\([A-Z]|\][^\x07]*\x07|[=>])")
"""What steers a terminal, and is no text."""

Write = Callable[[str], None]
Until = Callable[[str], None]

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
PREPARED = {
    "bash": "source <(csitrace completion bash); PS1='rea''dy> '",
    "zsh": "autoload -Uz compinit && compinit -u -D; source <(csitrace completion zsh); PS1='rea''dy> '",
    "fish": "csitrace completion fish | source; set -g fish_autosuggestion_enabled 0; "
    "function fish_prompt; echo -n 'rea''dy> '; end",
}
"""Completion switched on, and a prompt that tells when the shell reads keys again."""


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes(shell: str, tmp_path: Path) -> None:
    """In bash, zsh and fish, tab completes commands, flags, and the value of a flag behind `=`; then the line can be run."""
    with terminal(SHELLS[shell], tmp_path) as (write, until):
        write(f"{PREPARED[shell]}\r")
        until("ready> ")
        for typed, completed in (
            ("csitrace comp\t", "completion"),
            ("zs\t", "zsh"),
            ("\x15csitrace dem\t", "demo"),  # ctrl+u: the line anew
            ("--scen\t", "--scenario"),
            ("hung-fuse --output=js\t", "json"),
            ("--he\t", "--help"),
            ("\r", "usage: csitrace demo"),
        ):
            write(typed)
            until(completed)


async def test_names_come_from_the_cluster(tmp_path: Path) -> None:
    """Claims of the namespace given, or of all; where only the context's may be read, of that one."""
    async with ApiServer() as server:
        server.put("persistentvolumeclaims", "data", "shop")
        server.put("persistentvolumeclaims", "data", "bank")
        server.put("persistentvolumeclaims", "ledger", "bank")
        given = flags("--kubeconfig", str(kubeconfig(tmp_path, server.url)))
        assert await looked_up("claim", given) == [("data", "bank, shop"), ("ledger", "bank")]
        given.namespace = "shop"
        assert await looked_up("claim", given) == [("data", "shop")]
        given.namespace = ""
        server.refusals["persistentvolumeclaims"] = 403
        assert await looked_up("claim", given) == [("data", "shop")]
        assert await looked_up("context", given) == [("one", "")]


async def test_refused_namespaces_leave_the_contexts(tmp_path: Path) -> None:
    """Who may not list namespaces is offered the one of the context."""
    async with ApiServer() as server:
        server.refusals["namespaces"] = 403
        given = flags("--kubeconfig", str(kubeconfig(tmp_path, server.url)))
        assert await looked_up("namespace", given) == [("shop", "of the context")]


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "nonsense"])
def test_what_fails_offers_nothing_and_says_nothing(server: str, tmp_path: Path) -> None:
    """Without a server, tab is quiet: no candidates, no error text, exit code 0."""
    path = kubeconfig(tmp_path, server)
    done = subprocess.run(
        [sys.executable, "-m", "csitrace", "__complete", "watch", "--kubeconfig", str(path), "pvc/"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, ":4\n", "")


async def test_a_server_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """The completer ends although the server never answers."""
    async with ApiServer() as server:
        server.hung.clear()
        given = flags("--kubeconfig", str(kubeconfig(tmp_path, server.url)))
        assert await looked_up("pod", given, patience=1.0) == []


async def looked_up(
    sort: str, given: argparse.Namespace, patience: float = PATIENCE_S
) -> list[tuple[str, str]]:
    """Looked up in a thread: the server runs in this one."""
    return await asyncio.to_thread(names, sort, given, patience)


def flags(*words: str) -> argparse.Namespace:
    return build_parser("csitrace").parse_args(["watch", *words])


def kubeconfig(directory: Path, server: str) -> Path:
    path = directory / "config"
    config = {
        "clusters": [{"name": "one", "cluster": {"server": server}}],
        "users": [],
        "contexts": [{"name": "one", "context": {"cluster": "one", "namespace": "shop"}}],
        "current-context": "one",
    }
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def terminal(argv: list[str], home: Path) -> Iterator[tuple[Write, Until]]:
    """A program on a terminal of its own: (write to it, wait until it has written something)."""
    environment = {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "xterm",
        "COLUMNS": "200",
        "LANG": "C.UTF-8",
        "KUBECONFIG": str(home / "none"),
    }
    ours, theirs = pty.openpty()
    program = subprocess.Popen(  # shells ask for a controlling terminal
        argv,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=home,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    written = ""

    def write(text: str) -> None:
        os.write(ours, text.encode())

    def until(text: str) -> None:
        """Everything up to it is forgotten."""
        nonlocal written
        deadline = time.monotonic() + PATIENCE_S
        while text not in written:
            readable, _, _ = select.select([ours], [], [], max(0, deadline - time.monotonic()))
            assert readable, f"never written: {text!r}; but: {written!r}"
            written = STEERING.sub("", written + os.read(ours, 1 << 16).decode(errors="replace"))
        written = written.partition(text)[2]

    try:
        yield write, until
    finally:
        program.kill()
        program.wait()
        os.close(ours)
