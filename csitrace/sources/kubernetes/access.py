"""One server and one identity, ready to be used: what the transport needs to know, and nothing it must look up."""

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from csitrace.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach an API server, and as whom, until the server refuses the token.

    `server`: base URL, possibly with a path; `context`: its name, where one was chosen; `namespace`: the context's;
    `authorization`: the header's value, empty where a client certificate in `tls` says who asks; `server_name`: the name to
    expect in the server's certificate instead of the URL's host; `near`: the network costs less than compressing for it would
    (loopback, or inside the cluster).
    """

    server: str
    context: str = ""
    namespace: str = "default"
    authorization: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    impersonation: tuple[tuple[str, str], ...] = ()
    request_timeout_ns: int | None = None
    near: bool = False


def build_access(
    configuration: Any,
    *,
    namespace: str,
    as_user: str,
    as_groups: tuple[str, ...],
    as_uid: str = "",
    request_timeout_ns: int | None = None,
    in_cluster: bool = False,
) -> Access:
    """From a `kubernetes.client.Configuration`. Raises `ConfigError` for certificates and proxies that cannot be used."""
    server = configuration.host
    parts = urlsplit(server)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"the kubeconfig's server {server!r} is no http or https address")
    return Access(
        server=server,
        namespace=namespace,
        authorization=configuration.api_key.get("BearerToken", "").strip(),
        tls=_tls_context(configuration) if parts.scheme == "https" else None,
        server_name=configuration.tls_server_name or None,
        proxy=_proxy(configuration.proxy, host),
        impersonation=tuple(
            [("Impersonate-User", as_user)] * bool(as_user)
            + [("Impersonate-Group", group) for group in as_groups]
            + [("Impersonate-Uid", as_uid)] * bool(as_uid)
        ),
        request_timeout_ns=request_timeout_ns,
        near=in_cluster or is_loopback(host),
    )


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_context(configuration: Any) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the cluster's certificate authority cannot be used: {error}") from None
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        try:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the user's client certificate cannot be used: {error}") from None
    return context


def _proxy(proxy: str | None, host: str) -> str | None:
    """The proxy for `host`: never for this machine, nor for what NO_PROXY names."""
    if not proxy or is_loopback(host) or _is_exempt(host):
        return None
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ConfigError(
            f"a {urlsplit(proxy).scheme or 'nameless'} proxy is not supported: give an http or https one"
        )
    return proxy


def _is_exempt(host: str) -> bool:
    """NO_PROXY as Go reads it: names with their subdomains, addresses, networks (10.0.0.0/8), or `*`."""
    exempt = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    for entry in filter(None, (part.strip() for part in exempt.split(","))):
        domain = entry.removeprefix("*").removeprefix(".")
        if entry == "*" or host == domain or host.endswith("." + domain):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
