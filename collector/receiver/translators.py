"""Processes that read large requests while the ingest thread commits others: what one request says depends on nothing else."""

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

import msgspec

from collector.errors import Internal, OvercurrentError, StoreUnavailable
from collector.model import Request
from collector.receiver.failures import Failures
from collector.translate import encode, lay_out, translate

log = logging.getLogger(__name__)

LARGE_BYTES: Final = 32 * 1024
"""Below this the way to another process and back costs more than it saves."""
MAX_PROCESSES: Final = 4
"""By default; one keeps up with the ingest thread."""
_PIPE_BYTES: Final = 2**20
"""What a pipe to or from a process holds: a request at once. Linux gives it to anybody."""
_KEPT_BYTES: Final = 64 * 2**20
"""Free memory that a process keeps for its next request."""
_HEAP_BYTES: Final = 4 * 2**20
"""Larger pieces of memory are the kernel's own, and go back to it at once."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def default_processes() -> int:
    """One less than there are processors for this process, at most `MAX_PROCESSES`: the ingest thread needs one."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_PROCESSES, usable - 1)


class Translators:
    """A pool that starts with the first large request; until it is there, and with 0 processes, the ingest thread does it all.

    Where a process dies, nobody knows over which of the requests that were being read. Each of them, when it is sent again, is
    read in a process of its own, and never by the ingest thread. One over which that dies too is refused from then on.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._ready: Future[int] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closed = False
        self._deaths = Failures()
        self._alone = asyncio.Lock()

    async def translated(self, request: Request) -> Request:
        """The request with its translation, or as it came where that is left to the ingest thread.

        Raises Malformed; StoreUnavailable where the process that read it ended, so that it may be sent again; and Internal where
        such a process ended twice over it.
        """
        if not self._processes or len(request.body) < LARGE_BYTES:
            return request
        if self._deaths.of(request):
            return await self._read_alone(request)
        if self._closed:
            return request
        pool = self._pool
        if pool is None or self._ready is None or not self._ready.done():
            if self._starting is None or (pool is None and self._starting.done()):
                self._starting = asyncio.create_task(asyncio.to_thread(self._start), name="overcurrent-translators")
            return request
        try:
            return await _read(pool, request)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
                log.exception("a process that reads requests ended, others are started; what it was reading is sent again")
            if not self._deaths.of(request):  # a copy of it may have been read at the same time
                self._deaths.add(request)
            raise StoreUnavailable("the process that was reading the request ended; nothing was kept, try again") from None

    async def _read_alone(self, request: Request) -> Request:
        async with self._alone:
            if self._deaths.of(request) > 1:
                raise _deadly()
            pool = await asyncio.to_thread(_pool, 1)
            try:
                read = await _read(pool, request)
            except BrokenProcessPool:
                self._deaths.add(request)
                log.exception("a process of its own ended over a request of %d bytes, which is refused from now on", len(request.body))
                raise _deadly() from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
            self._deaths.forget(request)
            return read

    def _start(self) -> None:
        pool = _pool(self._processes)
        self._ready = pool.submit(os.getpid)
        self._pool = pool

    def close(self) -> None:
        """Ends the processes. What they were reading is cancelled."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


async def _read(pool: ProcessPoolExecutor, request: Request) -> Request:
    """Raises Malformed, and BrokenProcessPool where a process of the pool ended."""
    try:
        encoded = await asyncio.wrap_future(pool.submit(_translated, request))
    except (OvercurrentError, BrokenProcessPool):
        raise
    except Exception:
        # The ingest thread fails over it in the same way, and says so.
        log.exception("a request was not translated beside the ingest thread")
        return request
    return msgspec.structs.replace(request, body=b"", translated=encoded)


def _deadly() -> Internal:
    return Internal("processes that read this request ended twice; nothing of it was kept, and the log of the service says more")


def _pool(processes: int) -> ProcessPoolExecutor:
    # Not by fork: threads of ours hold locks that a copy would never get.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)
    with contextlib.suppress(AttributeError, OSError):  # not Linux, another Python, or a user with many pipes
        # In pieces of 64 KiB, as it is by default, each piece waits for the interpreter, which the ingest thread hardly ever leaves.
        for queue in (pool._call_queue, pool._result_queue):  # type: ignore[attr-defined]  # noqa: SLF001 — no public way
            fcntl.fcntl(queue._writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[union-attr]  # noqa: SLF001
    return pool


def _begin() -> None:
    # Signals to the process group are for the service, which ends its helpers itself; where it is killed, they must not stay.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What requests are read into refers to itself nowhere: it goes without the garbage collector, whose looks cost a sixteenth of the time.
    gc.set_threshold(50_000, 20, 100)
    with contextlib.suppress(AttributeError, OSError):  # a C library other than glibc
        # By default what one request took goes back to the kernel and is asked for again, page by page, by the next: a seventh of the time.
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _HEAP_BYTES)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _translated(request: Request) -> bytes:
    translation = translate(request)
    lay_out([translation])
    return encode(translation)
