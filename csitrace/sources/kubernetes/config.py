"""Which API server, and as whom: kubectl's flags and files, with kubectl's meaning.

The `kubernetes` package reads and merges kubeconfigs and knows the ways to authenticate; it is imported only here and only
when needed, because it takes longer to import than all the rest of csitrace. Three things it does differently from kubectl
are done here: the first file that names a current context wins; `--cluster` and `--user` override the context's; credential
plugins (`exec_plugin`) fail with an error instead of a line in the log.

Its own error texts are never passed on where they could quote a kubeconfig: they would show tokens.
"""

import asyncio
import importlib
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from csitrace.errors import ConfigError
from csitrace.model.times import HOUR, MILLISECOND, MINUTE, SECOND
from csitrace.sources.kubernetes import exec_plugin
from csitrace.sources.kubernetes.access import Access, build_access

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """kubectl's global flags; an empty value means that the flag was not given.

    `request_timeout_ns` bounds every request that has an end (lists, probes), not the watches: they are meant to last.
    """

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    user: str = ""
    namespace: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()
    as_uid: str = ""
    request_timeout_ns: int | None = None


def parse_request_timeout(text: str) -> int | None:
    """ns of kubectl's `--request-timeout`: a number of seconds, or numbers with units (`1m30s`, `500ms`); None for 0."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    whole = "".join(number + unit for number, unit in parts)
    if not parts or whole != text or (len(parts) > 1 and not all(unit for _, unit in parts)):
        raise ConfigError(f"--request-timeout {text!r} is no duration: give seconds, or e.g. 30s, 2m, 1m30s")
    return int(sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)) or None


def kubeconfig_entries(options: ConnectionOptions) -> dict[str, list[str]]:
    """The names of the merged kubeconfig's `contexts`, `clusters` and `users`. Raises `ConfigError`."""
    merger, _ = _merge(options)
    merged = merger.config.value if merger is not None else {}
    return {
        sort: [node["name"] for node in merged.get(sort, ())] for sort in ("contexts", "clusters", "users")
    }


async def load_access(options: ConnectionOptions, *, interactive: bool = False) -> Access:
    """Find the server and the credentials, as kubectl would with these flags.

    `interactive`: a credential plugin may use the terminal. Called again when the server refuses the credentials: files are
    read, plugins run and tokens refreshed anew. Raises `ConfigError`.
    """
    if (options.as_groups or options.as_uid) and not options.as_user:
        flag = "--as-group" if options.as_groups else "--as-uid"
        raise ConfigError(f"{flag} needs --as: it says more of the impersonated user")
    selection = await asyncio.to_thread(_select, options)
    if selection is None:
        return await asyncio.to_thread(_in_cluster, options)
    user = selection.user
    if user.get("tokenFile"):  # it takes precedence over a token; the package has it the other way round
        user = {name: value for name, value in user.items() if name != "token"}
    if "exec" in user and not (user.get("token") or user.get("tokenFile")):
        obtained = await exec_plugin.obtain(
            user["exec"],
            selection.cluster,
            directory=os.path.dirname(selection.user_path),
            interactive=interactive,
        )
        user = {name: value for name, value in user.items() if name != "exec"} | obtained
    return await asyncio.to_thread(_authenticate, options, selection, user)


