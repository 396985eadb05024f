"""Event time: how far the telemetry itself says that time has come."""

SKEW_NS = 300 * 10**9
"""How far ahead of its arrival a sender's clock is believed: five minutes, twice what TLS or Kerberos tolerate."""

JUMP_NS = 24 * 3600 * 10**9
"""Without arrival times (replay): a jump ahead by more than a day needs a second span to confirm it."""


class Watermark:
    """The largest event time believed so far, in nanoseconds; 0 before the first.

    One span from the year 2100 moves nothing: with an arrival time it is clamped to that, without one it must be
    confirmed by a later commit that reaches about as far.
    """

    def __init__(self) -> None:
        self.at_ns = 0
        self.clamped = 0
        """Commits whose event time was not believed."""
        self._suspect_ns: int | None = None

    def advance(self, times_ns: list[int], arrival_ns: int | None) -> int:
        """Takes in the end times of one commit, in any order; returns the watermark."""
        if not times_ns:
            return self.at_ns
        if arrival_ns is not None:
            latest = max(times_ns)
            if latest > arrival_ns + SKEW_NS:
                self.clamped += 1
                latest = max((t for t in times_ns if t <= arrival_ns + SKEW_NS), default=0)
            self.at_ns = max(self.at_ns, latest)
            return self.at_ns
        ordered = sorted(times_ns)
        if not self.at_ns:
            self.at_ns = ordered[(len(ordered) - 1) // 2]
        near = [t for t in ordered if t <= self.at_ns + JUMP_NS]
        if near:
            self.at_ns = max(self.at_ns, near[-1])
        far = ordered[len(near) :]
        if far:
            if self._suspect_ns is not None and abs(far[0] - self._suspect_ns) <= JUMP_NS:
                self.at_ns, self._suspect_ns = far[0], None
            else:
                self.clamped += 1
                self._suspect_ns = far[0]
        return self.at_ns
