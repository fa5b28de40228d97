"""Credentials from a program: kubeconfig's `users[].user.exec`, as kubectl runs it.

Facts: Kubernetes documentation, "client-go credential plugins", and the API group `client.authentication.k8s.io`.
The plugin is told what it needs in the variable `KUBERNETES_EXEC_INFO` and prints one ExecCredential. When that expires is not
kept: the server says so with 401, and the plugin is run again.
"""

import asyncio
import base64
import os
import shutil
from typing import Any

import msgspec

from csitrace.errors import ConfigError

_UNATTENDED_TIMEOUT = (
    60.0  # seconds; kubectl waits for ever, but nobody could answer a plugin that asks behind a screen
)
_CLUSTER_FIELDS = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
)


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _Status


async def obtain(
    plugin: dict[str, Any], cluster: dict[str, Any], *, directory: str, interactive: bool
) -> dict[str, str]:
    """Run the plugin; its token or client certificate, as fields of a kubeconfig user.

    `plugin`, `cluster`: the kubeconfig's mappings; `directory`: that of the kubeconfig, to which a relative command refers;
    `interactive`: whether the plugin may use the terminal (to ask for a password, say). Raises `ConfigError`.
    """
    command, api_version = str(plugin.get("command") or ""), str(plugin.get("apiVersion") or "")
    if not command or not api_version:
        raise ConfigError("the kubeconfig's exec plugin needs both a command and an apiVersion")
    mode = plugin.get("interactiveMode") or "IfAvailable"
    attended = interactive and mode != "Never"
    if mode == "Always" and not attended:
        raise ConfigError(f"credential plugin {command} needs a terminal to ask on: run it by hand first")
    answer = await _run(
        _resolve(command, directory, plugin),
        [str(argument) for argument in plugin.get("args") or ()],
        _environment(plugin, cluster, api_version, attended),
        attended=attended,
        name=command,
    )
    return _read(answer, command, api_version)


def _resolve(command: str, directory: str, plugin: dict[str, Any]) -> str:
    """A command with a slash is relative to the kubeconfig, one without is searched on PATH."""
    found = shutil.which(os.path.join(directory, command) if "/" in command else command)
    if found is None:
        hint = " ".join(str(plugin.get("installHint") or "").split())
        raise ConfigError(
            f"credential plugin {command} is not installed" + (f": {hint}" if hint else " or not on PATH")
        )
    return found


def _environment(
    plugin: dict[str, Any], cluster: dict[str, Any], api_version: str, attended: bool
) -> dict[str, str]:
    spec: dict[str, Any] = {"interactive": attended}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {field: cluster[field] for field in _CLUSTER_FIELDS if field in cluster}
        for extension in cluster.get("extensions") or ():
            if extension.get("name") == "client.authentication.k8s.io/exec":
                spec["cluster"]["config"] = extension.get("extension")
    info = {"apiVersion": api_version, "kind": "ExecCredential", "spec": spec}
    own = {str(item["name"]): str(item["value"]) for item in plugin.get("env") or ()}
    return {**os.environ, **own, "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}


async def _run(
    program: str, arguments: list[str], environment: dict[str, str], *, attended: bool, name: str
) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            env=environment,
            stdin=None if attended else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if attended else asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise ConfigError(f"credential plugin {name} cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(None if attended else _UNATTENDED_TIMEOUT):
            output, complaint = await process.communicate()
    except TimeoutError:
        raise ConfigError(f"credential plugin {name} gave no answer in {_UNATTENDED_TIMEOUT:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        lines = (complaint or b"").decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:300]}" if lines else ""
        raise ConfigError(f"credential plugin {name} failed with status {process.returncode}{said}")
    return output


def _read(answer: bytes, name: str, api_version: str) -> dict[str, str]:
    try:
        credential = msgspec.json.decode(answer, type=_ExecCredential)
    except msgspec.DecodeError:  # its text could quote the answer, which holds secrets
        raise ConfigError(f"credential plugin {name} printed no ExecCredential") from None
    if credential.kind != "ExecCredential" or credential.api_version != api_version:
        raise ConfigError(
            f"credential plugin {name} answered {credential.api_version} {credential.kind}, "
            f"the kubeconfig asks for {api_version} ExecCredential"
        )
    status = credential.status
    user: dict[str, str] = {}
    if status.token:
        user["token"] = status.token
    if status.client_certificate_data and status.client_key_data:
        user["client-certificate-data"] = base64.b64encode(status.client_certificate_data.encode()).decode()
        user["client-key-data"] = base64.b64encode(status.client_key_data.encode()).decode()
    if not user:
        raise ConfigError(
            f"credential plugin {name} gave neither a token nor a client certificate with its key"
        )
    return user
