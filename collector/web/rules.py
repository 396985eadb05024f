"""The detectors and how far each may go, read from the registry."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from collector.config import UNKNOWN_AGENT_TYPE
from collector.errors import NotFound
from collector.security import Authority
from collector.service import Service
from collector.web.access import needs
from collector.web.answers import Json
from collector.web.schemas import Rule, RulePage
from detectors import DETECTORS, WORKFLOW_DETECTORS
from detectors.base import Detector
from detectors.fleet import FLEET_DETECTORS
from detectors.fleet.base import FleetDetector

AgentType = Annotated[str, Query(description="Whose mode is shown")]


def rules_router(service: Service, authority: Authority) -> APIRouter:
    """The endpoints under `rules`."""
    router = APIRouter(tags=["rules"], dependencies=[Depends(needs(authority, "read"))])

    registered: list[type[Detector | FleetDetector]] = [*dict.fromkeys((*DETECTORS, *WORKFLOW_DETECTORS)), *FLEET_DETECTORS]  # type: ignore[type-arg]  # of any configuration

    def rule(detector: type[Detector] | type[FleetDetector], agent_type: str) -> dict[str, object]:  # type: ignore[type-arg]  # of any configuration
        mode = service.detector_mode(detector.name, agent_type)
        return {
            "detector": detector.name,
            "summary": (detector.__doc__ or "").strip().split("\n", 1)[0],
            "halt_reason": detector.halt_reason,
            "scope": detector.scope,
            "mode": mode,
            "armed": mode == "halt",
        }

    @router.get("/rules", response_model=RulePage)
    def list_rules(agent_type: AgentType = UNKNOWN_AGENT_TYPE) -> Json:
        """Lists every detector with its mode."""
        return Json({"rules": [rule(detector, agent_type) for detector in registered]})

    @router.get("/rules/{detector}", response_model=Rule)
    def show_rule(detector: str, agent_type: AgentType = UNKNOWN_AGENT_TYPE) -> Json:
        """Shows one detector with its mode."""
        for one in registered:
            if one.name == detector:
                return Json(rule(one, agent_type))
        raise NotFound(f"no detector {detector[:80]!r}; there are {', '.join(one.name for one in registered)}")

    return router
