"""`csitrace completion`: the script that makes a shell, or kubectl, complete."""

import argparse
import sys
from importlib import resources

DESCRIPTION = (
    "Print a completion script. bash: source <(csitrace completion bash); zsh and fish likewise. kubectl: the executable "
    "kubectl_complete-csitrace, to be put on PATH where the installation has not done so."
)

SCRIPTS = {
    "bash": "csitrace.bash",
    "zsh": "csitrace.zsh",
    "fish": "csitrace.fish",
    "kubectl": "kubectl_complete-csitrace.sh",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("shell", choices=tuple(SCRIPTS), metavar="SHELL", help="bash, zsh, fish or kubectl")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    sys.stdout.write(resources.files(__package__).joinpath(SCRIPTS[arguments.shell]).read_text())
    return 0
