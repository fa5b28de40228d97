"""Container images as OCI image layouts (image-spec 1.1, "Image Layout"), written without docker and without a registry."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `layers`: plain tars, lowest first; `config`: the specification's `config` object (Env, Entrypoint, …)."""

    name: str
    layers: Sequence[Path]
    config: Mapping[str, Any]


def architecture() -> str:
    """This machine's, as images name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def write_archive(path: Path, images: Sequence[Image]) -> None:
    """Write the images to `path` as one tar that `ctr images import`, podman and skopeo read. Equal input, equal bytes."""
    layers = {layer: _file_digest(layer) for image in images for layer in image.layers}
    blobs: dict[str, bytes] = {}
    manifests = []
    for image in images:
        config = _json(
            {
                "architecture": architecture(),
                "os": "linux",
                "config": image.config,
                "rootfs": {"type": "layers", "diff_ids": [layers[layer] for layer in image.layers]},
            }
        )
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, config),
                "layers": [
                    {"mediaType": _LAYER, "digest": layers[layer], "size": layer.stat().st_size}
                    for layer in image.layers
                ],
            }
        )
        blobs |= {_digest(blob): blob for blob in (config, manifest)}
        names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
        manifests.append(_descriptor(_MANIFEST, manifest) | {"annotations": names})
    with tarfile.open(path, "w") as archive:
        add_file(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        add_file(archive, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))
        for digest, blob in blobs.items():
            add_file(archive, _blob(digest), blob)
        for digest, layer in {digest: layer for layer, digest in layers.items()}.items():
            with layer.open("rb") as content:
                _add(archive, _blob(digest), content, layer.stat().st_size, 0o644)


def write_layer(path: Path, files: Mapping[str, Path | bytes], executable: Sequence[str] = ()) -> None:
    """Write a layer of `files`: path inside the image to a file here or its content. Owner root, time zero."""
    with tarfile.open(path, "w") as archive:
        for name, source in sorted(files.items()):
            content = source if isinstance(source, bytes) else source.read_bytes()
            add_file(archive, name, content, 0o755 if name in executable else 0o644)


def add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Add one file, owned by root, with time zero."""
    _add(archive, name, io.BytesIO(content), len(content), mode)


def _add(archive: tarfile.TarFile, name: str, content: BinaryIO, size: int, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    archive.addfile(entry, content)


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
