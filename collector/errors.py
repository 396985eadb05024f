"""Every error of our own, as a tree. One bit decides everything else: whether trying again would help.

OvercurrentError
├── ConfigError               the configuration is wrong; names the key and the fix (exit 2)
├── Malformed                 the sender's bytes are not what they claim to be; never retry (400, INVALID_ARGUMENT)
├── TooLarge                  the request is above a stated limit; never retry as it is (413, RESOURCE_EXHAUSTED without RetryInfo)
├── Unauthorised              no token, an unknown token, or one without the scope (401/403, UNAUTHENTICATED/PERMISSION_DENIED)
├── NotFound                  there is no such session, finding, halt … (404)
├── Ambiguous                 the bare id names several sessions; lists them (409)
├── Refused                   understood and declined: the policy, a state or a mode forbids it (409)
├── Overloaded                a queue is full; retry after `retry_after_s` (503, RESOURCE_EXHAUSTED with RetryInfo)
├── Internal                  we fail over this very request every time; never retry (500, INTERNAL)
└── StoreUnavailable          the disk refused; nothing was acknowledged; retry (503, UNAVAILABLE)
"""


class OvercurrentError(Exception):
    """Base of all our errors. `message` is one line for a person: what is wrong, where, what to do."""

    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(OvercurrentError):
    """The configuration is wrong. The message quotes the key and says the fix."""


class Malformed(OvercurrentError):
    """The request cannot be read. Sending the same bytes again cannot help."""


class TooLarge(OvercurrentError):
    """The request is above a stated limit, compressed or decompressed."""


class Unauthorised(OvercurrentError):
    """No valid token, or a valid one without the scope needed (`forbidden`)."""

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class NotFound(OvercurrentError):
    """What was asked for does not exist."""


class Ambiguous(OvercurrentError):
    """A bare session id that names several sessions."""

    def __init__(self, message: str, candidates: list[str]) -> None:
        super().__init__(message)
        self.candidates = candidates


class Refused(OvercurrentError):
    """Understood and declined: a mode, a state or the policy forbids it."""


class Overloaded(OvercurrentError):
    """A bounded queue is full."""

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Internal(OvercurrentError):
    """An error of our own that the same request brings about again. Nothing of it was kept."""


class StoreUnavailable(OvercurrentError):
    """The store could not commit. Nothing of the request was kept or acknowledged."""

    retryable = True
