"""The one table of answers: which error becomes which gRPC code and which HTTP status. Nothing else decides that."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # ships no stubs
from starlette.responses import Response

from collector.errors import (
    Ambiguous,
    ConfigError,
    Internal,
    Malformed,
    NotFound,
    OvercurrentError,
    Overloaded,
    Refused,
    StoreUnavailable,
    TooLarge,
    Unauthorised,
)
from collector.model import Encoding


class Answer(NamedTuple):
    """How one kind of error is told. `reason` names it in metrics and in the type of problem details; `title` is for people."""

    code: grpc.StatusCode
    http: int
    reason: str
    title: str


INTERNAL: Final = Answer(grpc.StatusCode.INTERNAL, 500, "internal", "An error of our own")
TABLE: Final[Mapping[type[Exception], Answer]] = {
    ConfigError: Answer(grpc.StatusCode.INVALID_ARGUMENT, 422, "config", "The configuration is wrong"),
    Malformed: Answer(grpc.StatusCode.INVALID_ARGUMENT, 400, "malformed", "The request cannot be read"),
    TooLarge: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, 413, "too_large", "The request is above a limit"),
    Unauthorised: Answer(grpc.StatusCode.UNAUTHENTICATED, 401, "unauthenticated", "A valid token is needed"),
    NotFound: Answer(grpc.StatusCode.NOT_FOUND, 404, "not_found", "There is no such thing"),
    Ambiguous: Answer(grpc.StatusCode.FAILED_PRECONDITION, 409, "ambiguous", "The id names several things"),
    Refused: Answer(grpc.StatusCode.FAILED_PRECONDITION, 409, "refused", "The request is declined"),
    Overloaded: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, 503, "overloaded", "A queue is full"),
    Internal: INTERNAL,
    StoreUnavailable: Answer(grpc.StatusCode.UNAVAILABLE, 503, "unavailable", "The store cannot commit"),
}
FORBIDDEN: Final = Answer(grpc.StatusCode.PERMISSION_DENIED, 403, "forbidden", "The token does not allow this")
UNSUPPORTED_MEDIA: Final = Answer(grpc.StatusCode.INVALID_ARGUMENT, 415, "unsupported_media", "The encoding is not supported")
WRONG_METHOD: Final = Answer(grpc.StatusCode.UNIMPLEMENTED, 405, "wrong_method", "The method is not allowed here")
TIMED_OUT: Final = Answer(grpc.StatusCode.DEADLINE_EXCEEDED, 408, "timed_out", "The request did not arrive in time")
INVALID_ITEMS: Final = "invalid"
"""Reason of items that were individually bad in a request that was kept."""

REASONS: Final = frozenset(
    {answer.reason for answer in (*TABLE.values(), FORBIDDEN, INTERNAL, UNSUPPORTED_MEDIA, WRONG_METHOD, TIMED_OUT)} | {INVALID_ITEMS}
)
"""Every value that `IngestTelemetry.rejected` may be given."""

PROBLEM_JSON = "application/problem+json"
_MEDIA_TYPES: Mapping[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}


class HttpRefusal(OvercurrentError):
    """A refusal that only HTTP knows: a method, a media type, a body that never came."""

    def __init__(self, message: str, answer: Answer, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = answer
        self.headers = dict(headers or {})


def answer_of(error: Exception) -> Answer:
    """The row of the table for `error`; what is not ours is INTERNAL/500."""
    if isinstance(error, HttpRefusal):
        return error.answer
    if isinstance(error, Unauthorised) and error.forbidden:
        return FORBIDDEN
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)


def message_of(error: Exception) -> str:
    """What the other side may read. Of an error that is not ours it reads nothing: the text may hold data."""
    return error.message if isinstance(error, OvercurrentError) else "an error of our own; the log of the service has it"


def retry_after_s(error: Exception) -> float | None:
    """Seconds to wait before trying again; None where trying again cannot help."""
    if isinstance(error, Overloaded):
        return error.retry_after_s
    return 1.0 if isinstance(error, OvercurrentError) and error.retryable else None


def retry_info(error: Exception) -> error_details_pb2.RetryInfo | None:
    """google.rpc.RetryInfo of a retryable error, None of another."""
    seconds = retry_after_s(error)
    if seconds is None:
        return None
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(int(seconds * 1e9))
    return info


def rpc_status(error: Exception) -> status_pb2.Status:
    """google.rpc.Status of `error`, with RetryInfo where trying again may help."""
    status = status_pb2.Status(code=answer_of(error).code.value[0], message=message_of(error))
    info = retry_info(error)
    if info is not None:
        status.details.add().Pack(info)
    return status


def headers_of(error: Exception) -> dict[str, str]:
    """Headers that belong to the status: Retry-After in whole seconds, WWW-Authenticate, Allow."""
    headers = dict(error.headers) if isinstance(error, HttpRefusal) else {}
    seconds = retry_after_s(error)
    if seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(seconds)))
    if isinstance(error, Unauthorised) and not error.forbidden:
        headers["www-authenticate"] = 'Bearer realm="overcurrent"'
    return headers


def otlp_response(error: Exception, encoding: Encoding) -> Response:
    """The answer of OTLP/HTTP: google.rpc.Status in the encoding of the request."""
    status = rpc_status(error)
    body = status.SerializeToString() if encoding == "protobuf" else json_format.MessageToJson(status, indent=None).encode()
    return Response(body, answer_of(error).http, headers_of(error), _MEDIA_TYPES[encoding])


def problem(error: Exception, *, instance: str | None = None) -> dict[str, Any]:
    """RFC 9457 problem details of `error`, as a JSON object.

    `type` is `urn:overcurrent:error:<reason>` and stays the same across releases; `candidates` and `retry_after_s`
    are there for the errors that have them.
    """
    answer = answer_of(error)
    details: dict[str, Any] = {
        "type": f"urn:overcurrent:error:{answer.reason}",
        "title": answer.title,
        "status": answer.http,
        "detail": message_of(error),
    }
    if instance is not None:
        details["instance"] = instance
    if isinstance(error, Ambiguous):
        details["candidates"] = error.candidates
    seconds = retry_after_s(error)
    if seconds is not None:
        details["retry_after_s"] = seconds
    return details


def problem_response(error: Exception, *, instance: str | None = None) -> Response:
    """The answer of the web API to any error: status, headers and problem details."""
    return Response(json.dumps(problem(error, instance=instance)), answer_of(error).http, headers_of(error), PROBLEM_JSON)
