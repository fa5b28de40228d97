"""kubectl's flags and files, with kubectl's meaning."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from csitrace.errors import ConfigError
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.config import ConnectionOptions, load_access, parse_request_timeout


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith("KUBE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def kubeconfig(path: Path, name: str = "one", user: dict[str, Any] | None = None, **more: Any) -> Path:
    """A file with one context, cluster and user, all called `name`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": f"http://{name}.example", **more.pop("cluster", {})}}
        ],
        "users": [{"name": name, "user": user if user is not None else {"token": f"token-{name}"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, **more.pop("context", {})}}],
        **more,
    }
    path.write_text(yaml.safe_dump(config))
    return path


async def access_to(path: Path, **options: Any) -> Access:
    return await load_access(ConnectionOptions(kubeconfig=str(path), **options))


async def test_current_context(tmp_path: Path) -> None:
    """The current context says which server, whose token and which namespace."""
    path = kubeconfig(tmp_path / "config", context={"namespace": "shop"}, **{"current-context": "one"})
    access = await access_to(path)
    assert (access.server, access.namespace) == ("http://one.example", "shop")
    assert access.authorization == "Bearer token-one"


async def test_files_are_merged_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBECONFIG=a:b: entries of both, current-context of the first that has one, missing files passed over."""
    first = kubeconfig(tmp_path / "a", "one", **{"current-context": "one"})
    second = kubeconfig(tmp_path / "b", "two", **{"current-context": "two"})
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{first}:{second}")
    assert (await load_access(ConnectionOptions())).server == "http://one.example"
    assert (await load_access(ConnectionOptions(context="two"))).server == "http://two.example"


async def test_cluster_and_user_override_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--cluster and --user replace their part of the context; -n replaces its namespace."""
    first = kubeconfig(tmp_path / "a", "one", **{"current-context": "one"})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{kubeconfig(tmp_path / 'b', 'two')}")
    access = await load_access(ConnectionOptions(user="two", namespace="bank"))
    assert (access.server, access.authorization, access.namespace) == (
        "http://one.example",
        "Bearer token-two",
        "bank",
    )
    assert (await load_access(ConnectionOptions(cluster="two"))).server == "http://two.example"


async def test_impersonation(tmp_path: Path) -> None:
    """--as and --as-group become headers; groups without a user are refused, as kubectl does."""
    path = kubeconfig(tmp_path / "config", **{"current-context": "one"})
    access = await access_to(path, as_user="jane", as_groups=("dev", "ops"))
    assert access.impersonation == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
    )
    with pytest.raises(ConfigError, match="--as-group needs --as"):
        await access_to(path, as_groups=("dev",))


async def test_token_file_takes_precedence_and_is_read_again(tmp_path: Path) -> None:
    """A token file, relative to its kubeconfig, is what counts, in its present content."""
    user = {"token": "old", "tokenFile": "token"}
    path = kubeconfig(tmp_path / "config", user=user, **{"current-context": "one"})
    for content in ("first\n", "second\n"):
        (tmp_path / "token").write_text(content)
        assert (await access_to(path)).authorization == f"Bearer {content.strip()}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kubeconfig": "/nowhere/config"}, "kubeconfig /nowhere/config does not exist"),
        ({"context": "three"}, r'context "three" is not in kubeconfig .* \(there are: one\)'),
        ({"context": "one", "user": "three"}, r'user "three" is not in kubeconfig .* \(there are: one\)'),
        ({"cluster": "three"}, r'cluster "three" is not in kubeconfig .* \(there are: one\)'),
        ({}, r"has no current context: choose one with --context \(there are: one\)"),
    ],
)
async def test_wrong_names_say_what_there_is(tmp_path: Path, options: dict[str, str], message: str) -> None:
    """What is not there is an error of one line that says what is."""
    path = kubeconfig(tmp_path / "config")
    with pytest.raises(ConfigError, match=message) as error:
        await load_access(ConnectionOptions(**{"kubeconfig": str(path), **options}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "users: [{name: x, user: {token: sesame",
        "sesame",
        "users: [{user: {token: sesame}}]\nclusters: [{}]\ncontexts: []",
        "users: {token: sesame}",
        "[sesame]",
        "",
        "clusters: [{name: one, cluster: {}}]\nusers: [{name: one, user: {token: sesame}}]\n"
        "contexts: [{name: one, context: {cluster: one, user: one}}]\ncurrent-context: one",
        "clusters: [{name: one, cluster: {server: 'https://h', certificate-authority: sesame}}]\n"
        "contexts: [{name: one, context: {cluster: one}}]\ncurrent-context: one",
    ],
)
async def test_broken_files_are_errors_of_one_line(tmp_path: Path, content: str) -> None:
    """A kubeconfig of any other form is a ConfigError, which quotes no token."""
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(ConfigError) as error:
        await access_to(path)
    assert "\n" not in str(error.value)
    assert "token" not in str(error.value)


async def test_no_kubeconfig_at_all(tmp_path: Path) -> None:
    """Without any, the error says where it looked and what to do."""
    with pytest.raises(
        ConfigError, match=r"no kubeconfig at ~/\.kube/config: set KUBECONFIG or give --kubeconfig"
    ):
        await load_access(ConnectionOptions())


