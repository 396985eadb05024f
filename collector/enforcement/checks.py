"""What every registered action must pass. Each check takes a fresh action and a receiver that listens on this machine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from pydantic import SecretStr

from collector.enforcement.action import Action, Answer, Delivery, Reply, Runtime

SECRET: Final = "check-secret-that-must-not-appear"  # noqa: S105 — of the checks
_BODY: Final = b'{"type":"session.halt","timestamp":"2026-01-01T00:00:00Z","data":{}}'


class Receiver(Protocol):
    """A receiver under the check's control."""

    @property
    def url(self) -> str:
        """Where it listens."""

    @property
    def keys(self) -> Sequence[str]:
        """The idempotency key of each request that came in, in order."""

    def answers(self, behaviour: str) -> None:
        """How it answers from here on: `stopping`, `error`, `garbage`, `silence` (takes the request and never answers)."""


class BrokenPromise(AssertionError):
    """A check found an action that does not keep its contract. The message says which promise."""


def _delivery(url: str, key: str = "msg_check", attempt: int = 1) -> Delivery:
    runtime = Runtime(url=url, secret=SecretStr(SECRET))
    return Delivery(key=key, runtime=runtime, body=_BODY, attempt=attempt, now_ns=1_700_000_000_000_000_000)


def _require(condition: bool, promise: str) -> None:
    if not condition:
        raise BrokenPromise(promise)


async def tries_once(action: Action, receiver: Receiver) -> None:
    """A refusal is not repeated by the action itself."""
    receiver.answers("error")
    answer = await action.attempt(_delivery(receiver.url))
    _require(answer.reply is Reply.FAILED, "a refusal must be Reply.FAILED")
    _require(len(receiver.keys) == 1, f"one attempt must be one request, got {len(receiver.keys)}")


async def passes_the_key_on(action: Action, receiver: Receiver) -> None:
    """Repeats of one message carry one key, another message another."""
    receiver.answers("stopping")
    for attempt, key in ((1, "msg_a"), (2, "msg_a"), (1, "msg_b")):
        await action.attempt(_delivery(receiver.url, key, attempt))
    _require(list(receiver.keys) == ["msg_a", "msg_a", "msg_b"], f"the key must be passed on, got {list(receiver.keys)}")


async def reads_an_owner(action: Action, receiver: Receiver) -> None:
    """An owner's word is understood, and nothing else is taken for one."""
    receiver.answers("stopping")
    _require((await action.attempt(_delivery(receiver.url))).reply is Reply.STOPPING, "an owner's word must be understood")
    receiver.answers("garbage")
    _require((await action.attempt(_delivery(receiver.url))).reply is Reply.UNPROVEN, "garbage must not be taken for an owner's word")


async def does_not_raise(action: Action, receiver: Receiver) -> None:
    """Whatever is wrong with the receiver is an answer, and the answer holds no secret."""
    receiver.answers("error")
    urls = (receiver.url, "http://127.0.0.1:1/closed", "http://name.invalid/", f"http://127.0.0.1:1/?token={SECRET}", "nonsense://")
    for url in urls:
        answer: Answer = await action.attempt(_delivery(url))
        _require(answer.reply is Reply.FAILED, f"{url}: must be Reply.FAILED, got {answer.reply}")
        _require(SECRET not in repr(answer), "no secret may appear in an answer")


async def ends_by_itself(action: Action, receiver: Receiver) -> None:
    """A receiver that never answers does not hold the attempt beyond the action's own time-out."""
    receiver.answers("silence")
    answer = await action.attempt(_delivery(receiver.url))
    _require(answer.reply is Reply.FAILED, "silence must be Reply.FAILED")


async def can_be_cancelled(action: Action, receiver: Receiver) -> None:
    """Being cancelled is not swallowed."""
    receiver.answers("silence")
    task = asyncio.create_task(action.attempt(_delivery(receiver.url)))
    while not receiver.keys:  # noqa: ASYNC110 — any server can be a receiver, most have no event of ours
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    _require(task.cancelled(), "being cancelled must not be swallowed")


async def keeps_secrets(action: Action, receiver: Receiver) -> None:
    """Neither the action nor a delivery shows a secret in its repr."""
    receiver.answers("stopping")
    delivery = _delivery(receiver.url)
    await action.attempt(delivery)
    _require(SECRET not in repr(action) + repr(delivery), "no secret may appear in a repr")


Check = Callable[[Action, Receiver], Awaitable[None]]

CHECKS: Final[tuple[Check, ...]] = (
    tries_once,
    passes_the_key_on,
    reads_an_owner,
    does_not_raise,
    ends_by_itself,
    can_be_cancelled,
    keeps_secrets,
)
"""All of them; a suite runs each over every entry of `ACTIONS`."""
