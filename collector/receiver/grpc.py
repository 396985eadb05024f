"""OTLP over gRPC: bytes in, bytes out. No message is parsed here."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from collector.config import Address, Tls
from collector.errors import ConfigError, Unauthorised
from collector.model import Request, Signal
from collector.receiver.admission import Admission
from collector.receiver.export import SERVICES, partial_success
from collector.receiver.status import answer_of, message_of, retry_info, rpc_status
from collector.receiver.telemetry import IngestTelemetry, NoTelemetry
from collector.security import Authority, Principal

log = logging.getLogger(__name__)

STATUS_DETAILS = "grpc-status-details-bin"
RETRY_INFO = "google.rpc.retryinfo-bin"
"""Where the Python and JavaScript exporters look for RetryInfo, beside the standard status details."""

Handler = Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]


class GrpcReceiver:
    """The server of port 4317. Lives on the event loop that awaited `start`."""

    def __init__(
        self,
        admission: Admission,
        *,
        address: Address,
        max_request_bytes: int,
        authority: Authority,
        tls: Tls | None = None,
        telemetry: IngestTelemetry | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._address = address
        self._max_request_bytes = max_request_bytes
        self._tls = tls
        self._service = _Exports(admission, authority, telemetry or NoTelemetry(), now_ns)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs know only the threaded one
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listens; returns the port. Raises ConfigError where the address or the certificate cannot be used."""
        server = grpc.aio.server(
            options=[
                # both the compressed and the decompressed size: a bomb ends at the limit
                ("grpc.max_receive_message_length", self._max_request_bytes),
                # without it a second service would share the port and take half of the spans
                ("grpc.so_reuseport", 0),
                # Collectors ping idle connections; the default calls that abuse and cuts them off
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers((self._service,))
        port = self._listen(server)
        await server.start()
        for name in ("", *SERVICES.values()):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._server = server
        return port

    async def stop(self, grace_s: float) -> None:
        """Turns `grpc.health.v1` to NOT_SERVING, refuses new requests, lets those under way finish for `grace_s` seconds."""
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    def _listen(self, server: grpc.aio.Server) -> int:
        try:
            if not self._tls or self._tls.cert_file is None or self._tls.key_file is None:
                return server.add_insecure_port(str(self._address))
            pair = (self._tls.key_file.read_bytes(), self._tls.cert_file.read_bytes())
            return server.add_secure_port(str(self._address), grpc.ssl_server_credentials([pair]))
        except OSError as error:
            raise ConfigError(f"security.tls: cannot read {error.filename}: {error.strerror}") from None
        except RuntimeError:
            raise ConfigError(
                f"receivers.otlp_grpc: cannot listen on {self._address}: the port is taken, or the address or certificate is not usable"
            ) from None


class _Exports(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """The three Export methods. Tokens are checked before the body is read."""

    def __init__(self, admission: Admission, authority: Authority, telemetry: IngestTelemetry, now_ns: Callable[[], int]) -> None:
        self._admission = admission
        self._authority = authority
        self._telemetry = telemetry
        self._now_ns = now_ns
        self._signals: Final[dict[str, Signal]] = {f"/{service}/Export": signal for signal, service in SERVICES.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        signal = self._signals.get(handler_call_details.method)
        if signal is None:
            return None
        try:
            principal = self._authority.authorise(_authorization(handler_call_details.invocation_metadata), "ingest")
        except Unauthorised as error:
            # a stream, since for a single request grpc would read the body before it calls the handler
            return grpc.stream_unary_rpc_method_handler(self._refusal(error))
        return grpc.unary_unary_rpc_method_handler(self._export(signal, principal))

    def _export(self, signal: Signal, principal: Principal) -> Any:
        async def export(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            request = Request(
                signal=signal, encoding="protobuf", body=body, tenant=principal.tenant, protocol="grpc", arrival_ns=self._now_ns()
            )
            try:
                outcome = await self._admission.submit(request)
            except Exception as error:
                await self._abort(context, error)
                raise
            return partial_success(signal, "protobuf", outcome)

        return export

    def _refusal(self, error: Exception) -> Any:
        async def refuse(_: Any, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            await self._abort(context, error)
            raise error

        return refuse

    async def _abort(self, context: "grpc.aio.ServicerContext[bytes, bytes]", error: Exception) -> None:
        answer = answer_of(error)
        self._telemetry.rejected(answer.reason, 1)
        if answer.code is grpc.StatusCode.INTERNAL:
            log.error("an export failed", exc_info=error)
        trailers: list[tuple[str, str | bytes]] = [(STATUS_DETAILS, rpc_status(error).SerializeToString())]
        info = retry_info(error)
        if info is not None:
            trailers.append((RETRY_INFO, info.SerializeToString()))
        await context.abort(answer.code, message_of(error), tuple(trailers))


def _authorization(metadata: Any) -> str | None:
    for key, value in metadata or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None
