"""Container images without a registry: busybox from the host, packed as an OCI image layout."""

import gzip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.cluster.harness.errors import UnavailableError

BUSYBOX = "csitrace.test/busybox:1"
"""A shell and the usual small programs. Pods use it with ``imagePullPolicy: Never``."""

PAUSE = "csitrace.test/pause:1"
"""What holds a pod's namespaces; kubelet never asks for it by this name, containerd does."""

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_archive(path: Path) -> None:
    """Write both images to ``path`` as one tar that ``ctr images import`` reads."""
    layer = _root_file_system()
    blobs = [gzip.compress(layer, compresslevel=1, mtime=0)]
    manifests = []
    for name, command in ((BUSYBOX, ["sh"]), (PAUSE, ["sleep", "2147483647"])):
        config = _json(
            {
                "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
                "os": "linux",
                "config": {"Env": ["PATH=/bin"], "Cmd": command},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        )
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, config),
                "layers": [_descriptor(_LAYER, blobs[0])],
            }
        )
        blobs += [config, manifest]
        manifests.append(
            _descriptor(_MANIFEST, manifest) | {"annotations": {"io.containerd.image.name": name}}
        )
    with tarfile.open(path, "w") as archive:
        _add_file(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add_file(archive, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))
        for blob in blobs:
            _add_file(archive, "blobs/" + _digest(blob).replace(":", "/"), blob)


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
        _add_file(archive, "bin/busybox", Path(busybox).read_bytes(), mode=0o755)
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        _add_file(
            archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
        )
        _add_file(archive, "etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    return packed.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
