"""A tool or provider that refuses the agent's credentials."""

import re
from collections import deque
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import ErrorClass, EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures
from detectors.text import quote

_LLM: Final = StepKind.LLM
_QUOTE: Final = 160
_TOOLS: Final = 16
"""Tools and models whose refusals are counted at a time."""
_SHORT: Final = 400
"""Characters up to which a result that is not marked as an error is read at all."""
_READ: Final = 240
"""Characters of a message that are read."""
_REFUSED: Final = re.compile(
    r"\b(?:http|status|code|error)[\s:=_-]*(?:code[\s:=]*)?(?:401|403)\b|\b40[13] (?:unauthori[sz]ed|forbidden|client error)|"
    r"\bunauthori[sz]ed\b|\b(?:not|un)[ _-]?authenticated\b|\bauthentication[ _-]?(?:failed|error|required)\b|"
    r"\b(?:token|key|credentials?|secret|session|certificate|password)[\w' ]{0,32} (?:expired|revoked|rejected)\b|"
    r"\bexpired (?:\w+ )?(?:token|key|credentials?|certificate)\b|"
    r"\b(?:invalid|incorrect|missing|bad)[ _-](?:\w+[ _-])?(?:api[ _-]?key|token|credentials?)\b|\binvalid_(?:grant|token|client)\b|"
    r"\bcertificate[ _](?:verify[ _]failed|has expired|is not yet valid)\b|\bx509\b|\bssl[ :]*certificate"
)
_SIGNS: Final = (
    *("401", "403", "unauthori", "authenticat", "expired", "revoked", "rejected", "certificate", "x509"),
    *("invalid", "incorrect", "missing", "bad"),
)
"""One of these is in every text that `_REFUSED` finds something in."""


class CredentialFailureConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When refused credentials are worth telling."""

    warn_refusals: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Refusals of one tool, without a success between, from which to warn."""


class _Refused(msgspec.Struct):
    """What one tool refused since it last let the agent in."""

    since: int
    seqs: deque[int]
    calls: int = 0


class CredentialFailure(Detector[CredentialFailureConfig]):
    """A tool or a model provider refuses the agent's credentials: 401, 403, an expired token, a bad certificate.

    **Why it costs.** An agent cannot renew a credential. It retries, tries another way round, and apologises, and every
    other session with the same credential does the same.

    **When it is wrong.** It fires on an agent that is rightly refused what it may not have, and on a text about credentials
    in a short result. It misses refusals dressed as empty answers, and fewer than `warn_refusals` a session: those are for
    the fleet to add up. It warns and never asks for a halt; retrying what is refused is for `retry_storm`.

    **Parameters** (`Config`): `warn_refusals` (calls of one tool).

    **Examples.** A token that has expired:

    >>> from detectors.testing import run, session, tool
    >>> refused = [tool("crm_search", {"q": name}, "401 Unauthorized: token expired", error=True) for name in ("Ada", "Bo", "Cy")]
    >>> [(step.seq, signal.severity.value) for step, signal in run(CredentialFailure, session(*refused))]
    [(3, 'warning')]

    A page that is for others only, once:

    >>> run(CredentialFailure, session(tool("open", "/admin", "403 Forbidden", error=True), tool("open", "/home", "Welcome")))
    []

    **References.** Status codes 401 and 403: RFC 9110, sections 15.5.2 and 15.5.4. `invalid_token`: RFC 6750, section 3.1.
    """

    name: ClassVar[str] = "credential_failure"
    halt_reason: ClassVar[str | None] = "credential_failure"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL, StepKind.RETRIEVAL, StepKind.LLM})
    Config: ClassVar[type[msgspec.Struct]] = CredentialFailureConfig

    __slots__ = ("_open", "_refused")

    def __init__(self, config: CredentialFailureConfig) -> None:
        super().__init__(config)
        self._refused: dict[str, _Refused] | None = None
        self._open: str | None = None

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — the answer says it all
        """Counts a refusal, and answers from the third on."""
        if not step.error and (step.result is None or step.kind is _LLM):
            return self._let_in(step, self._refused) if self._refused else None
        if not refused(step):
            return self._let_in(step, self._refused) if self._refused and not step.error else None
        name = f"{step.kind.value}:{step.name}"
        if self._refused is None:
            self._refused = {}
        one = self._refused.get(name)
        if one is None:
            if len(self._refused) >= _TOOLS:
                del self._refused[next(iter(self._refused))]
            one = self._refused[name] = _Refused(step.seq, deque(maxlen=12))
        one.calls += 1
        one.seqs.append(step.seq)
        if one.calls < self.config.warn_refusals or self._open is not None:
            return None
        self._open = name
        message = step.error_message or step.result or step.error_type or ""
        return Signal(
            severity=Severity.WARNING,
            score=min(1.0, one.calls / (2 * self.config.warn_refusals)),
            summary=f"{quote(step.name or 'The model', 80)} refused the agent's credentials {one.calls} times.",
            evidence={
                "tool": None if step.name is None else quote(step.name, 120),
                "refusals": one.calls,
                "seqs": list(one.seqs),
                "error": quote(message, _QUOTE),
                "error_type": None if step.error_type is None else quote(step.error_type, 80),
            },
            threshold={"warn_refusals": float(self.config.warn_refusals)},
            first_step_seq=one.since,
            evidence_level=EvidenceLevel.CONTENT if message else EvidenceLevel.STRUCTURE,
        )

    def _let_in(self, step: Step, known: dict[str, _Refused]) -> Answer:
        name = f"{step.kind.value}:{step.name}"
        if name in known:
            del known[name]
            if name == self._open:
                self._open = None
                return CLEAR
        return None


def refused(step: Step) -> bool:
    """Whether the step failed for its credentials, by its class, its type or the words of its message.

    >>> from detectors.testing import tool
    >>> refused(tool("crm", result="Error: token expired")), refused(tool("crm", result="12 tokens used"))
    (True, False)
    """
    if not step.error:
        result = step.result
        read = result is not None and step.error is None and len(result) <= _SHORT and step.kind is not _LLM
        return read and _says_so(result)
    if step.error_class is not None and step.error_class is not ErrorClass.OTHER:
        return step.error_class is ErrorClass.AUTH
    return any(map(_says_so, (step.error_message, step.error_type, step.result)))


def _says_so(text: str | None) -> bool:
    """Whether the beginning of `text` uses words of refusal. Most texts have none of `_SIGNS`, which are quicker to look for."""
    if not text:
        return False
    beginning = text[:_READ].lower()
    return any(map(beginning.__contains__, _SIGNS)) and _REFUSED.search(beginning) is not None
