"""An agent's pod, as far as it matters for hearing it."""

from typing import cast

from csitrace.model import kubernetes
from csitrace.model.kinds import POD, Kind

LABEL = "app.kubernetes.io/name=csitrace-agent"
"""By which agents are found; `csitrace agent manifest` sets it."""

NAMESPACE = "csitrace"
"""Where they are looked for by who may not list the pods of all namespaces; the manifest's default."""

PORT_NAME = "feed"


class ContainerPort(kubernetes._Struct, frozen=True, kw_only=True):
    name: str = ""
    container_port: int = 0


class AgentContainer(kubernetes.Container, frozen=True, kw_only=True):
    ports: tuple[ContainerPort, ...] = ()


class AgentPodSpec(kubernetes.PodSpec, frozen=True, kw_only=True):
    containers: tuple[AgentContainer, ...] = ()


class AgentPod(kubernetes.Pod, frozen=True, kw_only=True, tag="Pod"):
    """A pod with the ports of its containers, which matter of no other pod."""

    spec: AgentPodSpec = AgentPodSpec()

    @property
    def port(self) -> int:
        """Where its feed is; 0 where no port is named so."""
        ports = (port for container in self.spec.containers for port in container.ports)
        return next((port.container_port for port in ports if port.name == PORT_NAME), 0)

    @property
    def is_running(self) -> bool:
        """It can be connected to: a container that restarts just now will be there in a moment."""
        return self.status.phase == "Running" and not self.is_terminating

    @property
    def is_ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def trouble(self) -> str:
        """Why it cannot be heard, in words; empty if nothing is known to be in the way."""
        if self.is_terminating:
            return "is being deleted"
        if not self.is_running:
            return f"is {self.status.phase or 'not started'}{self._because}"
        if not self.port:
            return f"has no container port named {PORT_NAME!r}"
        return ""

    @property
    def crash(self) -> str:
        """Why its container does not run now, where the kubelet says so; empty if it runs."""
        return self._because.strip(" ()")

    @property
    def _because(self) -> str:
        for status in self.status.container_statuses:
            if status.state.waiting is not None and status.state.waiting.reason:
                return f" ({status.state.waiting.reason})"
        for condition in self.status.conditions:
            if condition.status == "False" and condition.reason and condition.type == "PodScheduled":
                return f" ({condition.reason})"
        return f" ({self.status.reason})" if self.status.reason else ""


AGENT_POD = Kind(
    "Pod", POD.group, POD.version, POD.resource, POD.namespaced, cast("type[kubernetes.Pod]", AgentPod)
)
