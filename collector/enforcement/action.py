"""The contract of an action: how the service reaches out of itself. `checks` holds every registered one to it."""

from abc import ABC, abstractmethod
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver of messages: the execution layer of some agents. `agent_types` are patterns; none means all."""

    url: str
    secret: SecretStr
    agent_types: tuple[str, ...] = ()

    def runs(self, agent_type: str) -> bool:
        """Whether sessions of this type may live there. A type nobody knows yet may live anywhere."""
        return not self.agent_types or agent_type == "unknown" or any(fnmatchcase(agent_type, pattern) for pattern in self.agent_types)

    @property
    def place(self) -> str:
        """The address without what may be secret in it: user, password, query."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message at one attempt. `key` is the same at every attempt of one message: the receiver's idempotency key."""

    key: str
    runtime: Runtime
    body: bytes
    attempt: int
    now_ns: int


class Reply(StrEnum):
    """What one attempt came to. A closed set: it is a metric label."""

    STOPPING = "stopping"
    STOPPED = "stopped"
    UNKNOWN_SESSION = "unknown_session"
    UNSUPPORTED = "unsupported"
    UNPROVEN = "unproven"
    """Taken (2xx), but the answer is no owner's word."""
    FAILED = "failed"
    """Refused, unreachable, too slow, or unreadable."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `detail` is one line for a person, free of secrets; `retry_after_s` is the receiver's wish."""

    reply: Reply
    detail: str = ""
    retry_after_s: float | None = None


class Action(ABC):
    """Carries one message to one receiver.

    Every action keeps these promises:

    * `attempt` tries once. Retry, back-off, audit and escalation live in the outbox alone.
    * It passes `delivery.key` on, so that a repeat can be recognised; it makes no key of its own.
    * It does not raise, whatever the receiver does: `Reply.FAILED` says why. Being cancelled is no exception to this.
    * It ends within its stated time-out, however slowly the receiver drips.
    * No secret appears in its answers, logs or repr.
    """

    name: ClassVar[str]

    @abstractmethod
    async def attempt(self, delivery: Delivery) -> Answer:
        """Tries once."""

    async def aclose(self) -> None:
        """Releases connections. Override where there are any."""
        return
