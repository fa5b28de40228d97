#!/usr/bin/env python3
"""Runs the csitrace beside this file with a Python that its libraries are for. Python 3.6 can read it."""

import os
import re
import shutil
import sys

LIBRARIES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib")
COMMON = ("abi3", "any")  # of every Python version


def versions():
    """The Python versions that there are libraries for, the newest first, as (3, 11)."""
    found = [re.match(r"cp3(\d+)$", name) for name in os.listdir(LIBRARIES)]
    return sorted(((3, int(match.group(1))) for match in found if match), reverse=True)


def main():
    here = sys.version_info[:2]
    known = versions()
    if here not in known:
        for version in known:
            other = shutil.which("python{}.{}".format(*version))
            if other:
                os.execv(other, [other, *sys.argv])
        names = ", ".join("{}.{}".format(*version) for version in known)
        sys.exit(f"kubectl csitrace: needs one of Python {names} on PATH; python3 is {here[0]}.{here[1]}")
    own = f"cp{here[0]}{here[1]}"
    sys.path[:0] = [os.path.join(LIBRARIES, name) for name in (own, *COMMON)]
    from csitrace.cli import main as csitrace

    sys.exit(csitrace())


main()
