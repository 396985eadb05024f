"""OTLP over HTTP, as an ASGI application: any prefix, then /v1/traces, /v1/logs or /v1/metrics."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Final, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from collector.config import Address
from collector.errors import Malformed, NotFound, TooLarge
from collector.model import Encoding, Signal
from collector.model import Request as ExportRequest
from collector.receiver.admission import Admission, Hold
from collector.receiver.compression import DECODERS, decompress
from collector.receiver.export import partial_success
from collector.receiver.status import (
    INTERNAL,
    TIMED_OUT,
    UNSUPPORTED_MEDIA,
    WRONG_METHOD,
    HttpRefusal,
    answer_of,
    otlp_response,
)
from collector.receiver.telemetry import IngestTelemetry, NoTelemetry
from collector.security import Authority, HostGuard

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 60.0
"""A sender that dribbles its body holds memory; after this it is cut off."""
INLINE_BYTES = 16 * 1024
"""Compressed bodies above this are decompressed on a thread, so that other requests go on."""

_PATH = re.compile(r"(?:/.*)?/v1/(traces|logs|metrics)/?")
_ENCODINGS: Final[dict[str, Encoding]] = {
    "application/x-protobuf": "protobuf",
    "application/protobuf": "protobuf",
    "application/json": "json",
}
_MEDIA_TYPES: Final[dict[Encoding, str]] = {"protobuf": "application/x-protobuf", "json": "application/json"}


class HttpReceiver:
    """The ASGI application of port 4318. `app` has the Host check around it and is what a server serves."""

    def __init__(
        self,
        admission: Admission,
        *,
        address: Address,
        max_request_bytes: int,
        authority: Authority,
        allowed_hosts: Iterable[str] = (),
        telemetry: IngestTelemetry | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._admission = admission
        self._limit = max_request_bytes
        self._authority = authority
        self._telemetry = telemetry or NoTelemetry()
        self._now_ns = now_ns
        self._read_timeout_s = read_timeout_s
        self.app: ASGIApp = HostGuard(self._serve, bound=[address], allowed=allowed_hosts)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            response = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.scope["path"] == "/healthz":
            return PlainTextResponse("ok\n")
        encoding = _ENCODINGS.get(_media_type(request))
        try:
            return await self._export(request, encoding)
        except ClientDisconnect:
            raise
        except Exception as error:
            answer = answer_of(error)
            self._telemetry.rejected(answer.reason, 1)
            if answer is INTERNAL:
                log.exception("an export failed")
            # a sender whose encoding is unknown most likely reads JSON
            return otlp_response(error, encoding or "json")

    async def _export(self, request: Request, encoding: Encoding | None) -> Response:
        path = _PATH.fullmatch(request.scope["path"])
        if path is None:
            raise NotFound("nothing is received here; send to /v1/traces, /v1/logs or /v1/metrics, any prefix before it")
        if request.method != "POST":
            raise HttpRefusal(f"{request.method} is not allowed here; use POST", WRONG_METHOD, {"allow": "POST"})
        principal = self._authority.authorise(request.headers.get("authorization"), "ingest")
        if encoding is None:
            raise HttpRefusal("Content-Type must be application/x-protobuf or application/json", UNSUPPORTED_MEDIA)
        signal = cast("Signal", path[1])
        body = await self._body(request)
        outcome = await self._admission.submit(
            ExportRequest(signal=signal, encoding=encoding, body=body, tenant=principal.tenant, protocol="http", arrival_ns=self._now_ns())
        )
        return Response(partial_success(signal, encoding, outcome), media_type=_MEDIA_TYPES[encoding])

    async def _body(self, request: Request) -> bytes:
        """The decompressed body, never more than the limit of it in memory, all of it counted against the queue."""
        compression = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
        if compression not in DECODERS:
            raise HttpRefusal(
                f"Content-Encoding must be one of {', '.join(DECODERS)}", UNSUPPORTED_MEDIA, {"accept-encoding": ", ".join(DECODERS)}
            )
        hold = self._admission.hold()
        try:
            try:
                async with asyncio.timeout(self._read_timeout_s):
                    body = await self._read(request, hold)
            except TimeoutError:
                raise HttpRefusal(f"the body did not arrive within {self._read_timeout_s:g} s", TIMED_OUT) from None
            if compression == "identity":
                return body
            if len(body) <= INLINE_BYTES:
                body = decompress(body, compression, self._limit)
            else:
                body = await asyncio.to_thread(decompress, body, compression, self._limit)
            hold.set(len(body))
            return body
        finally:
            hold.set(0)

    async def _read(self, request: Request, hold: Hold) -> bytes:
        declared = request.headers.get("content-length")
        if declared is not None and (not declared.isdecimal() or int(declared) > self._limit):
            self._refuse_size()
        body = bytearray()
        async for chunk in request.stream():
            if len(body) + len(chunk) > self._limit:
                self._refuse_size()
            hold.set(len(body) + len(chunk))
            body += chunk
        if declared is not None and len(body) != int(declared):
            raise Malformed("the body is shorter than its Content-Length")
        return bytes(body)

    def _refuse_size(self) -> None:
        raise TooLarge(f"the request is above receivers.max_request_bytes ({self._limit} bytes); send smaller batches")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
