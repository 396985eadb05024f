"""Why a step failed, from what the telemetry says about it: one table, first match wins.

The error type (an exception class, an `error.type`) is trusted over a status code, and a code over the words of a
message, which may quote anything.
"""

import re
from typing import Final

from detectors.model import ErrorClass

_BY_TYPE: Final = (
    (ErrorClass.RATE_LIMIT, r"rate.?limit|too.?many.?requests|throttl|quota|resource.?exhausted|overloaded"),
    (ErrorClass.AUTH, r"auth(?!or)|permission|forbidden|access.?denied|credential|token.?expired|unauthenticated"),
    (ErrorClass.TIMEOUT, r"time.?d?.?out|deadline|timeouterror"),
    (
        ErrorClass.SCHEMA,
        r"validation|invalid.?(argument|input|param|tool|type)|schema|json.?decode|parse.?error|type.?error|unprocessable|tool.?retry",
    ),
    (ErrorClass.NOT_FOUND, r"not.?found|no.?such|unknown.?(tool|function|model)|does.?not.?exist"),
)
_BY_CODE: Final = {
    401: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    407: ErrorClass.AUTH,
    404: ErrorClass.NOT_FOUND,
    410: ErrorClass.NOT_FOUND,
    408: ErrorClass.TIMEOUT,
    504: ErrorClass.TIMEOUT,
    422: ErrorClass.SCHEMA,
    429: ErrorClass.RATE_LIMIT,
    529: ErrorClass.RATE_LIMIT,
}
_AUTH_WORDS: Final = (
    r"unauthori[sz]ed|unauthenticated|authentication|forbidden|permission.?denied|access.?denied|not authori[sz]ed"
    r"|(invalid|incorrect|missing|expired).{0,24}(api.?key|token|credential)|(api.?key|token|credential)s?.{0,24}(invalid|expired|missing)"
)
_SCHEMA_WORDS: Final = (
    r"validation ?error|validation failed|(unknown|unexpected|not a( valid)?) parameter"
    r"|invalid (tool )?(argument|input|parameter|json|value|type)|schema|missing required"
    r"|required (field|property|parameter|argument)|field required|unexpected keyword|missing \d+ required|extra inputs"
    r"|argument parsing|failed to parse|malformed|expecting (value|property)|is not of type|unprocessable"
)
_BY_MESSAGE: Final = (
    (
        ErrorClass.RATE_LIMIT,
        r"rate.?limit|too many requests|throttl|quota exceeded|insufficient_quota|resource.?exhausted|overloaded_error",
    ),
    (ErrorClass.AUTH, _AUTH_WORDS),
    (ErrorClass.TIMEOUT, r"timed? ?-?out|deadline exceeded|time limit"),
    (ErrorClass.SCHEMA, _SCHEMA_WORDS),
    (ErrorClass.NOT_FOUND, r"not found|no such|does not exist|unknown (tool|function|model)|doesn't exist"),
)
_TYPE_TABLE: Final = tuple((found, re.compile(pattern, re.IGNORECASE)) for found, pattern in _BY_TYPE)
_MESSAGE_TABLE: Final = tuple((found, re.compile(pattern, re.IGNORECASE)) for found, pattern in _BY_MESSAGE)
_CODE_IN_TEXT: Final = re.compile(r"\b(?:status|code|http|error)\w*\W{1,4}(?:code\W{1,4})?([45]\d\d)\b", re.IGNORECASE)
_LOOKED_AT: Final = 2000
"""Characters of a message that are searched: a message may quote a whole traceback or document."""


def classify(error_type: str | None, message: str | None, code: int | str | None = None) -> ErrorClass | None:
    """Class of a failure; None where nothing at all is known about it.

    `code` is an HTTP status or the name of a gRPC status.

    >>> classify("openai.AuthenticationError", None).value
    'auth'
    >>> classify(None, "Error code: 429 - slow down").value
    'rate_limit'
    >>> classify(None, None) is None
    True
    """
    if not error_type and not message and code is None:
        return None
    if error_type:
        # An exception's module may be named after anything; its class says what went wrong.
        for found, pattern in _TYPE_TABLE:
            if pattern.search(error_type.rpartition(".")[2]):
                return found
    known = _by_code(code if code is not None else error_type)
    if known is not None:
        return known
    if message:
        text = message[:_LOOKED_AT]
        in_text = _CODE_IN_TEXT.search(text)
        known = _BY_CODE.get(int(in_text[1])) if in_text else None
        if known is not None:
            return known
        for found, pattern in _MESSAGE_TABLE:
            if pattern.search(text):
                return found
    return ErrorClass.OTHER


def _by_code(code: int | str | None) -> ErrorClass | None:
    if isinstance(code, int):
        return _BY_CODE.get(code)
    if not code:
        return None
    if code.isascii() and code.isdigit() and len(code) == 3:
        return _BY_CODE.get(int(code))
    for found, pattern in _TYPE_TABLE:
        if pattern.search(code):
            return found
    return None
