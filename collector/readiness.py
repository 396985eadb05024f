"""Why the service cannot do its work, part by part: said once when it begins, once when it ends, and at /readyz in between."""

import logging
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

TELEMETRY: Final = "telemetry store"
CONTROL: Final = "control store"
_MEANS: Final = {
    TELEMETRY: "senders are told to retry",
    CONTROL: "halts and the list of sessions wait; telemetry is taken",
}
STUCK_S: Final = 10.0
"""The ingest thread goes round once a second; a group of requests takes less than this unless the disk hangs."""


class Readiness:
    """What fails now. One thread sets it; any may ask."""

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._reasons: dict[str, str] = {}
        self._round_s: float | None = None

    def went_round(self) -> None:
        """The ingest thread has come round once more."""
        self._round_s = self._clock_s()

    def fails(self, part: str, message: str) -> None:
        """`part` does not work, as `message` says in one line."""
        if part not in self._reasons:
            logger.error("the %s fails, %s: %s (docs/operations.md says what to do)", part, _MEANS[part], message)
        self._reasons[part] = message

    def works(self, part: str) -> None:
        """`part` works, perhaps again."""
        if self._reasons.pop(part, None) is not None:
            logger.warning("the %s works again", part)

    def failing(self, part: str) -> bool:
        return part in self._reasons

    def reasons(self) -> list[str]:
        """One line for each part that fails: which, what that means, and what it says."""
        reasons = [f"the {part} fails, {_MEANS[part]}: {message}" for part, message in list(self._reasons.items())]
        stuck_s = 0.0 if self._round_s is None else self._clock_s() - self._round_s
        if stuck_s > STUCK_S:
            reasons.append(
                f"the ingest thread has not come round for {stuck_s:.0f} s: the disk hangs or is too slow; nothing is acknowledged"
            )
        return reasons
