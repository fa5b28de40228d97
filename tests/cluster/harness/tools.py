"""Build the cluster's Go programs from pinned modules, once, into a cache outside the clone.

``tools/<module>/go.mod`` requires the program's module (and repeats its ``replace`` lines, which Go honours only in
the main module); ``go.sum`` pins every byte. That is what ``go install pkg@version`` cannot do for modules that
carry ``replace`` directives.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness.errors import ClusterError, UnavailableError

MODULES = Path(__file__).resolve().parent.parent / "tools"


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: the directory with its ``go.mod``, and where the linker writes its version.

    ``package`` is the Go import path of the command; ``module`` is the required module whose pinned version is
    stamped; in ``stamps``, ``{version}``, ``{major}`` and ``{minor}`` stand for the parts of that version.
    """

    name: str
    directory: str
    module: str
    package: str
    stamps: tuple[str, ...] = ()


# Clients and kubelet report v0.0.0, and feature negotiation goes wrong, unless both of these are stamped.
_KUBERNETES_STAMPS = tuple(
    f"{package}.{variable}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for variable in ("gitVersion={version}", "gitMajor={major}", "gitMinor={minor}")
)


def _kubernetes(command: str) -> Tool:
    return Tool(
        command, "kubernetes", "k8s.io/kubernetes", f"k8s.io/kubernetes/cmd/{command}", _KUBERNETES_STAMPS
    )


def _sidecar(command: str, repository: str, major: str) -> Tool:
    module = f"github.com/kubernetes-csi/{repository}/{major}"
    return Tool(command, repository, module, f"{module}/cmd/{command}", ("main.version={version}",))


_CSI_TEST = "github.com/kubernetes-csi/csi-test/v5"

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "csi-sanity", "csi-sanity", _CSI_TEST, f"{_CSI_TEST}/cmd/csi-sanity", ("main.version={version}",)
        ),
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
        _kubernetes("kubectl"),
        _kubernetes("kubelet"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-apiserver"),
        _sidecar("csi-provisioner", "external-provisioner", "v6"),
        _sidecar("csi-attacher", "external-attacher", "v4"),
        _sidecar("csi-resizer", "external-resizer", "v2"),
    )
}


def cache_root() -> Path:
    """Where built programs are kept: ``$XDG_CACHE_HOME/csitrace/tools`` (default ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csitrace" / "tools"


def build(name: str, announce: Callable[[str], None] = print) -> Path:
    """The path of program ``name``, built now if it is not in the cache.

    Safe to call from several processes: one builds, the others wait for it. Raises ClusterError with the compiler's
    last lines, or UnavailableError when Go is missing or too old.
    """
    tool = TOOLS.get(name)
    if tool is None:
        raise ClusterError(f"no program named {name}; there are: {', '.join(TOOLS)}")
    go = shutil.which("go")
    if go is None:
        raise UnavailableError(
            f"{name}: no `go` on PATH; install Go {_go_needed(tool)} or newer to build the cluster"
        )
    target = _cached(tool, _go_version(go, tool))
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if not target.exists():
            announce(f"building {name} {_pinned(tool)} (once; kept in {target.parent})")
            _compile(go, tool, target)
    return target


def build_all(
    names: Iterator[str] | tuple[str, ...], announce: Callable[[str], None] = print
) -> dict[str, Path]:
    """Build every program named; returns their paths by name."""
    return {name: build(name, announce) for name in names}


def _compile(go: str, tool: Tool, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{tool.name}-") as scratch:
        binary = Path(scratch) / tool.name
        argv = [go, "build", *_flags(tool), "-o", str(binary), tool.package]
        done = subprocess.run(
            argv,
            cwd=MODULES / tool.directory,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            tail = "\n".join(done.stderr.strip().splitlines()[-15:])
            raise ClusterError(f"building {tool.name} in {MODULES / tool.directory} failed:\n{tail}")
        binary.replace(target)


def _environment() -> dict[str, str]:
    # The pinned go.mod decides; a user's GOFLAGS (say, -mod=vendor) or workspace must not.
    return os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def _flags(tool: Tool) -> list[str]:
    version = _pinned(tool)
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamps = [f"-X {stamp.format(version=version, major=major, minor=minor)}" for stamp in tool.stamps]
    return ["-trimpath", "-buildvcs=false", "-mod=readonly", f"-ldflags={' '.join(['-s -w', *stamps])}"]


def _cached(tool: Tool, go_version: str) -> Path:
    digest = hashlib.sha256()
    for part in ("go.mod", "go.sum"):
        digest.update((MODULES / tool.directory / part).read_bytes())
    digest.update("\n".join([go_version, tool.package, *_flags(tool)]).encode())
    return cache_root() / digest.hexdigest()[:16] / tool.name


def _pinned(tool: Tool) -> str:
    match = re.search(rf"^(?:require)?\s+{re.escape(tool.module)} (v\S+)", _go_mod(tool), re.MULTILINE)
    if match is None:
        raise ClusterError(f"{MODULES / tool.directory / 'go.mod'} does not require {tool.module}")
    return match[1]


def _go_needed(tool: Tool) -> str:
    match = re.search(r"^go (\S+)$", _go_mod(tool), re.MULTILINE)
    if match is None:
        raise ClusterError(f"{MODULES / tool.directory / 'go.mod'} has no go line")
    return match[1]


def _go_mod(tool: Tool) -> str:
    return (MODULES / tool.directory / "go.mod").read_text()


def _go_version(go: str, tool: Tool) -> str:
    """The Go that will build ``tool``, such as ``go1.26.8``; it may be one that ``go`` fetched for this module.

    Raises UnavailableError when it is older than the module asks for.
    """
    directory = MODULES / tool.directory
    done = subprocess.run(
        [go, "env", "GOVERSION"],
        cwd=directory,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    version, needed = done.stdout.strip(), _go_needed(tool)
    if done.returncode != 0:
        raise UnavailableError(f"{tool.name} needs Go {needed} or newer: {done.stderr.strip()}")
    if _ordinal(version) < _ordinal(needed):
        raise UnavailableError(f"{tool.name} needs Go {needed} or newer; `go` on PATH is {version}")
    return version


def _ordinal(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
