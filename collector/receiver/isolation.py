"""Keeps a request over which processing fails from holding up those that came with it, and from being sent for ever."""

import logging
from collections.abc import Sequence
from typing import Final

from collector.errors import Internal, OvercurrentError, StoreUnavailable
from collector.model import Outcome, Request
from collector.receiver.admission import Process
from collector.receiver.failures import Failures

log = logging.getLogger(__name__)

TRIES: Final = 3
"""How often one request may fail by itself. After a failure the pipeline is made again from the store, so a second try may help."""


class Isolation:
    """A `Process` around another. Whatever that raises, StoreUnavailable apart, is one request's fault until shown otherwise.

    A group that fails is tried again in parts, so that the others of it are committed. One that fails by itself is
    answered StoreUnavailable, and Internal from its third failure on: then its sender stops.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._failures = Failures()

    def __call__(self, requests: Sequence[Request]) -> Sequence[Outcome | OvercurrentError]:
        try:
            return self._process(requests)
        except (StoreUnavailable, MemoryError):
            raise
        except Exception:
            if len(requests) == 1:
                log.exception("processing one request of %s failed", requests[0].signal)
                return [self._failed(requests[0])]
            log.exception("processing a group of %d requests failed; they are tried again in parts", len(requests))
        # Each failure costs a recovery and each part a commit: parts of the square root keep both few.
        part = max(1, int(len(requests) ** 0.5))
        return [answer for first in range(0, len(requests), part) for answer in self(requests[first : first + part])]

    def _failed(self, request: Request) -> OvercurrentError:
        if self._failures.add(request) >= TRIES:
            self._failures.forget(request)
            return Internal("processing this request fails every time; nothing of it was kept, and the log of the service says why")
        return StoreUnavailable("processing failed; nothing was committed, try again")
