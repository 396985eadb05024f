"""Processes that read large requests while the ingest thread commits others: what one request says depends on nothing else."""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

import msgspec

from collector.errors import OvercurrentError, StoreUnavailable
from collector.model import Request
from collector.translate import encode, translate

log = logging.getLogger(__name__)

LARGE_BYTES: Final = 32 * 1024
"""Below this the way to another process and back costs more than it saves."""
MAX_PROCESSES: Final = 4
"""By default; one keeps up with the ingest thread."""


def default_processes() -> int:
    """One less than there are processors for this process, at most `MAX_PROCESSES`: the ingest thread needs one."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_PROCESSES, usable - 1)


class Translators:
    """A pool that starts with the first large request; until it is there, and with 0 processes, the ingest thread does it all."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._ready: Future[int] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closed = False

    async def translated(self, request: Request) -> Request:
        """The request with its translation, or as it came where that is left to the ingest thread.

        Raises Malformed, and StoreUnavailable where the process that read it ended: nothing was kept, it may be sent again.
        """
        if not self._processes or self._closed or len(request.body) < LARGE_BYTES:
            return request
        pool = self._pool
        if pool is None or self._ready is None or not self._ready.done():
            if self._starting is None or (pool is None and self._starting.done()):
                self._starting = asyncio.create_task(asyncio.to_thread(self._start), name="overcurrent-translators")
            return request
        try:
            encoded = await asyncio.wrap_future(pool.submit(_translated, request))
        except OvercurrentError:
            raise
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
                log.exception("a process that reads requests ended, others are started; what it was reading is sent again")
            raise StoreUnavailable("the process that was reading the request ended; nothing was kept, try again") from None
        except Exception:
            # The ingest thread fails over it in the same way, and says so.
            log.exception("a request was not translated beside the ingest thread")
            return request
        return msgspec.structs.replace(request, body=b"", translated=encoded)

    def _start(self) -> None:
        # Not by fork: threads of ours hold locks that a copy would never get.
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        context.set_forkserver_preload([__name__])
        pool = ProcessPoolExecutor(self._processes, mp_context=context, initializer=_begin)
        self._ready = pool.submit(os.getpid)
        self._pool = pool

    def close(self) -> None:
        """Ends the processes. What they were reading is cancelled."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    # Signals to the process group are for the service, which ends its helpers itself; where it is killed, they must not stay.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _translated(request: Request) -> bytes:
    return encode(translate(request))
