"""What decoding an export request keeps, and the closed set of reasons for rejecting one of its items."""

from typing import Final

MAX_DEPTH: Final = 32
"""AnyValues nested deeper than this become None."""
MAX_ATTRIBUTES: Final = 1024
"""Attributes kept of one span, event, link, log record or resource; the rest is counted in `dropped`."""
MAX_EVENTS: Final = 1024
"""Events, and links, kept of one span; the rest is counted in `dropped`."""

NO_TRACE_ID: Final = "span without a valid trace id"
NO_SPAN_ID: Final = "span without a valid span id"
WRONG_TYPE: Final = "item of the wrong type"
REASONS: Final = frozenset({NO_TRACE_ID, NO_SPAN_ID, WRONG_TYPE})
"""Every reason an item may be rejected for: a label of bounded cardinality."""

SPAN_PLACE: Final = "resource_spans[{}].scope_spans[{}].spans[{}]"
"""Where a span stands in a protobuf request."""

MAX_TIME: Final = 2**63 - 1
"""Later times, in nanoseconds, are cut to this: the store's timestamps are signed."""
