"""The command line: what it understands, what it loads, and how it ends."""

import os
import subprocess
import sys

import pytest

from csitrace.cli import main
from csitrace.cli.demo import SCENARIO_NAMES
from csitrace.cli.program import build_parser
from csitrace.cli.resources import resource_filter, watch_filter
from csitrace.errors import UsageError
from csitrace.lab.scenarios import SCENARIOS

HEAVY = ("textual", "grpc", "kubernetes", "aiohttp", "psutil", "pyfuse3", "trio")


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "csitrace", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )


def test_help_loads_nothing_heavy() -> None:
    """`csitrace --help` answers at once: neither textual, grpc nor kubernetes is imported for it."""
    program = (
        "import sys, csitrace.cli\n"
        "try: csitrace.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "watch" in done.stdout
    assert done.stdout.strip().endswith("LOADED []")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ""),
        (["pvc/data"], '(claim="data")'),
        (["pvc", "data", "pod/web-0"], '(claim="data" or pod="web-0")'),
        (["PVC", "data", "logs"], '(claim="data" or claim="logs")'),
        (["pvc,po", "data"], '(claim="data" or pod="data")'),
        (["pods.v1"], "(pod:*)"),
        (["persistentvolumes/pv1", "node/n1", "sc/fast"], '(pv="pv1" or node="n1" or class="fast")'),
    ],
)
def test_objects_are_named_as_kubectl_names_them(words: list[str], expected: str) -> None:
    """`kind/name` and `kind name`, with kubectl's short and plural names."""
    assert resource_filter(words) == expected


def test_a_namespace_leaves_out_the_volumes_of_others() -> None:
    """PVs are cluster-scoped: with -n, those of other namespaces' claims are heard of, and not shown."""
    assert watch_filter("", [], "stuck or slow") == "stuck or slow"
    assert watch_filter("shop", [], "") == 'ns="shop"'
    assert watch_filter("shop", ["pvc/data"], "a or b") == 'ns="shop" and (claim="data") and (a or b)'


@pytest.mark.parametrize("words", [["data"], ["deployment/x"], ["pvc", '"x" or *'], ["pvc/"], ["pvc,"]])
def test_what_names_no_volume_is_said_in_one_line(words: list[str]) -> None:
    """A wrong name says what is wrong and what can be said instead."""
    with pytest.raises(UsageError) as caught:
        resource_filter(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["watch", "--filter", "ns:"], 2, "needs a text after it"),
        (["watch", "deployment/x"], 2, "deployment/x"),
        (["watch", "--request-timeout", "soon"], 2, "soon"),
        (["demo", "--scenario", "nonsense"], 2, "stuck-attach"),
        (["watch", "--kubeconfig", "/nonexistent/config"], 2, "/nonexistent/config"),
        (["watch", "--namesp", "shop"], 2, "unrecognized arguments: --namesp"),
        (["watch", "-o", "xml"], 2, "(see csitrace watch --help)"),
        (["wtach"], 2, "'watch'"),
        (["explain", "deployment/x"], 2, "deployment/x"),
        (["wait", "pvc/x"], 2, "--for"),
        (["wait", "--for", "bound"], 2, "say what to wait for"),
        (["wait", "pvc/x", "--for", "ready"], 2, "phase=CREATED"),
        (["wait", "pvc/x", "--for", "bound", "--timeout", "soon"], 2, "soon"),
        (["assert", "x.csitrace"], 2, "say what is to hold"),
        (["assert", "no anomaly", "/"], 2, "files come first"),
        (["diff", "/nonexistent", "/nonexistent"], 2, "/nonexistent: No such file"),
        (["stats", "/nonexistent.csitrace"], 2, "/nonexistent.csitrace: No such file"),
        (["assert", "x.csitrace", "max(atach) < 1s"], 2, "character 5: no span 'atach'"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(
    arguments: list[str], code: int, said: str, tmp_path: object
) -> None:
    """What was tried, on what, and what to do, on stderr; never a traceback."""
    done = run(*arguments, KUBECONFIG=f"{tmp_path}/none", HOME=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_flags_stand_anywhere_among_the_words() -> None:
    """`pvc -n shop data` is kubectl's `-n shop pvc data`."""
    parsed = build_parser("csitrace").parse_args(["watch", "pvc", "-n", "shop", "data", "-oscreen", "pod/x"])
    assert (parsed.resources, parsed.namespace, parsed.output) == (["pvc", "data", "pod/x"], "shop", "screen")


def test_a_distance_from_the_end_is_no_flag() -> None:
    """`--at -30s` is understood as it is written in the help, with and without `=`."""
    parser = build_parser("csitrace")
    for words in (["--at", "-30s"], ["--at=-30s"]):
        assert parser.parse_args(["replay", "x.csitrace", *words]).at == "-30s"


def test_help_names_every_scenario_of_the_lab() -> None:
    """What `demo --help` offers is what the lab can play."""
    assert set(SCENARIO_NAMES) == set(SCENARIOS)


def test_as_a_kubectl_plugin_it_calls_itself_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started as kubectl-csitrace, usage says `kubectl csitrace`."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/kubectl-csitrace", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "usage: kubectl csitrace" in capsys.readouterr().out
