"""What happens to every request before a route is chosen: its path is read, its body bounded."""

import asyncio
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.errors import Malformed, OvercurrentError, TooLarge
from collector.receiver.status import TIMED_OUT, HttpRefusal, problem_response

BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a request body. Alertmanager's largest groups stay well below."""
DRAINED: Final = 8
"""A body is read up to this many times its limit before its sender is cut off."""


class EncodedSlashes:
    """Keeps `%2F` and `%25` of a path as they were sent, since a session id may hold a slash and a route may not guess.

    Servers hand over the path decoded, where an encoded slash has become a separator. Path parameters are therefore
    decoded once more by the endpoint, with `unquote`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on under its re-read path. Answers 400 where it is not UTF-8."""
        raw = scope.get("raw_path") if scope["type"] == "http" else None
        if raw is not None:
            path = raw.split(b"?", 1)[0]
            try:
                segments = [unquote_to_bytes(part).decode() for part in path.split(b"/")]
            except UnicodeDecodeError:
                await problem_response(Malformed("the path is not UTF-8 when percent-decoded"))(scope, receive, send)
                return
            scope = {**scope, "path": "/".join(part.replace("%", "%25").replace("/", "%2F") for part in segments)}
        await self._app(scope, receive, send)


class BoundedBody:
    """Reads a request's body before anything else is done: 413 above `limit` bytes, 408 after `timeout_s`."""

    def __init__(self, app: ASGIApp, *, limit: int = BODY_LIMIT, timeout_s: float = 30.0) -> None:
        self._app = app
        self._limit = limit
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on with its body in memory."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(receive)
        except TimeoutError:
            error: OvercurrentError = HttpRefusal(f"the body did not arrive within {self._timeout_s:g} s", TIMED_OUT)
            await _refuse(error, scope, receive, send)
            return
        except TooLarge as too_large:
            await _refuse(too_large, scope, receive, send)
            return
        if body is None:
            return
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None where the sender went away."""
        body = bytearray()
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size <= self._limit:
                body += chunk
            # What is too large is read on for a while and forgotten: a sender that is cut off in mid-body sees a broken
            # connection instead of the answer.
            if size > DRAINED * self._limit or (size > self._limit and not message.get("more_body", False)):
                raise TooLarge(f"the body is larger than {self._limit} bytes")
            if not message.get("more_body", False):
                return bytes(body)


async def _refuse(error: OvercurrentError, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem_response(error)
    # The rest of the body is not read, so the connection cannot carry another request.
    response.headers["connection"] = "close"
    await response(scope, receive, send)
