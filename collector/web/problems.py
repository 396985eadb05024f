"""Every error of the API in one shape, RFC 9457 problem details, the framework's own included."""

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from collector.errors import Malformed, NotFound, OvercurrentError
from collector.receiver.status import PROBLEM_JSON, WRONG_METHOD, HttpRefusal, problem_response

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "RFC 9457 problem details: the shape of every error.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "`urn:overcurrent:error:<reason>`; stays the same across releases."},
        "title": {"type": "string", "description": "The kind of error, for people."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong and what to do, in one line."},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "candidates": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The full keys (`tenant/namespace/session`) that an ambiguous id may mean; each is accepted in its place.",
        },
        "retry_after_s": {"type": "number", "description": "Seconds after which trying again may help."},
        "reasons": {"type": "array", "items": {"type": "string"}, "description": "Why the service is not ready."},
    },
}


def install(app: FastAPI) -> None:
    """Makes `app` answer every error as problem details."""
    app.add_exception_handler(OvercurrentError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _unexpected)


def describe(document: dict[str, Any]) -> None:
    """Puts the shape of errors into an OpenAPI document, in place of the framework's own."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = PROBLEM_SCHEMA
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["4XX"] = {"description": "The request is at fault.", "content": content}
            operation["responses"]["5XX"] = {"description": "The service is at fault, or not ready.", "content": content}


async def _ours(request: Request, error: Exception) -> Response:
    return problem_response(error, instance=_instance(request))


async def _invalid(request: Request, error: Exception) -> Response:
    # Without the rejected input, which FastAPI would repeat: it may be a secret sent to the wrong place.
    places = error.errors() if isinstance(error, RequestValidationError) else []
    texts = [f"{'.'.join(str(part) for part in place['loc'])}: {place['msg']}" for place in places]
    return problem_response(Malformed("; ".join(texts) or "the request is invalid"), instance=_instance(request))


async def _framework(request: Request, error: Exception) -> Response:
    answer: OvercurrentError = Malformed("the request cannot be read")
    if isinstance(error, HTTPException) and error.status_code == 404:
        answer = NotFound(f"nothing is at {_instance(request)}; what there is: /openapi.json")
    elif isinstance(error, HTTPException) and error.status_code == 405:
        answer = HttpRefusal(f"{request.method} is not allowed here", WRONG_METHOD, error.headers)
    elif isinstance(error, HTTPException):
        answer = Malformed(str(error.detail))
    return problem_response(answer, instance=_instance(request))


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server above logs it: Starlette raises it again once this answer is sent.
    return problem_response(error, instance=_instance(request))


def _instance(request: Request) -> str:
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return raw.split(b"?", 1)[0].decode("ascii", "backslashreplace")[:500]
