"""What the edges (HTTP API, Alertmanager receiver, command line) may ask of the running service. `app.py` provides it."""

from decimal import Decimal
from typing import Any, Protocol

from collector.model import Halt, Session, SessionState, Verb
from detectors.model import Finding, SessionKey


class Service(Protocol):
    """Answers from live state and both stores. Safe to call from any thread; never blocks ingest."""

    def sessions(
        self,
        *,
        state: SessionState | None = None,
        agent_type: str | None = None,
        finding: str | None = None,
        since_ns: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[Session], str | None]:
        """Newest activity first; `finding` is a detector's name; returns a cursor for the next page, None at the end."""

    def resolve(self, session_id: str, tenant: str | None = None) -> SessionKey:
        """Turns a bare session id (or a merged one, or a full key) into the key of the session that stands now.

        Raises NotFound, or Ambiguous with the candidates.
        """

    def session(self, key: SessionKey) -> Session | None: ...

    def workflow(self, workflow_id: str) -> tuple[list[Session], list[Finding], Decimal | None]:
        """The sessions of a workflow, the one last heard of first, what was found about it, and its budget in US dollars.

        Raises NotFound, or Ambiguous where several tenants have one of that id.
        """

    def steps(self, key: SessionKey, *, after_seq: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Steps in commit order, in the JSON shape of the contract, amendments applied, retracted ones absent."""

    def findings(
        self,
        *,
        session: SessionKey | None = None,
        detector: str | None = None,
        severity: str | None = None,
        open_only: bool = False,
        since_ns: int | None = None,
        limit: int = 100,
    ) -> list[Finding]: ...

    def halts(self, key: SessionKey) -> list[Halt]: ...

    def request(
        self,
        key: SessionKey,
        verb: Verb,
        *,
        halt_reason: str | None,
        requested_by: str,
        finding: str | None = None,
        note: str = "",
        raise_budget_usd: Decimal | None = None,
    ) -> Halt:
        """Halts, pauses or releases a session, durably, before it returns. Idempotent while the session is in that state.

        A session that was not seen yet may be halted: it is born halted.
        """

    def acknowledge(self, halt_id: str, status: str) -> Halt:
        """Takes a runtime's own word (`stopping`, `stopped`, `unknown_session`, `unsupported`). Raises NotFound."""

    def halt_eligible(self, agent_type: str, detector: str) -> list[Finding]:
        """Open, halt-eligible findings of `detector` on sessions of `agent_type`, for Alertmanager."""

    def detector_mode(self, detector: str, agent_type: str) -> str:
        """`shadow`, `alert`, `compact`, `pause` or `halt`. Raises NotFound for an unknown detector."""

    def ready(self) -> list[str]:
        """Reasons why the service is not ready; empty when it is."""
