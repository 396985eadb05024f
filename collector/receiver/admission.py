"""The door between many asynchronous senders and the one thread that writes."""

import asyncio
import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from collector.errors import OvercurrentError, Overloaded, StoreUnavailable
from collector.model import Outcome, Protocol, Request, Signal
from collector.receiver.status import INVALID_ITEMS
from collector.receiver.telemetry import IngestTelemetry, NoTelemetry

T = TypeVar("T")
Process = Callable[[Sequence[Request]], Sequence[Outcome | OvercurrentError]]
"""Commits a group of requests and answers each, in order. Runs on the worker thread. What it returns is durable."""

Prepare = Callable[[Request], Awaitable[Request]]

log = logging.getLogger(__name__)

REQUEST_OVERHEAD_BYTES = 1024
"""What a request costs beside its body, so that a flood of empty requests fills the queue too."""
SMALL_BYTES: Final = 8 * 1024
"""Of requests that take less than this on average, the commit is the dearest part: it is worth waiting for company."""
GATHER_S: Final = 0.025
"""The longest such wait."""
PAUSE_S: Final = 0.004
"""So long without another request ends it."""

Result = Outcome | OvercurrentError


class _Waiting(NamedTuple):
    request: Request
    cost: int
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Result]"


class Hold:
    """Bytes of a request that is still being read. They count against the same limit as those that wait."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self._bytes = 0

    def set(self, n: int) -> None:
        """Counts `n` bytes in all. Raises Overloaded when there is no room for them."""
        if n > self._bytes:
            self._admission._take(n - self._bytes, own=self._bytes)  # noqa: SLF001 — two halves of one counter
        else:
            self._admission._give(self._bytes - n)  # noqa: SLF001
        self._bytes = n


class Admission:
    """A queue bounded in bytes in front of one worker thread that commits many requests at once.

    A request counts from its admission to its answer. Requests are processed in the order in which they were admitted, or
    prepared where that is done elsewhere.
    `submit` may be called from any event loop; everything else from any thread.
    """

    def __init__(
        self,
        process: Process,
        *,
        queue_bytes: int,
        max_group_bytes: int = 32 * 2**20,
        max_group_requests: int = 512,
        retry_after_s: float = 1.0,
        telemetry: IngestTelemetry | None = None,
        prepare: Prepare | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """`prepare` may do part of the work beforehand, elsewhere; while it does the request counts as one that waits.

        `settle` runs on the worker thread once requests are answered and no other waits, and before each call: what `process`
        put off is done then.
        """
        self._settle = settle
        self._process = process
        self._prepare = prepare
        self._limit = queue_bytes
        self._max_group_bytes = max_group_bytes
        self._max_group_requests = max_group_requests
        self._retry_after_s = retry_after_s
        self._telemetry = telemetry or NoTelemetry()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        """The same lock, with a bell for the worker."""
        self._queue: deque[_Waiting] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._depth = 0
        self._expected = 1
        """How many senders of small requests there seem to be: it is worth waiting a little for all of them."""
        self._gathering = False
        self._stopping = False
        self._worker: threading.Thread | None = None

    @property
    def depth_bytes(self) -> int:
        """Bytes of requests being read, waiting, or being committed."""
        return self._depth

    def start(self) -> None:
        """Starts the worker. What was submitted before it is processed now."""
        self._worker = threading.Thread(target=self._run, name="overcurrent-ingest", daemon=True)
        self._worker.start()

    def hold(self) -> Hold:
        """Room for a request whose body is still arriving."""
        return Hold(self)

    async def submit(self, request: Request) -> Outcome:
        """Returns after the commit of the request.

        Raises Overloaded at once when the queue is full, StoreUnavailable when nothing was committed, and whatever error
        `process` answered. Cancelling takes a request that still waits out of the queue; one under way is committed.
        """
        loop = asyncio.get_running_loop()
        cost = len(request.body) + REQUEST_OVERHEAD_BYTES
        self._take(cost)
        try:
            if self._prepare is not None:
                request = await self._prepare(request)
            waiting = _Waiting(request, cost, loop, loop.create_future())
            self._enqueue(waiting)
        except BaseException:
            self._give(cost)
            raise
        result = await waiting.answer
        if isinstance(result, OvercurrentError):
            raise result
        return result

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Runs `function` on the worker thread between two groups, ahead of waiting requests, in the order of the calls.

        Never wait for the answer on the worker thread itself. After the stop the future fails with StoreUnavailable.
        """
        future: Future[T] = Future()
        with self._wake:
            if self._stopping:
                future.set_exception(_stopping())
            else:
                self._calls.append((future, function))
                self._wake.notify()
        return future

    def drain_and_stop(self, timeout: float) -> bool:
        """Refuses what is new, processes what waits, ends the worker; whether that took less than `timeout` seconds.

        When it did not, what still waits is answered StoreUnavailable, so that senders keep it. Blocks: from an event loop
        call it through `asyncio.to_thread`, or nobody is told.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._worker is not None:
            self._worker.join(timeout)
            if not self._worker.is_alive():
                return True
        with self._lock:
            group, calls = list(self._queue), list(self._calls)
            self._queue.clear()
            self._calls.clear()
        self._give(sum(waiting.cost for waiting in group))
        _answer(group, [_stopping() for _ in group])
        for future, _ in calls:
            future.set_exception(_stopping())
        return self._worker is None and not group and not calls

    def _enqueue(self, waiting: _Waiting) -> None:
        with self._wake:
            if self._stopping:
                raise _stopping()
            self._queue.append(waiting)
            if not self._gathering or len(self._queue) >= self._expected:
                self._wake.notify()

    def _take(self, n: int, *, own: int = 0) -> None:
        with self._wake:
            if self._stopping:
                raise _stopping()
            # a request that is alone is always let in: it cannot help to wait until there is even less
            if self._depth > own and self._depth + n > self._limit:
                raise Overloaded(
                    f"{self._depth} of {self._limit} bytes wait for their commit; try again later", retry_after_s=self._retry_after_s
                )
            self._depth += n

    def _give(self, n: int) -> None:
        with self._lock:
            self._depth -= n

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._queue or self._calls or self._stopping):
                    self._wake.wait()
                self._gather()
                calls = list(self._calls)
                self._calls.clear()
                group = self._next_group()
                if not calls and not group and self._stopping:
                    return
            if calls:
                self._catch_up()
            for future, function in calls:
                _run_call(future, function)
            if group:
                self._commit(group)
                if len(self._queue) < self._expected:  # it would be waiting
                    self._catch_up()

    def _catch_up(self) -> None:
        try:
            self._settle()
        except Exception:
            log.exception("what was put off was not done; the next call tries again")

    def _gather(self) -> None:
        """Waits for the others where several senders of small requests send again as soon as they are answered."""
        self._gathering = True
        end = time.perf_counter() + GATHER_S
        while 0 < len(self._queue) < self._expected and not (self._calls or self._stopping) and time.perf_counter() < end:
            before = len(self._queue)
            self._wake.wait(PAUSE_S)
            if len(self._queue) == before:
                break
        self._gathering = False

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._queue and len(group) < self._max_group_requests:
            size += self._queue[0].cost
            if group and size > self._max_group_bytes:
                break
            group.append(self._queue.popleft())
        return group

    def _commit(self, group: list[_Waiting]) -> None:
        # a sender that gave up sends again: committing for nobody would only lengthen the queue it gave up on
        wanted = [waiting for waiting in group if not waiting.answer.cancelled()]
        started = time.perf_counter()
        results: Sequence[Result] = []
        try:
            if wanted:
                results = self._process([waiting.request for waiting in wanted])
                if len(results) != len(wanted):
                    raise RuntimeError(f"process answered {len(results)} of {len(wanted)} requests")  # noqa: TRY301
        except StoreUnavailable as error:
            log.error("nothing of %d requests was committed: %s", len(wanted), error.message)  # noqa: TRY400 — said where it arose
            results = [StoreUnavailable(error.message) for _ in wanted]
        except Exception:
            log.exception("processing a group of %d requests failed; their senders are told to retry", len(wanted))
            results = [StoreUnavailable("processing failed; nothing was committed, try again") for _ in wanted]
        if wanted:
            self._telemetry.commit_seconds(time.perf_counter() - started)
        cost = sum(waiting.cost for waiting in group)
        self._give(cost)
        small = cost < len(group) * SMALL_BYTES
        self._expected = min(len(group) + len(self._queue), self._max_group_requests) if small else 1
        self._count(wanted, results)
        _answer(wanted, results)

    def _count(self, answered: Sequence[_Waiting], results: Sequence[Result]) -> None:
        received: Counter[tuple[Signal, Protocol]] = Counter()
        rejected = 0
        for waiting, result in zip(answered, results, strict=True):
            if isinstance(result, Outcome):
                received[waiting.request.signal, waiting.request.protocol] += result.accepted + result.rejected
                rejected += result.rejected
        for (signal, protocol), items in received.items():
            self._telemetry.received(signal, protocol, items)
        if rejected:
            self._telemetry.rejected(INVALID_ITEMS, rejected)


def _run_call(future: "Future[Any]", function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 — belongs to whoever waits, not to the worker
        future.set_exception(error)


def _answer(answered: Sequence[_Waiting], results: Sequence[Result]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Result], Result]]] = defaultdict(list)
    for waiting, result in zip(answered, results, strict=True):
        by_loop[waiting.loop].append((waiting.answer, result))
    for loop, answers in by_loop.items():
        try:
            # once per group and not per request: each call wakes the loop through a socket
            loop.call_soon_threadsafe(_deliver, answers)
        except RuntimeError:
            log.warning("%d answers had nobody left to hear them", len(answers))


def _deliver(answers: "list[tuple[asyncio.Future[Result], Result]]") -> None:
    for future, result in answers:
        if not future.done():
            future.set_result(result)


def _stopping() -> StoreUnavailable:
    return StoreUnavailable("the service is stopping; try again shortly")
