"""CPU time of chosen functions, each without what the other chosen ones inside it take."""

import functools
import importlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_CALIBRATION_CALLS = 20_000


class Clocks:
    """Puts a clock of the calling thread around functions. Meant for one thread.

    What the clocks themselves cost is measured once and taken off again, both in the function and around it.
    """

    def __init__(self) -> None:
        self._inside_ns = self._around_ns = 0.0
        self._spent: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._called_from: dict[str, int] = {}
        self._stack: list[list[Any]] = []
        self.missing: list[str] = []
        self._calibrate()

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time counted for `stage`."""
        stack, spent, calls, called_from = self._stack, self._spent, self._calls, self._called_from
        spent.setdefault(stage, 0)
        calls.setdefault(stage, 0)
        called_from.setdefault(stage, 0)
        now = time.thread_time_ns

        @functools.wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            frame: list[Any] = [stage, 0]
            stack.append(frame)
            started = now()
            try:
                return function(*args, **kwargs)
            finally:
                took = now() - started
                stack.pop()
                spent[stage] += took - frame[1]
                calls[stage] += 1
                if stack:
                    stack[-1][1] += took
                    called_from[stack[-1][0]] += 1

        return clocked

    @contextmanager
    def around(self, places: Iterable[tuple[str, str]]) -> Iterator[None]:
        """Clocks (stage, `module:name` or `module:Class.name`) while the `with` lasts; what is not there is noted in `missing`."""
        changed: list[tuple[Any, str, Any]] = []
        try:
            for stage, place in places:
                module, _, path = place.partition(":")
                *outer, name = path.split(".")
                try:
                    owner: Any = functools.reduce(getattr, outer, importlib.import_module(module))
                    function = getattr(owner, name)
                except (ImportError, AttributeError):
                    self.missing.append(place)
                    continue
                changed.append((owner, name, vars(owner).get(name, function)))
                setattr(owner, name, self.wrap(stage, function))
            yield
        finally:
            for owner, name, function in reversed(changed):
                setattr(owner, name, function)

    def reset(self) -> None:
        for sums in (self._spent, self._calls, self._called_from):
            for stage in sums:
                sums[stage] = 0

    def seconds(self) -> dict[str, float]:
        """CPU seconds by stage since the last reset."""
        return {
            stage: max(0.0, spent - self._calls[stage] * self._inside_ns - self._called_from[stage] * self._around_ns) / 1e9
            for stage, spent in self._spent.items()
        }

    def _calibrate(self) -> None:
        def nothing() -> None:
            pass

        inner = self.wrap("inner", nothing)

        def repeat(function: Callable[[], Any]) -> None:
            for _ in range(_CALIBRATION_CALLS):
                function()

        started = time.thread_time_ns()
        repeat(nothing)
        bare = time.thread_time_ns() - started
        self.wrap("outer", repeat)(inner)
        self._inside_ns = max(0.0, (self._spent["inner"] - bare) / _CALIBRATION_CALLS)
        self._around_ns = max(0.0, self._spent["outer"] / _CALIBRATION_CALLS)
        for sums in (self._spent, self._calls, self._called_from):
            sums.clear()
