"""kubeconfigs used for real: TLS, client certificates, plugins, identity headers, errors."""

import base64
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from csitrace.errors import UnreachableError
from csitrace.model.events import ListCompleted
from csitrace.model.kinds import POD
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.config import ConnectionOptions, load_access
from csitrace.sources.kubernetes.connection import Connection, StatusError
from csitrace.sources.kubernetes.source import KubernetesSource
from tests.integration.kubernetes.api_server import ApiServer
from tests.integration.kubernetes.certificates import Authority
from tests.integration.kubernetes.listener import listening


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def tls_server(authority: Authority) -> AsyncIterator[ApiServer]:
    """A server that wants client certificates of the authority; its own is for the address and the name `kubernetes`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*authority.issue("kubernetes", address="127.0.0.1"))
    async with ApiServer(tls=context) as server:
        yield server


async def access_to(directory: Path, cluster: dict[str, Any], user: dict[str, Any], **options: Any) -> Access:
    config = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
    }
    (directory / "config").write_text(yaml.safe_dump(config))
    return await load_access(ConnectionOptions(kubeconfig=str(directory / "config"), **options))


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def is_live(access: Access) -> bool:
    async with Connection(access) as connection:
        return await connection.get("/livez") == b"ok"


@pytest.mark.parametrize("embedded", [False, True], ids=["files", "data"])
async def test_client_certificate(
    tmp_path: Path,
    authority: Authority,
    tls_server: ApiServer,
    embedded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Certificates work as files relative to the kubeconfig and as data; what was data does not stay on disk."""
    certificate, key = authority.issue("jane")
    cluster: dict[str, Any] = {"server": tls_server.url}
    if embedded:
        cluster |= {"certificate-authority-data": data(authority.path)}
        user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    else:
        cluster |= {"certificate-authority": "ca.crt"}
        user = {"client-certificate": "jane.crt", "client-key": "jane.key"}
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    access = await access_to(tmp_path, cluster, user)
    assert await is_live(access)
    assert list(temporary.iterdir()) == []


async def test_exec_plugin_may_give_a_certificate(
    tmp_path: Path, authority: Authority, tls_server: ApiServer
) -> None:
    """A plugin that answers with a client certificate is who asks."""
    authority.issue("jane")
    script = tmp_path / "login"
    script.write_text(
        f"#!{sys.executable}\nimport json\nread = lambda name: open({str(tmp_path)!r} + '/jane.' + name).read()\n"
        "status = {'clientCertificateData': read('crt'), 'clientKeyData': read('key')}\n"
        "print(json.dumps({'apiVersion': 'v1', 'kind': 'ExecCredential', 'status': status}))"
    )
    script.chmod(0o700)
    cluster = {"server": tls_server.url, "certificate-authority": "ca.crt"}
    access = await access_to(tmp_path, cluster, {"exec": {"apiVersion": "v1", "command": "./login"}})
    assert await is_live(access)


async def test_server_certificate_is_checked(
    tmp_path: Path, authority: Authority, tls_server: ApiServer
) -> None:
    """An authority that is not the cluster's, or another name than expected, is an error in words; both can be told otherwise."""
    certificate, key = authority.issue("jane")
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    cluster: dict[str, Any] = {"server": tls_server.url}
    with pytest.raises(UnreachableError, match="certificate is not trusted"):
        await is_live(await access_to(tmp_path, cluster, user))
    assert await is_live(await access_to(tmp_path, cluster | {"insecure-skip-tls-verify": True}, user))
    cluster["certificate-authority"] = str(authority.path)
    assert await is_live(await access_to(tmp_path, cluster | {"tls-server-name": "kubernetes"}, user))
    with pytest.raises(UnreachableError, match="certificate is not trusted"):
        await is_live(await access_to(tmp_path, cluster | {"tls-server-name": "other"}, user))


async def test_expired_plugin_token_is_fetched_again(tmp_path: Path) -> None:
    """When the server refuses a plugin's token, the plugin runs again, once, and the watch begins as if nothing had been."""
    script, calls = tmp_path / "login", tmp_path / "calls"
    script.write_text(
        f"#!/bin/sh\necho >>{calls}\n"
        f"""echo '{{"apiVersion":"v1","kind":"ExecCredential","status":{{"token":"'$(wc -l <{calls} | tr -d ' ')'"}}}}'"""
    )
    script.chmod(0o700)
    async with ApiServer() as server:
        server.tokens = {"2"}
        user = {"exec": {"apiVersion": "v1", "command": "./login"}}
        await access_to(tmp_path, {"server": server.url}, user)
        calls.unlink()
        source = await KubernetesSource.open(
            ConnectionOptions(kubeconfig=str(tmp_path / "config")), kinds=(POD,)
        )
        async with listening(source) as heard:
            await heard.until(lambda: heard.of(ListCompleted))
    assert calls.read_text().count("\n") == 2


async def test_headers(tmp_path: Path) -> None:
    """Who asks, on whose behalf, and no compression on the way from this machine to itself."""
    async with ApiServer() as server:
        access = await access_to(
            tmp_path, {"server": server.url}, {"token": "it"}, as_user="jane", as_groups=("dev", "ops")
        )
        assert await is_live(access)
        [(request, _)] = server.requests
    assert request.headers["Authorization"] == "Bearer it"
    assert request.headers["Impersonate-User"] == "jane"
    assert request.headers.getall("Impersonate-Group") == ["dev", "ops"]
    assert request.headers["Accept-Encoding"] == "identity"


async def test_errors_are_one_line_in_words() -> None:
    """What the server says is passed on, shortened to one line; what the network does is said in words."""
    async with ApiServer() as server:
        server.refusals["pods"] = 403
        async with Connection(Access(server=server.url)) as connection:
            with pytest.raises(StatusError, match=r"^API server http://\S+: 403 Forbidden: pods is refused$"):
                await connection.get("/api/v1/pods")
    async with Connection(Access(server=server.url)) as connection:
        with pytest.raises(UnreachableError, match=r"^API server http://\S+: connection refused$"):
            await connection.get("/api/v1/pods")


async def test_request_timeout() -> None:
    """--request-timeout bounds a request that the server does not answer."""
    async with ApiServer() as server:
        server.hung.clear()
        async with Connection(Access(server=server.url, request_timeout_ns=50_000_000)) as connection:
            with pytest.raises(UnreachableError, match=r"gave no answer in 0\.05 s"):
                await connection.get("/api/v1/pods")
