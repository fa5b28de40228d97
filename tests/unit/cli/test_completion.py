"""What is offered at the cursor, and that it is read off the parser."""

import argparse
import re
from collections.abc import Iterable

import pytest

from csitrace.cli.completion.candidates import Directive, Offer, complete
from csitrace.cli.completion.program import printed
from csitrace.cli.program import COMMANDS, build_parser

KNOWN = {
    "namespace": ["bank", "shop"],
    "context": ["prod"],
    "claim": ["data", "logs"],
    "pod": ["web-0"],
    "pv": ["pvc-1"],
}


def known(sort: str, given: argparse.Namespace) -> Iterable[tuple[str, str]]:
    """Names as of a cluster with little in it; in namespace `bank` there is nothing."""
    return [] if getattr(given, "namespace", "") == "bank" else [(name, "") for name in KNOWN.get(sort, ())]


def offered(*words: str) -> Offer:
    return complete(build_parser("csitrace"), words, known)


def texts(*words: str) -> list[str]:
    return [text for text, _ in offered(*words).candidates]


def test_commands_come_first_with_their_help() -> None:
    """Every command is offered, and nothing else."""
    assert offered("").candidates == tuple((command.name, command.help) for command in COMMANDS)


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_flag_of_the_parser_is_offered(command: str) -> None:
    """A flag that a command has is completed, with what its help says."""
    help_text = _help(command)
    flags = offered(command, "--").candidates
    assert flags
    assert {flag for flag, _ in flags} == set(
        re.findall(r"^  +(?:-\w, |-\w \S+, )?(--[a-z-]+)", help_text, re.MULTILINE)
    )
    assert all(text for _, text in flags)


def _help(command: str) -> str:
    parser = build_parser("csitrace")
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return str(actions[0].choices[command].format_help())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["watch", "-n", ""], ["bank", "shop"]),
        (["watch", "-n", "s"], ["shop"]),
        (["watch", "--namespace=s"], ["shop"]),
        (["watch", "--context", ""], ["prod"]),
        (["watch", "-o", "w"], ["wide"]),
        (["get", "-o", ""], ["table", "wide", "json", "yaml"]),
        (["watch", "p"], ["pvc/", "pod/", "pv/"]),
        (["watch", "pvc/"], ["pvc/data", "pvc/logs"]),
        (["watch", "pvc/d"], ["pvc/data"]),
        (["watch", "PVC", "data", "l"], ["logs"]),
        (["watch", "pvc,po"], ["pvc,pod"]),
        (["watch", "pvc,pod", ""], ["data", "logs", "web-0"]),
        (["watch", "-n", "bank", "pvc/"], []),
        (["watch", "-nbank", "pvc/"], []),
        (["watch", "-A", "pvc/l"], ["pvc/logs"]),
        (["watch", "pod/x", "--", "pvc/d"], ["pvc/data"]),
        (["watch", "deployment/"], []),
        (["completion", "z"], ["zsh"]),
        (["nonsense", ""], [command.name for command in COMMANDS]),
        (["watch", "--no-such-flag=x"], []),
    ],
)
def test_what_is_offered(words: list[str], expected: list[str]) -> None:
    """Flag values, kinds and names, for the namespace that was given, in kubectl's spellings."""
    assert texts(*words) == expected


def test_a_flag_is_offered_once_unless_it_may_be_repeated() -> None:
    """`-n shop` leaves out --namespace, also under its other name; --feed may come again."""
    flags = texts("watch", "-n", "shop", "--feed", "x", "--")
    assert "--namespace" not in flags
    assert "--feed" in flags


def test_directives() -> None:
    """After a kind more of the word follows; a directory, or a file, is the shell's to complete; else no file names."""
    assert offered("watch", "p").directive == Directive.NO_SPACE | Directive.NO_FILES
    assert offered("watch", "pvc/d").directive == Directive.NO_FILES
    assert offered("watch", "--kubelet-root", "").directive == Directive.DIRECTORIES
    assert offered("watch", "--kubeconfig", "").directive == Directive.DEFAULT


def test_the_protocol_is_cobras() -> None:
    """A candidate a line, a tab before its description, and the directive last."""
    assert printed(Offer((("data", "in shop"), ("logs", "")))) == "data\tin shop\nlogs\n:4\n"
