import inspect
import json

import grpc
import pytest

from collector import errors
from collector.errors import Ambiguous, NotFound, OvercurrentError, Overloaded, Unauthorised
from collector.receiver.status import INTERNAL, REASONS, TABLE, answer_of, headers_of, message_of, problem, problem_response, rpc_status

KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, OvercurrentError) and kind is not OvercurrentError
]


def make(kind: type[OvercurrentError]) -> OvercurrentError:
    return Ambiguous("which?", ["a", "b"]) if kind is Ambiguous else kind("why")


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_row(kind: type[OvercurrentError]) -> None:
    assert kind in TABLE
    assert answer_of(make(kind)).reason in REASONS


@pytest.mark.parametrize("kind", KINDS)
def test_retryable_errors_and_only_they_are_told_to_retry(kind: type[OvercurrentError]) -> None:
    error = make(kind)
    answer = answer_of(error)
    # what OTLP allows senders to repeat
    assert kind.retryable == (answer.http in {429, 502, 503, 504})
    assert kind.retryable == bool(rpc_status(error).details)
    assert kind.retryable == ("retry-after" in headers_of(error))
    if kind.retryable:
        assert answer.code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


def test_the_kind_of_unauthorised_decides() -> None:
    assert answer_of(Unauthorised("who?")).http == 401
    assert answer_of(Unauthorised("no", forbidden=True)).http == 403


def test_a_subclass_takes_the_row_of_its_parent() -> None:
    class Lost(NotFound):
        pass

    assert answer_of(Lost("gone")).http == 404


def test_errors_that_are_not_ours_say_nothing() -> None:
    error = ValueError("the data")
    assert answer_of(error) is INTERNAL
    assert "the data" not in message_of(error)
    assert "the data" not in json.dumps(problem(error))


def test_problem_details() -> None:
    response = problem_response(Ambiguous("x names 2 sessions", ["a/b/x", "c/d/x"]), instance="/api/v1/sessions/x")
    assert (response.status_code, response.media_type) == (409, "application/problem+json")
    assert json.loads(bytes(response.body)) == {
        "type": "urn:overcurrent:error:ambiguous",
        "title": "The id names several things",
        "status": 409,
        "detail": "x names 2 sessions",
        "instance": "/api/v1/sessions/x",
        "candidates": ["a/b/x", "c/d/x"],
    }
    busy = problem_response(Overloaded("full", retry_after_s=0.2))
    assert busy.headers["retry-after"] == "1"
    assert json.loads(bytes(busy.body))["retry_after_s"] == 0.2
