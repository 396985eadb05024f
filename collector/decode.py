"""OTLP export requests as bytes → spans and log records as plain Python values.

Everything a sender can get wrong ends in one of two ways: the whole request is `Malformed` (the bytes are not what they
claim to be), or one item is `Rejected` with a reason of `REASONS` and the rest of the request is kept.
"""

import logging
from typing import Final

from google.protobuf.message import DecodeError

from collector import decode_columns, decode_json, decode_protobuf
from collector.decode_limits import REASONS
from collector.model import Request
from collector.telemetry_data import Decoded

__all__ = ["REASONS", "decode"]

logger = logging.getLogger(__name__)

_COLUMNS_FROM: Final = 64 * 1024
"""Bytes of a request from which decoding by columns is cheaper: it costs more to set up and less per span."""


def decode(request: Request) -> Decoded:
    """Decodes one request. Raises Malformed where the bytes are not an OTLP request of this signal and encoding."""
    if request.encoding == "json":
        return decode_json.SIGNALS[request.signal](decode_json.document(request.body))
    if request.signal == "traces" and len(request.body) >= _COLUMNS_FROM:
        try:
            return decode_columns.traces(request.body)
        except (ValueError, DecodeError):
            pass  # Read message by message, it either is understood after all, or what is wrong with it is said.
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 — a panic of the native library is no Exception, and would end the ingest thread
            logger.error("decoding by columns failed over a request, which is read message by message: %s", type(error).__name__)  # noqa: TRY400 — the text may hold data
    return decode_protobuf.SIGNALS[request.signal](request.body)
