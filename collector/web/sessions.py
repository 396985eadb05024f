"""Sessions, their steps and findings, and what an operator or a runtime says about them."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path, Query

from collector.errors import Malformed, NotFound, Refused
from collector.model import SessionState, Verb
from collector.security import Authority, Principal
from collector.service import Service
from collector.web.access import needs
from collector.web.answers import Json
from collector.web.render import finding_json, halt_json, session_json, workflow_json
from collector.web.schemas import (
    Acknowledgement,
    FindingPage,
    FindingQuery,
    Halt,
    OperatorRequest,
    SessionDetail,
    SessionPage,
    SessionQuery,
    StepPage,
    StepQuery,
    Workflow,
)
from detectors.model import SessionKey

LISTED_FINDINGS: Final = 100
"""Findings shown with one session; `GET findings?session=` has all."""

WorkflowId = Annotated[str, Path(description="A workflow id as sessions and findings name it; percent-encoded, slashes too")]
SessionId = Annotated[str, Path(description="A session id, or a full key `tenant/namespace/session`; percent-encoded, slashes too")]


def sessions_router(service: Service, authority: Authority) -> APIRouter:
    """The endpoints under `sessions`, `findings` and `halts`."""
    router = APIRouter(tags=["sessions"])
    reader = Depends(needs(authority, "read"))
    operator = needs(authority, "operate")
    speaker = needs(authority, "gate", "operate")

    @router.get("/sessions", response_model=SessionPage, dependencies=[reader])
    def list_sessions(query: Annotated[SessionQuery, Query()]) -> Json:
        """Lists sessions, newest activity first."""
        sessions, cursor = service.sessions(
            state=query.state,
            agent_type=query.agent_type,
            finding=query.finding,
            since_ns=_ns(query.since),
            limit=query.limit,
            cursor=query.cursor,
        )
        return Json({"sessions": [session_json(session) for session in sessions], "next_cursor": cursor})

    @router.get("/sessions/{session_id}", response_model=SessionDetail, dependencies=[reader])
    def show_session(session_id: SessionId) -> Json:
        """Shows one session with its findings and halts."""
        key = service.resolve(unquote(session_id))
        session = service.session(key)
        if session is None:
            raise NotFound(f"no session {unquote(session_id)!r}")
        findings = service.findings(session=key, limit=LISTED_FINDINGS)
        return Json(
            {
                **session_json(session),
                "findings": [finding_json(finding) for finding in findings],
                "halts": [halt_json(halt) for halt in service.halts(key)],
            }
        )

    @router.get("/sessions/{session_id}/steps", response_model=StepPage, dependencies=[reader])
    def list_steps(session_id: SessionId, query: Annotated[StepQuery, Query()]) -> Json:
        """Lists the steps of a session in commit order, those after a `seq` if asked."""
        key = service.resolve(unquote(session_id))
        return Json({"steps": service.steps(key, after_seq=query.after, limit=query.limit)})

    @router.get("/workflows/{workflow_id}", response_model=Workflow, dependencies=[reader])
    def show_workflow(workflow_id: WorkflowId) -> Json:
        """Shows a workflow: its sessions, what they cost together, and what was found about all of them."""
        sessions, findings, budget = service.workflow(unquote(workflow_id))
        return Json(workflow_json(unquote(workflow_id), sessions, findings, budget))

    @router.get("/findings", response_model=FindingPage, dependencies=[reader])
    def list_findings(query: Annotated[FindingQuery, Query()]) -> Json:
        """Lists findings, newest first."""
        findings = service.findings(
            session=None if query.session is None else service.resolve(query.session),
            detector=query.detector,
            severity=query.severity,
            open_only=query.open,
            since_ns=_ns(query.since),
            limit=query.limit,
        )
        return Json({"findings": [finding_json(finding) for finding in findings]})

    def ask(verb: Verb) -> Callable[..., Json]:
        def endpoint(session_id: SessionId, who: Annotated[Principal, Depends(operator)], asked: OperatorRequest | None = None) -> Json:
            asked = asked or OperatorRequest()
            if asked.raise_budget_usd is not None and verb is not Verb.RELEASE:
                raise Malformed("body.raise_budget_usd: only resume and release raise a budget")
            halt = service.request(
                _key(service, unquote(session_id), who, verb),
                verb,
                halt_reason=asked.reason or (None if verb is Verb.RELEASE else "operator"),
                requested_by=who.name,
                note=asked.note,
                raise_budget_usd=asked.raise_budget_usd,
            )
            return Json(halt_json(halt), 202)

        return endpoint

    for name, verb, text in (
        ("halt", Verb.HALT, "Stops a session until it is released. One that was not seen yet is born halted. Harmless to repeat."),
        ("pause", Verb.PAUSE, "Pauses a session until it is resumed. Harmless to repeat."),
        ("release", Verb.RELEASE, "Lets a halted or paused session go on, in a new episode. Harmless to repeat."),
    ):
        router.add_api_route(
            f"/sessions/{{session_id}}/{name}",
            ask(verb),
            methods=["POST"],
            status_code=202,
            response_model=Halt,
            name=f"{name}_session",
            description=text,
        )

    release = ask(Verb.RELEASE)

    @router.post("/sessions/{session_id}/resume", status_code=202, response_model=Halt)
    def resume_session(session_id: SessionId, who: Annotated[Principal, Depends(operator)], asked: OperatorRequest | None = None) -> Json:
        """Lets a paused session go on. A halted one needs a release: nobody should lift a halt who only saw a pause."""
        session = service.session(service.resolve(unquote(session_id)))
        if session is not None and session.state in {SessionState.HALTING, SessionState.HALTED}:
            raise Refused(f"the session is {session.state}, not paused: use release to lift a halt")
        return release(session_id, who, asked)

    @router.post("/halts/{halt_id}/ack", response_model=Halt, dependencies=[Depends(speaker)])
    def acknowledge_halt(halt_id: str, spoken: Acknowledgement) -> Json:
        """Takes the word of a runtime that cannot receive webhooks. Needs the scope `gate` or `operate`."""
        return Json(halt_json(service.acknowledge(unquote(halt_id), spoken.status)))

    return router


def _key(service: Service, text: str, who: Principal, verb: Verb) -> SessionKey:
    """The session that is meant. Only a halt may name one that was not seen yet."""
    try:
        return service.resolve(text)
    except NotFound:
        if verb is not Verb.HALT:
            raise
    try:
        key = SessionKey.parse(text)
    except ValueError:
        key = None
    # An unseen id that merely holds two slashes must not be taken for a key of another tenant.
    return key if key is not None and key.tenant == who.tenant and key.session_id else SessionKey(who.tenant, "", text)


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1_000_000) * 1000
