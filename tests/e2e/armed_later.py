"""`overcurrent serve`, with one thing more: SIGUSR1 arms `soft_loop` in the running service.

Arming takes a restart, at which the service itself halts what is open. Here the mode changes under a finding that is open.
"""

import asyncio
import signal

import collector.app
from collector.app import App
from collector.cli import main
from collector.config.detectors import DetectorSettings
from collector.session_policy import ConfiguredPolicy


class ArmedLater(App):
    """The service, and the signal."""

    async def start(self) -> None:
        await super().start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: self.admission.call(self._arm))

    def _arm(self) -> None:
        core = self.core
        armed = DetectorSettings(mode="halt", params=self.config.detectors["soft_loop"].params)
        config = self.config.with_changes(detectors={**self.config.detectors, "soft_loop": armed})
        core.policy = ConfiguredPolicy(config, prices_version=core.prices.version, on_error=core._detector_failed)


if __name__ == "__main__":
    collector.app.App = ArmedLater  # type: ignore[misc]  # what the command makes
    main()
