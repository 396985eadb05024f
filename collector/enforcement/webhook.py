"""The kill webhook: one signed POST, following the Standard Webhooks specification (https://www.standardwebhooks.com)."""

import asyncio
import base64
import binascii
import ssl
from datetime import UTC, datetime
from typing import ClassVar, Final

import httpx2
import orjson
from pydantic import SecretStr
from standardwebhooks import Webhook

from collector.enforcement.action import Action, Answer, Delivery, Reply
from collector.errors import ConfigError

ANSWER_LIMIT: Final = 65_536
"""Bytes of an answer that are read; the rest is not."""
_SPOKEN: Final = {str(reply): reply for reply in (Reply.STOPPING, Reply.STOPPED, Reply.UNKNOWN_SESSION, Reply.UNSUPPORTED)}


def signing_key(secret: SecretStr) -> bytes:
    """Returns the key of a secret: `whsec_` and base64 as the specification has it, any other text as its UTF-8 bytes.

    Raises ConfigError where it is empty, or base64 was announced and is broken.
    """
    text = secret.get_secret_value()
    if text.startswith("whsec_"):
        encoded = text.removeprefix("whsec_")
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError("actions.runtimes: a secret that begins with whsec_ must continue in base64") from None
    else:
        key = text.encode()
    if not key:
        raise ConfigError("actions.runtimes: the secret is empty; generate one, for example with `openssl rand -base64 32`")
    return key


class KillWebhook(Action):
    """Delivers messages to runtimes over HTTP. Proxies of the environment are ignored: a kill goes straight to its target."""

    name: ClassVar[str] = "kill_webhook"

    def __init__(self, *, timeout_s: float = 10.0, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        """`timeout_s` bounds one whole attempt, from connecting to the last byte read."""
        self._timeout_s = timeout_s
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            follow_redirects=False,
            trust_env=False,
            # Honours SSL_CERT_FILE, which `trust_env=False` would otherwise switch off together with the proxies.
            verify=ssl.create_default_context(),
            transport=transport,
        )

    async def attempt(self, delivery: Delivery) -> Answer:
        """Tries once. Never raises."""
        place = delivery.runtime.place
        try:
            headers = _headers(delivery)
        except ConfigError as error:
            return Answer(reply=Reply.FAILED, detail=f"{place}: {error.message}")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(delivery, headers, place)
        except TimeoutError:
            return Answer(reply=Reply.FAILED, detail=f"{place}: no answer within {self._timeout_s:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
            # The text of these errors may quote the URL with its query: only the kind is repeated.
            return Answer(reply=Reply.FAILED, detail=f"{place}: {_kind(error)}")

    async def aclose(self) -> None:
        """Closes pooled connections."""
        await self._client.aclose()

    async def _post(self, delivery: Delivery, headers: dict[str, str], place: str) -> Answer:
        async with self._client.stream("POST", delivery.runtime.url, content=delivery.body, headers=headers) as response:
            status = response.status_code
            if not 200 <= status < 300:
                hint = " (redirects are not followed)" if 300 <= status < 400 else ""
                return Answer(
                    reply=Reply.FAILED,
                    detail=f"{place}: answered {status}{hint}",
                    retry_after_s=_seconds(response.headers.get("retry-after")),
                )
            text = bytearray()
            # Raw: a few compressed kilobytes could otherwise unfold into gigabytes.
            async for chunk in response.aiter_raw():
                text += chunk
                if len(text) > ANSWER_LIMIT:
                    return Answer(reply=Reply.UNPROVEN, detail=f"{place}: answered {status} with more than {ANSWER_LIMIT} bytes")
        return _read(bytes(text), status, place)


def _headers(delivery: Delivery) -> dict[str, str]:
    at = datetime.fromtimestamp(delivery.now_ns // 1_000_000_000, tz=UTC)
    signer = Webhook(signing_key(delivery.runtime.secret))
    return {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "overcurrent",
        "webhook-id": delivery.key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signer.sign(msg_id=delivery.key, timestamp=at, data=delivery.body.decode()),
    }


def _read(text: bytes, status: int, place: str) -> Answer:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Answer(reply=Reply.UNPROVEN, detail=f"{place}: answered {status} without JSON")
    spoken = content.get("status") if isinstance(content, dict) else None
    reply = _SPOKEN.get(spoken) if isinstance(spoken, str) else None
    if reply is None:
        wanted = "|".join(_SPOKEN)
        return Answer(reply=Reply.UNPROVEN, detail=f'{place}: answered {status} without {{"status": "{wanted}"}}')
    return Answer(reply=reply, detail=f"{place}: {reply}")


def _seconds(retry_after: str | None) -> float | None:
    """Only the form in seconds: the form with a date would need the receiver's clock to agree with ours."""
    if retry_after is None or not retry_after.strip().isdigit():
        return None
    return min(float(retry_after.strip()), 86_400.0)


def _kind(error: Exception) -> str:
    if isinstance(error, httpx2.ConnectError):
        return "cannot connect"
    if isinstance(error, httpx2.TimeoutException):
        return "too slow"
    return f"failed ({type(error).__name__})"
