"""Takes Alertmanager's webhooks (format version 4): a firing alert may halt what a detector already found, never more."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from collector.errors import NotFound, Refused
from collector.model import Halt, Verb
from collector.security import Authority, Principal
from collector.service import Service
from collector.web.access import needs
from collector.web.answers import Json
from collector.web.schemas import Answered
from detectors.model import SessionKey


class AuditTrail(Protocol):
    """Where requests that were refused are recorded. The control store is one."""

    def note(self, actor: str, action: str, *, now_ns: int, session: SessionKey | None = None, detail: dict[str, Any]) -> None:
        """Adds a line, durably. Raises StoreUnavailable."""


class AlertOutcome(StrEnum):
    """What became of one alert."""

    HALTED = "halted"
    NOTHING_OPEN = "nothing_open"
    NOT_ARMED = "not_armed"
    UNKNOWN_DETECTOR = "unknown_detector"
    UNSUPPORTED = "unsupported"
    IGNORED = "ignored"


Label = Annotated[str, Field(max_length=65_536)]
"""With a bound, so that it is checked to be Unicode too: an escape of half a character is refused."""


class Alert(BaseModel):
    """One alert of a notification. What it holds beside this is Alertmanager's business."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    status: Literal["firing", "resolved"]
    labels: dict[Label, Label]
    fingerprint: Label = ""


class Notification(BaseModel):
    """A notification of Alertmanager, format version 4."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    version: Literal["4"]
    alerts: list[Alert]


class AlertedHalt(Answered):
    """A halt that an alert led to. One that a person has released since stays released, and is shown as it stands."""

    session_id: str
    halt_id: str | None
    state: str
    message: str


class AlertAnswer(Answered):
    """What became of one alert, in the order they came."""

    fingerprint: str
    alertname: str | None
    outcome: AlertOutcome
    message: str
    halts: list[AlertedHalt]


class NotificationAnswer(Answered):
    """What became of each alert."""

    alerts: list[AlertAnswer] = Field(description="In the order they came")


def alertmanager_router(service: Service, authority: Authority, audit: AuditTrail, clock_ns: Callable[[], int]) -> APIRouter:
    """The endpoint `alertmanager`."""
    router = APIRouter(tags=["alertmanager"])
    operator = needs(authority, "operate")

    @router.post("/alertmanager", response_model=NotificationAnswer)
    def receive_alerts(notification: Notification, who: Annotated[Principal, Depends(operator)]) -> Json:
        """Takes a notification of Alertmanager (webhook receiver, format version 4).

        A firing alert with the label `action="halt"` names `agent_type` and `detector`. Halted are the sessions of that
        type with an open, halt-eligible finding of that detector, and only where the detector is armed (mode `halt`);
        elsewhere the request is recorded and declined. A resolved alert releases nothing. Answered with 200 whatever
        became of the alerts, so that Alertmanager does not repeat what was declined; with 503 where repeating may help.
        """
        answers = []
        for alert in notification.alerts:
            outcome, message, halts = _act(service, alert, who.name)
            if outcome is not AlertOutcome.IGNORED:
                audit.note(f"{who.name}", f"alertmanager.{outcome}", now_ns=clock_ns(), detail=_detail(alert, message, halts))
            answers.append(
                {
                    "fingerprint": alert.fingerprint,
                    "alertname": alert.labels.get("alertname"),
                    "outcome": outcome,
                    "message": message,
                    "halts": halts,
                }
            )
        return Json({"alerts": answers})

    return router


def _act(service: Service, alert: Alert, actor: str) -> tuple[AlertOutcome, str, list[dict[str, Any]]]:
    labels = alert.labels
    if alert.status == "resolved":
        return AlertOutcome.IGNORED, "resolved: nothing to do, since only a person releases a session", []
    if labels.get("action") != "halt":
        return AlertOutcome.IGNORED, 'no label action="halt": nothing is asked for', []
    if "scope" in labels:
        return AlertOutcome.UNSUPPORTED, f"scope={labels['scope'][:80]!r} is not supported: nothing was halted", []
    agent_type, detector = labels.get("agent_type"), labels.get("detector")
    if not agent_type or not detector:
        return AlertOutcome.UNSUPPORTED, 'action="halt" needs the labels agent_type and detector: nothing was halted', []
    try:
        mode = service.detector_mode(detector, agent_type)
    except NotFound as error:
        return AlertOutcome.UNKNOWN_DETECTOR, f"{error.message}: nothing was halted", []
    if mode != "halt":
        return AlertOutcome.NOT_ARMED, f"{detector} is in mode {mode} for {agent_type}: nothing was halted; arm it with mode: halt", []
    halts = _halt_found(service, agent_type, detector, actor, labels.get("alertname", "an alert"))
    if not halts:
        return AlertOutcome.NOTHING_OPEN, f"no session of {agent_type} has an open, halt-eligible finding of {detector}", []
    return AlertOutcome.HALTED, f"{len(halts)} session(s) with an open finding of {detector}", halts


def _halt_found(service: Service, agent_type: str, detector: str, actor: str, alertname: str) -> list[dict[str, Any]]:
    halts: dict[SessionKey, dict[str, Any]] = {}
    for finding in service.halt_eligible(agent_type, detector):
        key = finding.session
        if key is None or key in halts:
            continue
        try:
            halt = service.request(
                key,
                Verb.HALT,
                halt_reason=finding.halt_reason,
                requested_by=actor,
                finding=finding.id,
                note=f"Alertmanager: {alertname[:200]}",
            )
        except Refused as error:
            halts[key] = {"session_id": key.session_id, "halt_id": None, "state": "refused", "message": error.message}
        else:
            halts[key] = {"session_id": key.session_id, "halt_id": halt.halt_id, "state": halt.state, "message": _message(halt)}
    return list(halts.values())


def _message(halt: Halt) -> str:
    return "halted for this finding before, and released by a person since" if halt.state == "superseded" else "halted"


def _detail(alert: Alert, message: str, halts: list[dict[str, Any]]) -> dict[str, Any]:
    labels = alert.labels
    named: dict[str, Any] = {name: labels[name][:200] for name in ("alertname", "agent_type", "detector", "scope") if name in labels}
    return {**named, "fingerprint": alert.fingerprint[:100], "message": message, "halts": [halt["halt_id"] for halt in halts]}
