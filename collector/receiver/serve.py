"""Runs an ASGI application inside our own event loop: no signals, no exit, a port that is known before the first request."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from collector.config import Address, Tls
from collector.errors import ConfigError

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.started_event = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # signals belong to the process, not to one of its servers
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            # inside a task it would end the whole loop; uvicorn has logged the cause
            raise RuntimeError("the application did not start; the log has the reason") from None
        self.started_event.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second whether it should end; once a second there is the Date header to be set.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), 1)


class ServerHandle:
    """A server that listens. `port` is the bound one; `started` is set once requests are answered."""

    def __init__(self, server: _Server, task: "asyncio.Task[None]", port: int) -> None:
        self._server = server
        self._task = task
        self.port = port
        self.started = server.started_event

    async def stop(self) -> None:
        """Stops listening, lets requests under way finish for the grace period, then cuts them off. Harmless when repeated."""
        self._server.should_exit = True
        self._server.stopping.set()
        await asyncio.wait({self._task})


async def serve_asgi(
    app: ASGIApp, host: str, port: int, tls: Tls | None = None, *, key: str = "web.listen", grace_s: float = 5.0
) -> ServerHandle:
    """Serves `app` on `host`:`port` (0: any free one) and returns when it listens.

    `key` is the configuration key of the address, for the message. Raises ConfigError where the address or the certificate
    cannot be used, RuntimeError where the application's start-up failed.
    """
    bound = _bind(host, port, key)
    try:
        server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                log_config=None,
                # what it says of its own start and end, once for each server, tells an operator nothing
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                # forwarded headers are the sender's word; nothing here decides by address
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, round(grace_s)),
                ssl_certfile=tls.cert_file if tls else None,
                ssl_keyfile=tls.key_file if tls else None,
            )
        )
        server.config.load()
    except OSError as error:
        bound.close()
        raise ConfigError(f"security.tls: the certificate cannot be used: {error.strerror or error}") from None
    task = asyncio.create_task(server.serve(sockets=[bound]), name=f"overcurrent-{key}")
    started = asyncio.create_task(server.started_event.wait())
    await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if not server.started_event.is_set():
        bound.close()
        await task
    return ServerHandle(server, task, bound.getsockname()[1])


def _bind(host: str, port: int, key: str) -> socket.socket:
    # bound here because uvicorn exits the process when it cannot bind
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(f"{key}: cannot listen on {Address(host, port)}: {error.strerror or error}") from None
    bound.setblocking(False)
    # asyncio sets it only where it knows the protocol of the socket. Without it every answer on a kept connection waits for the
    # acknowledgement of the one before: 44 ms instead of half a millisecond.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
