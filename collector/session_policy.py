"""What sessions take from the configuration: agent types, budgets, detectors with their modes and parameters."""

from decimal import Decimal
from typing import Any, Final

import msgspec

from collector.config import UNKNOWN_AGENT_TYPE, AgentTypePolicy, Config, Mode
from collector.pricing import Prices
from collector.workflow_host import WorkflowHost
from detectors import WORKFLOW_DETECTORS
from detectors.fleet.host import FleetHost
from detectors.host import DetectorHost, OnError
from detectors.model import SessionKey, Versions

_POLICIES: Final = 1_000
"""Agent types whose policy is at hand."""


def prices_of(config: Config) -> Prices:
    """The price table with what the configuration says instead."""
    overrides = {model: price.model_dump(exclude_none=True) for model, price in config.prices.overrides.items()}
    return Prices(overrides=overrides, context_windows=config.prices.context_windows)


class ConfiguredPolicy:
    """The configuration as `collector.sessions` asks for it. Make another after a reload."""

    def __init__(self, config: Config, *, prices_version: str = "", on_error: OnError | None = None) -> None:
        self._on_error = on_error
        self._versions = Versions(prices=prices_version)
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Takes another configuration. Hosts that exist keep their detectors' parameters until `refit`."""
        self._config = config
        self._versions = msgspec.structs.replace(self._versions, policy=config.fingerprint)
        self._policies: dict[str, AgentTypePolicy] = {}
        # All sessions share these; there is one more every few milliseconds.
        self._modes = {name: settings.mode for name, settings in config.detectors.items()}
        self._settings: dict[str, Any] = {
            "configs": {name: settings.params for name, settings in config.detectors.items()},
            "modes": self._modes,
            "versions": self._versions,
            "on_error": self._on_error,
        }

    def refit(self, host: DetectorHost | FleetHost) -> None:
        """Gives detectors the modes and ceilings of now; their parameters stay, or what they remember would be lost."""
        host.versions = self._versions
        host.set_modes(self._modes)
        if isinstance(host, DetectorHost):
            self.equip(host, host.context.agent_type)

    def agent_type(self, agent: str | None, service: str | None) -> str:
        return self._config.agent_type_of(agent, service)

    def budget_usd(self, agent_type: str) -> Decimal | None:
        return self._of(agent_type).budgets.session_usd

    def workflow_usd(self, agent_type: str) -> Decimal | None:
        return self._config.policy_for(agent_type).budgets.workflow_usd

    def mode(self, detector: str) -> Mode:
        """What a finding of `detector` may do. Raises KeyError for one that is not registered."""
        return self._config.detectors[detector].mode

    def _of(self, agent_type: str) -> AgentTypePolicy:
        found = self._policies.get(agent_type)
        if found is None:
            if len(self._policies) >= _POLICIES:
                self._policies.clear()
            found = self._policies[agent_type] = self._config.policy_for(agent_type)
        return found

    def workflow_host(self, tenant: str, workflow_id: str) -> WorkflowHost:
        return WorkflowHost(tenant, workflow_id, detectors=WORKFLOW_DETECTORS, **self._settings)

    def fleet_host(self, tenant: str) -> FleetHost:
        return FleetHost(tenant, **self._settings)

    def host(self, key: SessionKey) -> DetectorHost:
        host = DetectorHost(key, **self._settings)
        self.equip(host, UNKNOWN_AGENT_TYPE)
        return host

    def equip(self, host: DetectorHost, agent_type: str) -> None:
        policy = self._of(agent_type)
        host.context.agent_type = agent_type
        host.context.ceiling_usd = policy.budgets.session_usd
        host.context.polling_tools = policy.polling_tools
