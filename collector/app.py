"""The only place that constructs the service: what is started, in which order, and how it stops."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry

from collector import __version__
from collector.config import Address, Config
from collector.core import Core
from collector.dialects import DIALECTS
from collector.enforcement import ACTIONS
from collector.enforcement.action import Action
from collector.enforcement.outbox import Outbox
from collector.errors import OvercurrentError
from collector.facade import RunningService
from collector.receiver.admission import Admission
from collector.receiver.grpc import GrpcReceiver
from collector.receiver.http import HttpReceiver
from collector.receiver.isolation import Isolation
from collector.receiver.serve import ServerHandle, serve_asgi
from collector.receiver.status import REASONS
from collector.receiver.translators import Translators, default_processes
from collector.security import Authority
from collector.taxonomy import HALT_REASONS
from collector.telemetry import Snapshot, Telemetry
from collector.web.api import create_app
from collector.web.runbooks import runbooks_router

logger = logging.getLogger(__name__)

TICK_S = 1.0
_FIXED = ("receivers", "web", "storage", "sessions", "prices")
"""Sections of the configuration that only a start reads."""
STOP_S = 10.0


class App:
    """One service. `start` returns when every port answers; `stop` acknowledges or refuses what is under way, never loses it."""

    def __init__(self, config: Config) -> None:
        """Opens the stores. Raises ConfigError, StoreUnavailable."""
        self.config = config
        self._core: Core | None = None
        self.telemetry = Telemetry(
            CollectorRegistry(),
            snapshot=self._snapshot,
            detectors=tuple(config.detectors),
            halt_reasons=HALT_REASONS,
            dialects=tuple(dialect.name for dialect in DIALECTS),
            agent_types=tuple(config.agent_types),
            mode_of=lambda detector, _: self.config.detectors[detector].mode,
            rejection_reasons=sorted(REASONS),
            queue_limit_bytes=config.receivers.queue_bytes,
            version=__version__,
        )
        self.core = self._core = Core(config, config.storage.data_dir, self.telemetry)
        processes = config.receivers.translate_processes
        self._translators = Translators(default_processes() if processes is None else processes)
        self.admission = Admission(
            Isolation(self.core.process),
            queue_bytes=config.receivers.queue_bytes,
            telemetry=self.telemetry,
            prepare=self._translators.translated,
            settle=self.core.settle,
        )
        self.core.pipeline.answers_first = True
        self.service = RunningService(self.core, self.admission)
        self._authority = Authority(config.security.tokens)
        self._grpc: GrpcReceiver | None = None
        self._servers: list[ServerHandle] = []
        self._actions: list[Action] = []
        self._outboxes: list[Outbox] = []
        self._ticker: asyncio.Task[None] | None = None
        self.addresses: dict[str, Address] = {}
        """Where everything listens, by configuration key."""

    def _snapshot(self) -> Snapshot:
        if self._core is None:
            return Snapshot()
        return replace(self._core.snapshot, ingest_queue_bytes=self.admission.depth_bytes)

    async def start(self) -> None:
        """Starts the ingest thread, the outbox, and the three ports. Raises ConfigError where a port is taken."""
        config = self.config
        receivers, tls = config.receivers, config.security.tls or None
        self.admission.start()
        self.core.readiness.went_round()
        for action_type in ACTIONS.values():
            action = action_type()
            outbox = Outbox(self.core.control, action, observe=lambda reply: self.telemetry.webhook_delivery(reply.value))
            self._actions.append(action)
            self._outboxes.append(outbox)
            await outbox.start(self.core.halting.runtimes())
        self.core.halting.on_halt = self._wake
        self._wake()
        self._ticker = asyncio.create_task(self._tick(), name="overcurrent-tick")
        self._grpc = GrpcReceiver(
            self.admission,
            address=receivers.otlp_grpc,
            max_request_bytes=receivers.max_request_bytes,
            authority=self._authority,
            tls=tls,
            telemetry=self.telemetry,
        )
        self.addresses["receivers.otlp_grpc"] = Address(receivers.otlp_grpc.host, await self._grpc.start())
        http = HttpReceiver(
            self.admission,
            address=receivers.otlp_http,
            max_request_bytes=receivers.max_request_bytes,
            authority=self._authority,
            allowed_hosts=config.security.allowed_hosts,
            telemetry=self.telemetry,
        )
        web = create_app(
            self.service,
            authority=self._authority,
            version=__version__,
            audit=self.core.control,
            metrics=self.telemetry.render,
            bound=[config.web.listen],
            allowed_hosts=config.security.allowed_hosts,
            routers=[runbooks_router(self._authority)],
        )
        for key, app, address in (("receivers.otlp_http", http.app, receivers.otlp_http), ("web.listen", web, config.web.listen)):
            handle = await serve_asgi(app, address.host, address.port, tls, key=key)
            self._servers.append(handle)
            self.addresses[key] = Address(address.host, handle.port)

    def _wake(self) -> None:
        for outbox in self._outboxes:
            outbox.wake()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await asyncio.wrap_future(self.admission.call(self.core.tick))
            except Exception:  # the next second tries again
                logger.exception("a tick failed: gauges and the session index are as old as this message")

    async def reload(self, load: Callable[[], Config]) -> None:
        """Reads the configuration again. An invalid one is refused and the running policy stays; what only a start can change is named."""
        try:
            config = await asyncio.to_thread(load)
        except OvercurrentError as error:
            logger.error("configuration not reloaded, the running one stays: %s", error.message)  # noqa: TRY400 — the message says it all
            return
        fixed = [name for name in _FIXED if getattr(config, name) != getattr(self.config, name)]
        await asyncio.wrap_future(self.admission.call(lambda: self.core.reconfigure(config)))
        self._authority.replace(config.security.tokens)
        for outbox in self._outboxes:
            await outbox.configure(self.core.halting.runtimes())
        self.config = config
        later = f"; changed but only read at start: {', '.join(fixed)}" if fixed else ""
        logger.info("configuration reloaded, policy %s%s", config.fingerprint, later)

    async def stop(self) -> None:
        """Stops in the order in which nothing acknowledged can get lost: receivers, queue, outbox, stores."""
        if self._grpc is not None:
            await self._grpc.stop(2.0)
        for handle in self._servers:
            await handle.stop()
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        drained = await asyncio.to_thread(self.admission.drain_and_stop, STOP_S)
        if not drained:
            logger.warning("stopped before the queue was empty; its senders were told to retry")
        await asyncio.to_thread(self._translators.close)
        for outbox in self._outboxes:
            await outbox.stop()
        for action in self._actions:
            await action.aclose()
        self.core.close(at_rest=drained)


def collect_rarely() -> None:
    """Has the garbage collector look seldom: live sessions are millions of objects that no collection can free.

    The defaults walk them all some hundred times a second at full load, for a sixth of the CPU.
    """
    gc.set_threshold(50_000, 20, 100)
    # A small answer changes threads several times, and each time waits this long for the ingest thread (docs/adr/008).
    sys.setswitchinterval(0.0001)


async def serve(load: Callable[[], Config], *, started: Callable[[App], None]) -> None:
    """Runs the service until SIGINT or SIGTERM; SIGHUP reads the configuration again. `started` is told when everything listens.

    Raises ConfigError, StoreUnavailable.
    """
    collect_rarely()
    app = App(load())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(app.reload(load))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await app.start()
        started(app)
        await stop.wait()
    finally:
        await app.stop()
