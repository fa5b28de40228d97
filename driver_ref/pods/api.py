"""The few requests about pods of one namespace that the driver makes of the API server.

Where the server is and who asks comes from the `kubernetes` package's configuration: our pod's service account, or a kubeconfig.
"""

import importlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from csitrace.errors import ConfigError

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_WATCH_SECONDS = 300
_LINE_BYTES = 8 << 20  # etcd stores objects of at most 1.5 MB


class ApiError(Exception):
    """The API server cannot be reached, or refused. `status`: the HTTP status, 0 where there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PodApi:
    """Pods of one namespace. Used as an async context manager; every method raises ApiError."""

    def __init__(self, namespace: str, kubeconfig: Path | None) -> None:
        """`kubeconfig`: None for the service account of the pod that we run in. Raises ConfigError."""
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._configuration = _configuration(kubeconfig)
        self._tls = _tls(self._configuration)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connections' pool; nothing is asked yet."""
        self._session = aiohttp.ClientSession(read_bufsize=_LINE_BYTES)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def create(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """Create a pod, and as the server has it; status 409 when its name is taken."""
        created: dict[str, Any] = await self._request("POST", "", json=pod)
        return created

    async def delete(self, name: str, uid: str, grace_seconds: int | None = None) -> None:
        """Delete this very pod, if it is still there; 0 seconds of grace do not wait for its kubelet."""
        options: dict[str, Any] = {"preconditions": {"uid": uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._request("DELETE", f"/{name}", json=options)
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or another of the same name by now
                raise

    async def list(self, selector: str) -> tuple[list[dict[str, Any]], str]:
        """The pods with these labels, and the version from which to watch."""
        found = await self._request("GET", "", params={"labelSelector": selector})
        return found["items"], found["metadata"]["resourceVersion"]

    async def watch(self, selector: str, version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """(ADDED, MODIFIED or DELETED; pod), until the server ends it. ApiError 410: `version` is too old, list again."""
        params = {
            "labelSelector": selector,
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            async with self._send(
                "GET", "", params=params, timeout=aiohttp.ClientTimeout(sock_read=2 * _WATCH_SECONDS)
            ) as got:
                if got.status != 200:
                    raise ApiError(got.status, await _message(got))
                async for line in got.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(
                            event["object"].get("code", 500), event["object"].get("message", "watch ended")
                        )
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiError(0, _broken(error)) from error

    async def _request(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            async with self._send(method, path, timeout=_TIMEOUT, **arguments) as got:
                if got.status >= 400:
                    raise ApiError(got.status, await _message(got))
                return await got.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, _broken(error)) from error

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        assert self._session is not None, "PodApi.open comes first"
        headers = {}
        # Asked for every time: a pod's token is replaced on disk before it expires.
        token = self._configuration.get_api_key_with_prefix(
            "authorization"
        ) or self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        url = self._configuration.host.rstrip("/") + self._path + path
        return self._session.request(method, url, headers=headers, ssl=self._tls, **arguments)


def _configuration(kubeconfig: Path | None) -> Any:
    package = importlib.import_module("kubernetes.config")
    configuration = importlib.import_module("kubernetes.client").Configuration()
    try:
        if kubeconfig is None:
            package.load_incluster_config(client_configuration=configuration)
        else:
            package.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    except (package.ConfigException, OSError) as error:
        raise ConfigError(
            f"{kubeconfig or 'the service account of this pod'}: cannot be used: {error}"
        ) from None
    return configuration


def _tls(configuration: Any) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the API server's or our certificate cannot be used: {error}") from None
    return context


async def _message(response: aiohttp.ClientResponse) -> str:
    body = await response.text(errors="replace")
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {response.status}"


def _broken(error: Exception) -> str:
    """The same words each time: they end in Events, which Kubernetes counts by their text."""
    match error:
        case aiohttp.ClientConnectorError():
            why = f"{error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientPayloadError():
            why = "the connection broke"
        case _:
            why = str(error) or type(error).__name__
    return f"the API server cannot be reached: {why}"
