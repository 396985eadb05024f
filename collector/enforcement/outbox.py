"""The worker that carries messages out: retries, back-off, bounded concurrency. The only place that tries twice."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from collector.enforcement.action import Action, Answer, Delivery, Reply, Runtime
from collector.enforcement.control import ControlStore
from collector.enforcement.messages import Limits, Message
from collector.errors import StoreUnavailable

_log = logging.getLogger(__name__)

_SECOND: Final = 1_000_000_000


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How hard receivers are pressed. Times in seconds."""

    base_s: float = 0.5
    """Ceiling of the first pause; each further one doubles it."""
    cap_s: float = 60.0
    """No pause is longer, so that a receiver that comes back hears of its halts within a minute."""
    lease_s: float = 60.0
    """After this an attempt of which nothing was heard is made again. Longer than any action's time-out."""
    at_once: int = 4
    """Attempts under way to one runtime."""

    def pause_s(self, attempt: int, wish_s: float | None, uniform: Callable[[float, float], float]) -> float:
        """Exponential with full jitter, so that what failed together does not return together; the receiver's wish is a floor."""
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30))
        return max(uniform(0.0, ceiling), min(wish_s or 0.0, self.cap_s))


class Outbox:
    """Delivers every due message to its runtime, each runtime by itself: a dead one holds up nobody else's halts.

    State lives in the control store alone. Stopped at any moment, another worker on the same file goes on.
    """

    def __init__(
        self,
        control: ControlStore,
        action: Action,
        *,
        pace: Pace | None = None,
        limits: Limits | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        uniform: Callable[[float, float], float] = random.uniform,
        observe: Callable[[Reply], None] | None = None,
    ) -> None:
        """`observe` is told what each attempt came to, for the metrics. `clock_ns` and `uniform` are injected by tests."""
        self._control = control
        self._action = action
        self._pace = pace or Pace()
        self._limits = limits or Limits()
        self._clock_ns = clock_ns
        self._uniform = uniform
        self._observe = observe
        self._lanes: dict[str, Runtime] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, runtimes: Iterable[Runtime]) -> None:
        """Takes over what an earlier process left and begins to deliver. Raises StoreUnavailable."""
        self._loop = asyncio.get_running_loop()
        await self._fit(list(runtimes), restarted=True)

    async def configure(self, runtimes: Iterable[Runtime]) -> None:
        """Takes another list of runtimes: waiting halts meet the new ones, the old ones are let alone. Raises StoreUnavailable."""
        await self._fit(list(runtimes), restarted=False)

    async def stop(self) -> None:
        """Stops. Attempts under way are broken off; their messages fall due again."""
        await self._end(list(self._tasks))
        self._loop = None

    def wake(self) -> None:
        """Says that a message was added. From any thread; harmless before `start` and after `stop`."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake_all)

    async def deliver_due(self, runtimes: Iterable[Runtime]) -> int:
        """Makes one attempt of everything that is due now, without the worker. Returns how many. For drills and tests."""
        made = 0
        for runtime in runtimes:
            messages = await asyncio.to_thread(self._claim, runtime, 1_000_000)
            await asyncio.gather(*(self._attempt(runtime, message) for message in messages))
            made += len(messages)
        return made

    async def _fit(self, runtimes: list[Runtime], *, restarted: bool) -> None:
        await asyncio.to_thread(self._control.retarget, runtimes, now_ns=self._clock_ns(), restarted=restarted)
        lanes = {runtime.url: runtime for runtime in runtimes}
        await self._end([url for url in self._tasks if lanes.get(url) != self._lanes.get(url)])
        self._lanes = lanes
        for url, runtime in lanes.items():
            if url not in self._tasks:
                self._wakes[url] = asyncio.Event()
                self._tasks[url] = asyncio.create_task(self._serve(runtime, self._wakes[url]), name=f"outbox {runtime.place}")
        self._wake_all()

    async def _end(self, urls: list[str]) -> None:
        ended = [self._tasks.pop(url) for url in urls]
        for url in urls:
            del self._wakes[url]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    def _wake_all(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    async def _serve(self, runtime: Runtime, wake: asyncio.Event) -> None:
        under_way: set[asyncio.Task[None]] = set()
        try:
            while True:
                wake.clear()
                pause_s = await self._begin(runtime, under_way)
                waking = asyncio.create_task(wake.wait())
                try:
                    done, _ = await asyncio.wait({waking, *under_way}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waking.cancel()
                under_way -= done
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _begin(self, runtime: Runtime, under_way: set[asyncio.Task[None]]) -> float | None:
        """Starts what is due and fits. Returns the seconds until more falls due, None while only an event can bring more."""
        free = self._pace.at_once - len(under_way)
        if free <= 0:
            return None
        try:
            for message in await asyncio.to_thread(self._claim, runtime, free):
                under_way.add(asyncio.create_task(self._attempt(runtime, message)))
            if len(under_way) >= self._pace.at_once:
                return None
            due_ns = await asyncio.to_thread(self._control.next_due, runtime.url)
        except StoreUnavailable as error:
            _log.error("outbox: cannot claim messages, trying again: %s", error)
            return self._pace.base_s
        return None if due_ns is None else max(0.0, (due_ns - self._clock_ns()) / _SECOND)

    def _claim(self, runtime: Runtime, limit: int) -> list[Message]:
        lease_ns = int(self._pace.lease_s * _SECOND)
        return self._control.claim(runtime.url, now_ns=self._clock_ns(), lease_ns=lease_ns, limit=limit)

    async def _attempt(self, runtime: Runtime, message: Message) -> None:
        delivery = Delivery(key=message.message_id, runtime=runtime, body=message.body, attempt=message.attempt, now_ns=self._clock_ns())
        try:
            answer = await self._action.attempt(delivery)
        except Exception as error:  # noqa: BLE001 — logged with its trace
            # A broken promise of the action; the halt must go on all the same.
            _log.exception("outbox: %s raised", self._action.name)
            answer = Answer(reply=Reply.FAILED, detail=f"{runtime.place}: {self._action.name} raised {type(error).__name__}")
        now_ns = self._clock_ns()
        pause_s = self._pace.pause_s(message.attempt, answer.retry_after_s, self._uniform)
        retry_ns = now_ns + int(pause_s * _SECOND)
        try:
            await asyncio.to_thread(self._control.finish, message, answer, now_ns=now_ns, retry_ns=retry_ns, limits=self._limits)
        except StoreUnavailable as error:
            # The lease makes it due again; the receiver recognises the repeat by its id.
            _log.error("outbox: cannot record the answer of %s: %s", runtime.place, error)
        if self._observe is not None:
            self._observe(answer.reply)