def _package() -> Any:
    """The package's module of kubeconfigs (half a second to import); untyped."""
    return importlib.import_module("kubernetes.config.kube_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """The parts of the merged kubeconfig that the flags choose. The paths are of the files that the parts are from."""

    cluster: dict[str, Any]
    cluster_path: str
    user: dict[str, Any]
    user_path: str
    user_name: str
    context_name: str
    namespace: str
    merger: Any


def _select(options: ConnectionOptions) -> _Selection | None:
    """Read and merge the kubeconfigs. None: there is none, and this is a pod."""
    merger, where = _merge(options)
    if merger is None:
        if not options.kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
            return None
        raise ConfigError(f"no kubeconfig at {where}: set KUBECONFIG or give --kubeconfig")
    merged = merger.config.value
    contexts = {node["name"]: node for node in merged["contexts"]}
    # The first file that names a current context wins; the merger takes the last.
    named = [merger.config_files[path].get("current-context") for path in merger.paths]
    context_name = options.context or next((name for name in named if name), "")
    context: dict[str, Any] = {}
    if context_name:
        context = _entry(contexts, context_name, "context", where).value.get("context") or {}
    elif not options.cluster:
        raise ConfigError(f"{where} has no current context: choose one with --context {_known(contexts)}")
    cluster_name = options.cluster or context.get("cluster") or ""
    user_name = options.user or context.get("user") or ""
    cluster = _entry({node["name"]: node for node in merged["clusters"]}, cluster_name, "cluster", where)
    users = {node["name"]: node for node in merged["users"]}
    user = _entry(users, user_name, "user", where) if user_name else None
    return _Selection(
        cluster=cluster.value.get("cluster") or {},
        cluster_path=cluster.path,
        user=(user.value.get("user") or {}) if user else {},
        user_path=user.path if user else "",
        user_name=user_name,
        context_name=context_name,
        namespace=options.namespace or context.get("namespace") or "default",
        merger=merger,
    )


def _merge(options: ConnectionOptions) -> tuple[Any, str]:
    """(the package's merger, or None without any file; which files, for people)."""
    package = _package()
    paths = options.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    if options.kubeconfig and not os.path.exists(os.path.expanduser(options.kubeconfig)):
        raise ConfigError(f"kubeconfig {options.kubeconfig} does not exist")
    try:
        merger = package.KubeConfigMerger(paths)
    except OSError as error:
        raise ConfigError(f"kubeconfig {error.filename} cannot be read: {error.strerror}") from None
    except package.yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"kubeconfig {paths} is not YAML{where}") from None
    except (package.ConfigException, AttributeError, KeyError, TypeError):
        raise ConfigError(
            f"kubeconfig {paths} is not of a kubeconfig's form (see kubectl config view)"
        ) from None
    where = " ".join(path for path in paths.split(package.ENV_KUBECONFIG_PATH_SEPARATOR) if path)
    return (merger if merger.config is not None else None), where


def _entry(entries: dict[str, Any], name: str, what: str, where: str) -> Any:
    if name not in entries:
        raise ConfigError(f'{what} "{name}" is not in kubeconfig {where} {_known(entries)}')
    return entries[name]


def _known(entries: dict[str, Any]) -> str:
    return f"(there are: {', '.join(entries)})" if entries else "(there are none)"


def _authenticate(options: ConnectionOptions, selection: _Selection, user: dict[str, Any]) -> Access:
    """Let the package turn cluster and user into an address, certificates and a token."""
    package = _package()
    server = str(selection.cluster.get("server") or "")
    if not server:
        raise ConfigError("the kubeconfig's cluster names no server")
    chosen = {
        "current-context": "chosen",
        "contexts": [{"name": "chosen", "context": {"cluster": "chosen", "user": "chosen"}}],
        "clusters": [
            package.ConfigNode(
                "cluster", {"name": "chosen", "cluster": selection.cluster}, selection.cluster_path
            )
        ],
        "users": [package.ConfigNode("user", {"name": "chosen", "user": user}, selection.user_path)],
    }
    configuration = package.Configuration()
    # Certificates given as data pass through files: the ssl module reads nothing else. They live until the context is built.
    with tempfile.TemporaryDirectory(prefix="csitrace-") as directory:
        try:
            package.KubeConfigLoader(
                package.ConfigNode("kubeconfig", chosen),
                config_base_path=None,
                config_persister=selection.merger.save_changes,
                temp_file_path=directory,
            ).load_and_set(configuration)
        except package.ConfigException as error:
            raise ConfigError(f'user "{selection.user_name}" or its cluster: {error}') from None
        except (
            OSError,
            package.urllib3.exceptions.HTTPError,
            KeyError,
            ValueError,
            package.oauthlib.oauth2.OAuth2Error,
        ) as error:
            kind = type(error).__name__
            raise ConfigError(
                f'the credentials of user "{selection.user_name}" cannot be used ({kind}): log in again'
            ) from None
        access = build_access(
            configuration,
            namespace=selection.namespace,
            as_user=options.as_user or str(user.get("as") or ""),
            as_groups=options.as_groups or (() if options.as_user else tuple(user.get("as-groups") or ())),
            as_uid=options.as_uid or ("" if options.as_user else str(user.get("as-uid") or "")),
            request_timeout_ns=options.request_timeout_ns,
        )
        return replace(access, context=selection.context_name)


def _in_cluster(options: ConnectionOptions) -> Access:
    """The service account of the pod that this process runs in."""
    package = _package()
    configuration = package.Configuration()
    try:
        importlib.import_module("kubernetes.config").load_incluster_config(client_configuration=configuration)
        namespace = options.namespace or (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except (package.ConfigException, OSError) as error:
        raise ConfigError(f"no kubeconfig, and this pod's service account cannot be used: {error}") from None
    return build_access(
        configuration,
        namespace=namespace,
        as_user=options.as_user,
        as_groups=options.as_groups,
        as_uid=options.as_uid,
        request_timeout_ns=options.request_timeout_ns,
        in_cluster=True,
    )
