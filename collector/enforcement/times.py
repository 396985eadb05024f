"""Times as people and other programs read them."""

from datetime import UTC, datetime


def rfc3339(at_ns: int) -> str:
    """Renders nanoseconds since the epoch in UTC, to the microsecond.

    >>> rfc3339(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456Z'

    A sender's clock may say anything: a time outside the years 1 to 9999 becomes the nearest one inside.
    """
    seconds, rest = divmod(at_ns, 1_000_000_000)
    seconds = min(max(seconds, -62_135_596_800), 253_402_300_799)
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{moment.isoformat()[:19]}.{rest // 1000:06d}Z"
