"""The manifest: what a krew index says of the plugin.

Facts (krew's developer guide; what `kubectl krew install --manifest` checks): apiVersion and kind as below; the name is that of
the file; the version is semantic with a `v` before it; each platform has a selector of `os` and `arch`, an archive's `uri` and
`sha256`, and `bin`, the one executable that is linked into PATH.
"""

import re
from typing import Any

NAME = "csitrace"

_DESCRIPTION = """\
csitrace shows, live, where every CSI volume stands on its way to a container, who holds it now, since when and why, from what
the API server, the CSI driver and the node's kernel say.

  kubectl csitrace watch             # all volumes, worst first
  kubectl csitrace watch pod/web-0   # only what concerns this pod
  kubectl csitrace get -o wide       # the list, once
"""

_CAVEATS = """\
Needs {pythons} on PATH, and glibc 2.28 or later. `demo` needs csitrace installed with pip.
For completion of its arguments, once:
  kubectl csitrace completion kubectl > ~/.local/bin/kubectl_complete-csitrace
  chmod +x ~/.local/bin/kubectl_complete-csitrace
"""


def semantic(version: str) -> str:
    """A Python version (PEP 440) as a semantic one: `0.1.0.dev0` → `v0.1.0-dev.0`. Raises ValueError."""
    match = re.fullmatch(r"v?(\d+\.\d+\.\d+)(?:\.?-?(dev|a|b|rc|alpha|beta)\.?(\d+))?", version)
    if match is None:
        raise ValueError(f"{version!r} cannot be written as a semantic version")
    release, pre, number = match.groups()
    return f"v{release}-{pre}.{number}" if pre else f"v{release}"


def manifest(
    version: str, homepage: str, pythons: list[str], archives: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    """The manifest as values. `archives`: (URL, sha256) by architecture. Raises ValueError for what krew would refuse."""
    for architecture, (url, digest) in archives.items():
        if not re.fullmatch(r"https?://\S+\.tar\.gz", url):
            raise ValueError(f"{architecture}: {url!r} is no address of a .tar.gz")
        if not re.fullmatch(r"[a-f0-9]{64}", digest):
            raise ValueError(f"{architecture}: {digest!r} is no sha256 in hexadecimal")
    if not archives:
        raise ValueError("no archive: krew wants one platform at least")
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": NAME},
        "spec": {
            "version": semantic(version),
            "homepage": homepage,
            "shortDescription": "Watch where CSI volumes stand, and why",
            "description": _DESCRIPTION,
            "caveats": _CAVEATS.format(pythons=" or ".join(f"python{python}" for python in pythons)),
            "platforms": [
                {
                    "selector": {"matchLabels": {"os": "linux", "arch": architecture}},
                    "uri": url,
                    "sha256": digest,
                    "bin": "kubectl-csitrace",
                }
                for architecture, (url, digest) in sorted(archives.items())
            ],
        },
    }
