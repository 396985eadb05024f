"""Watches the fleet of each tenant: what one cause does to many sessions is found once. A function of the stream."""

from collections.abc import Iterable, Iterator, Sequence

from collector.session_contracts import Policy
from detectors.fleet.host import FleetHost
from detectors.model import Evaluation, Event, Finding, SchemaRegistered, SessionKey, Step, StepAmended, Tick

_TENANTS = 100
"""Tenants whose fleets are watched."""
_SHARED = "default"
"""Definitions of tools are known by agent type, not by tenant: changes are told to this one."""


class Fleets:
    """The fleet of each tenant. One instance, one thread."""

    def __init__(self, policy: Policy, *, idle: bool = False) -> None:
        """With `idle` nothing is watched."""
        self._policy = policy
        self._idle = idle
        self._hosts: dict[str, FleetHost] = {}

    def _host(self, tenant: str) -> FleetHost | None:
        host = self._hosts.get(tenant)
        if host is None and not self._idle and len(self._hosts) < _TENANTS:
            host = self._hosts[tenant] = self._policy.fleet_host(tenant)
        return host

    def step(self, step: Step, agent_type: str) -> list[Finding]:
        """Takes in a step of any session."""
        host = self._host(step.session.tenant)
        return [] if host is None else host.observe(step, agent_type)

    def amended(self, event: StepAmended, agent_type: str) -> list[Finding]:
        """Takes in how a step ended, where that was learned late."""
        return self.step(event.step, agent_type) if event.was.error is None and event.step.error is not None else []

    def other(self, event: Event, agent_type: str = "unknown") -> list[Finding]:
        """Takes in a definition or a judgement."""
        if isinstance(event, SchemaRegistered):
            host = self._host(_SHARED)
            return [] if host is None else host.registered(event)
        if isinstance(event, Evaluation):
            host = self._host(event.session.tenant)
            return [] if host is None else host.evaluated(event, agent_type)
        return []

    def tick(self, at_ns: int) -> None:
        """Lets time pass in every fleet."""
        for host in self._hosts.values():
            host.tick(at_ns)

    def restore(self, events: Iterable[Event], told: Sequence[Finding]) -> list[Finding]:
        """Sees recent events again after a restart; returns what was found but not told before the crash."""
        found: list[Finding] = []
        types: dict[SessionKey, str] = {}
        first = True
        for event in events:
            if first:
                self._known([finding for finding in told if finding.step_seq < event.seq])
                first = False
            if isinstance(event, Step):
                agent_type = self._policy.agent_type(event.agent, event.service_name)
                types.setdefault(event.session, agent_type)
                found += self.step(event, agent_type)
            elif isinstance(event, StepAmended):
                found += self.amended(event, self._policy.agent_type(event.step.agent, event.step.service_name))
            elif isinstance(event, Tick):
                self.tick(event.at_ns)
            elif isinstance(event, Evaluation):
                found += self.other(event, types.get(event.session, "unknown"))
            else:
                found += self.other(event)
        known = {(finding.id, severity) for finding in told for severity in _up_to(finding)}
        return [finding for finding in found if (finding.id, finding.severity) not in known]

    def _known(self, told: Sequence[Finding]) -> None:
        for tenant in {str(finding.evidence.get("tenant")) for finding in told}:
            host = self._host(tenant)
            if host is not None:
                host.known([finding for finding in told if finding.evidence.get("tenant") == tenant])

    def hosts(self) -> Iterator[FleetHost]:
        """The detectors of every fleet that is watched now."""
        yield from self._hosts.values()

    def open(self) -> Iterator[Finding]:
        """Every finding that is open now."""
        for host in self._hosts.values():
            yield from host.open()


def _up_to(finding: Finding) -> list[str]:
    return [severity for severity in type(finding.severity) if severity.rank <= finding.severity.rank]
