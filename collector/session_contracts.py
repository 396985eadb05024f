"""What live sessions need of others: the configuration, and the recorded past."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from collector.workflow_host import WorkflowHost
from detectors.fleet.host import FleetHost
from detectors.host import DetectorHost
from detectors.model import Event, Finding, SessionKey


class Policy(Protocol):
    """What sessions need to know of the configuration."""

    def agent_type(self, agent: str | None, service: str | None) -> str: ...

    def budget_usd(self, agent_type: str) -> Decimal | None: ...

    def workflow_usd(self, agent_type: str) -> Decimal | None:
        """What a workflow may cost in which an agent of this type takes part; None: no budget."""

    def host(self, key: SessionKey) -> DetectorHost: ...

    def workflow_host(self, tenant: str, workflow_id: str) -> WorkflowHost:
        """Makes the detectors of a workflow."""

    def fleet_host(self, tenant: str) -> FleetHost:
        """Makes the detectors of a tenant's fleet."""

    def equip(self, host: DetectorHost, agent_type: str) -> None:
        """Tells the detectors what holds for this agent type: ceiling, polling tools."""


class History(Protocol):
    """The recorded past, for sessions that are not live."""

    def known(self, key: SessionKey) -> bool:
        """Whether anything was ever recorded under `key`."""

    def several(self, keys: Sequence[SessionKey]) -> dict[SessionKey, list[Event]]:
        """The same as `events`, of those of `keys` that are known."""

    def events(self, key: SessionKey) -> list[Event]:
        """Every event of the session, and of those merged into it, in commit order."""

    def cost_usd(self, key: SessionKey) -> Decimal:
        """What the session is known to have cost so far."""

    def workflow_findings(self, tenant: str, workflow_id: str) -> list[Finding]:
        """The newest emission of each finding about the workflow as a whole."""

    def emitted(self, key: SessionKey) -> set[tuple[str, str, bool]]:
        """(finding id, severity, halt_eligible) of everything emitted for the session and those merged into it."""