async def test_in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod without kubeconfig: the service account's token, namespace and authority."""
    import ssl

    from kubernetes.config import incluster_config

    authority = ssl.get_default_verify_paths().cafile
    if authority is None:
        pytest.fail("this machine has no certificates to stand in for a cluster's")
    (tmp_path / "token").write_text("from-the-pod")
    (tmp_path / "namespace").write_text("shop\n")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", authority)
    monkeypatch.setattr("csitrace.sources.kubernetes.config.SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "198.51.100.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    access = await load_access(ConnectionOptions())
    assert (access.server, access.namespace, access.near) == ("https://198.51.100.1:443", "shop", True)
    assert access.authorization.lower() == "bearer from-the-pod"


@pytest.mark.parametrize(
    ("environment", "server", "proxy"),
    [
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://far.example", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, "http://far.example", None),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3", None),
        (
            {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8"},
            "http://11.1.2.3",
            "http://proxy:3128",
        ),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://127.0.0.1:8001", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://localhost:8001", None),
    ],
)
async def test_proxies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    server: str,
    proxy: str | None,
) -> None:
    """The environment's proxy, unless NO_PROXY or the loopback says otherwise."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = kubeconfig(tmp_path / "config", cluster={"server": server}, **{"current-context": "one"})
    assert (await access_to(path)).proxy == proxy


async def test_unusable_proxy_and_server_are_refused(tmp_path: Path) -> None:
    """A proxy that cannot be spoken to is an error, not a direct connection; so is a server that is no address."""
    socks = kubeconfig(
        tmp_path / "a", cluster={"proxy-url": "socks5://localhost:1080"}, **{"current-context": "one"}
    )
    with pytest.raises(ConfigError, match="socks5 proxy is not supported"):
        await access_to(socks)
    odd = kubeconfig(tmp_path / "b", cluster={"server": "ftp://host"}, **{"current-context": "one"})
    with pytest.raises(ConfigError, match="no http or https address"):
        await access_to(odd)


async def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """What is printed or logged of an access has no token and no proxy password in it."""
    cluster = {"proxy-url": "http://user:sesame@proxy:3128"}
    path = kubeconfig(
        tmp_path / "config", user={"token": "sesame"}, cluster=cluster, **{"current-context": "one"}
    )
    assert "sesame" not in repr(await access_to(path))


def plugin(path: Path, body: str, **more: Any) -> dict[str, Any]:
    """A kubeconfig user whose credentials come from a program."""
    path.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}\n")
    path.chmod(0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": f"./{path.name}", **more}}


ANSWER = """print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": %s}))"""


async def test_exec_plugin_gives_a_token(tmp_path: Path) -> None:
    """The program, relative to the kubeconfig, is told of the cluster and its environment, and its token is used."""
    body = "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n" + ANSWER % (
        "{'token': ' '.join([sys.argv[1], os.environ['EXTRA'], info['spec']['cluster']['server'], "
        "str(info['spec']['interactive'])])}"
    )
    env = [{"name": "EXTRA", "value": "extra"}]
    user = plugin(tmp_path / "login", body, args=["argument"], env=env, provideClusterInfo=True)
    path = kubeconfig(tmp_path / "config", user=user, **{"current-context": "one"})
    access = await access_to(path)
    assert access.authorization == "Bearer argument extra http://one.example False"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('see'); sys.exit('please log in')", "login failed with status 1: please log in"),
        ("print('sesame')", "login printed no ExecCredential"),
        (ANSWER % "{}", "gave neither a token nor a client certificate with its key"),
        (ANSWER % "{'clientCertificateData': 'sesame'}", "gave neither a token nor a client certificate"),
        ((ANSWER % "{'token': 'sesame'}").replace("k8s.io/v1", "k8s.io/v2"), "answered client.*v2"),
    ],
)
async def test_exec_plugin_that_fails(tmp_path: Path, body: str, message: str) -> None:
    """A plugin's failure is an error with its own last line, and never with what it printed as an answer."""
    path = kubeconfig(
        tmp_path / "config", user=plugin(tmp_path / "login", body), **{"current-context": "one"}
    )
    with pytest.raises(ConfigError, match=message) as error:
        await access_to(path)
    assert "sesame" not in str(error.value)


async def test_exec_plugin_that_is_missing(tmp_path: Path) -> None:
    """The kubeconfig's own hint says how to install it."""
    user = {"exec": {"apiVersion": "v1", "command": "no-such-login", "installHint": "get it\nfrom the shop"}}
    path = kubeconfig(tmp_path / "config", user=user, **{"current-context": "one"})
    with pytest.raises(ConfigError, match="no-such-login is not installed: get it from the shop"):
        await access_to(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", None), ("0s", None), ("5", 5.0), ("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0)],
)
def test_request_timeout(text: str, expected: float | None) -> None:
    """As kubectl: seconds without a unit, Go durations with; 0 is none."""
    assert parse_request_timeout(text) == (None if expected is None else int(expected * 1e9))


@pytest.mark.parametrize("text", ["", "x", "5 s", "1m30", "-1s", "5d"])
def test_request_timeout_that_is_none(text: str) -> None:
    """Anything else is refused, with what would be right."""
    with pytest.raises(ConfigError, match="is no duration"):
        parse_request_timeout(text)


@given(st.text(max_size=12))
def test_request_timeout_of_any_text(text: str) -> None:
    """No text raises anything but a ConfigError."""
    try:
        timeout = parse_request_timeout(text)
    except ConfigError:
        return
    assert timeout is None or timeout > 0
