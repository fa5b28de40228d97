"""What to apply to have an agent on every node: namespace, service account, DaemonSet, and what a user needs to hear them."""

import re
from string import Template

from csitrace import __version__
from csitrace.errors import UsageError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

_MANIFEST = Template("""\
# csitrace's agents, one on each node. Apply it with: csitrace agent manifest --image=... | kubectl apply -f -
# `csitrace watch` finds them by their label and reaches them through the API server, as `kubectl port-forward` does: they
# listen on the loopback of their own pods only, and who may hear them is a matter of RBAC (at the end).
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    # hostPID and SYS_PTRACE, below, are more than "baseline" allows.
    pod-security.kubernetes.io/enforce: privileged
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: csitrace-agent
  namespace: $namespace
automountServiceAccountToken: false # the agent never speaks to the API server: it has no rights, and needs no token
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: csitrace-agent
  namespace: $namespace
  labels: {app.kubernetes.io/name: csitrace-agent}
spec:
  selector:
    matchLabels: {app.kubernetes.io/name: csitrace-agent}
  updateStrategy:
    rollingUpdate: {maxUnavailable: 10%}
  template:
    metadata:
      labels: {app.kubernetes.io/name: csitrace-agent} # by which `csitrace watch` finds it
    spec:
      serviceAccountName: csitrace-agent
      automountServiceAccountToken: false
      enableServiceLinks: false
      # The node's mounts are those that its init process sees, and FUSE daemons are found among the node's processes. The pod has
      # its own network, and mounts nothing of the node: no volume is kept busy by it, and none can make it hang.
      hostPID: true
      nodeSelector: {kubernetes.io/os: linux}
      tolerations:
        - operator: Exists # a node in trouble is where one wants to look
      priorityClassName: system-node-critical # and one that is full is no exception
      terminationGracePeriodSeconds: 5
      containers:
        - name: agent
          image: $image
          args:
            - agent
            - --node-name=$$(NODE_NAME)
            - --host-pid=1
            - --kubelet-root=$kubelet_root
            - --listen=127.0.0.1:$port$more
          env:
            - name: NODE_NAME
              valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
          ports:
            - {name: feed, containerPort: $port} # tells `csitrace watch` the port; opens nothing
          securityContext:
            # Root, since drivers' feeds are sockets of mode 0600 in directories of mode 0750, and the counts of waiting requests
            # (fusectl) are for the user who mounted. A driver that runs as another user is heard with DAC_OVERRIDE added below.
            runAsUser: 0
            runAsNonRoot: false
            privileged: false
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
              # Leave to look into /proc/PID: /proc/1/root, where the kubelet's directory and fusectl are, and /proc/PID/fd, which
              # tells who serves a FUSE connection. It would also allow to trace processes: the agent never does.
              add: [SYS_PTRACE]
            seccompProfile: {type: RuntimeDefault}
            # Container runtimes' AppArmor profiles forbid just that look at processes outside. Without AppArmor: no effect.
            appArmorProfile: {type: Unconfined}
          resources:
            requests: {cpu: 10m, memory: 64Mi}
            limits: {memory: 256Mi}
          # The kubelet cannot connect to the pod's loopback, so it has the question asked from within.
          startupProbe:
            exec: &probe {command: [python3, -m, csitrace.agent.probe, "127.0.0.1:$port"]}
            periodSeconds: 1
            timeoutSeconds: 5
            failureThreshold: 60
          livenessProbe:
            exec: *probe
            periodSeconds: 30
            timeoutSeconds: 5
---
# What a user needs to hear the agents. `csitrace watch` lists them by label, in all namespaces or, where that is refused, in this
# one, and forwards a port to each. A port forward into this namespace reaches nothing but agents.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: csitrace-agents
rules:
  - apiGroups: [""]
    resources: [pods]
    verbs: [list, watch]
  - apiGroups: [""]
    resources: [pods/portforward]
    verbs: [get, create] # before Kubernetes 1.35 get alone is enough
# Bind it within this namespace only:
#
# apiVersion: rbac.authorization.k8s.io/v1
# kind: RoleBinding
# metadata: {name: csitrace-agents, namespace: $namespace}
# roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: csitrace-agents}
# subjects:
#   - {apiGroup: rbac.authorization.k8s.io, kind: Group, name: WHO}
""")


_NO_POD_FEEDS = (
    "\n            - --no-pod-feeds # who may run a pod tells nothing of a driver, nor do their controllers"
)


def manifest(
    *,
    namespace: str = "csitrace",
    image: str = "",
    kubelet_root: str = "/var/lib/kubelet",
    port: int = 9779,
    pod_feeds: bool = True,
) -> str:
    """The manifest as YAML. `image`: this version's by default; `pod_feeds`: whether the agents believe feeds in pods' emptyDirs.
    UsageError for a value that could not be meant."""
    if not _NAME.fullmatch(namespace):
        raise UsageError(f"--namespace {namespace!r} is no name of a namespace")
    image = image or f"csitrace:{__version__}"
    for flag, value in (("--image", image), ("--kubelet-root", kubelet_root)):
        if not re.fullmatch(r"[\x21\x23-\x26\x28-\x7e]+", value):
            raise UsageError(f"{flag} {value!r}: spaces and quotes are not understood here")
    if not kubelet_root.startswith("/"):
        raise UsageError(f"--kubelet-root {kubelet_root!r} is no absolute path")
    if not 0 < port < 65536:
        raise UsageError(f"--port {port} is none: give 1 to 65535")
    return _MANIFEST.substitute(
        namespace=namespace,
        image=image,
        kubelet_root=kubelet_root,
        port=port,
        more="" if pod_feeds else _NO_POD_FEEDS,
    )
