"""Container images without a registry: busybox from the host, packed as an OCI image layout."""

import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.cluster.harness.errors import UnavailableError
from tools import oci

BUSYBOX = "csitrace.test/busybox:1"
"""A shell and the usual small programs. Pods use it with ``imagePullPolicy: Never``."""

PAUSE = "csitrace.test/pause:1"
"""What holds a pod's namespaces; kubelet never asks for it by this name, containerd does."""


def write_archive(path: Path) -> None:
    """Write both images to ``path`` as one tar that ``ctr images import`` reads."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        layer = Path(scratch) / "layer.tar"
        layer.write_bytes(_root_file_system())
        commands = ((BUSYBOX, ["sh"]), (PAUSE, ["sleep", "2147483647"]))
        oci.write_archive(
            path,
            [oci.Image(name, [layer], {"Env": ["PATH=/bin"], "Cmd": command}) for name, command in commands],
        )


def _root_file_system() -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise UnavailableError("no `busybox` on PATH; install the Debian package busybox-static")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for directory in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "usr", "lib", "lib64"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            archive.addfile(entry)
        oci.add_file(archive, "bin/busybox", Path(busybox).read_bytes(), mode=0o755)
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        oci.add_file(
            archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
        )
        oci.add_file(archive, "etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    return packed.getvalue()
