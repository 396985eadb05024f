"""The HTTP API of port 4319, put together: version 1, health, metrics, the OpenAPI document."""

import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response
from starlette.types import ASGIApp

from collector.config import Address
from collector.receiver.status import PROBLEM_JSON
from collector.security import Authority, HostGuard
from collector.service import Service
from collector.web import problems
from collector.web.access import needs
from collector.web.alertmanager import AuditTrail, alertmanager_router
from collector.web.answers import Json
from collector.web.middleware import BODY_LIMIT, BoundedBody, EncodedSlashes
from collector.web.rules import rules_router
from collector.web.sessions import sessions_router

MetricsRenderer = Callable[[str | None], tuple[bytes, str]]
"""Takes an Accept header, returns the exposition and its content type."""

_METRICS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "OpenMetrics with exemplars where the Accept header asks for it, else Prometheus text.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
    }
}


def create_app(
    service: Service,
    *,
    authority: Authority,
    audit: AuditTrail,
    metrics: MetricsRenderer,
    version: str,
    bound: Iterable[Address],
    allowed_hosts: Iterable[str] = (),
    routers: Iterable[APIRouter] = (),
    clock_ns: Callable[[], int] = time.time_ns,
    body_limit: int = BODY_LIMIT,
) -> ASGIApp:
    """Makes the application. `bound` are the addresses it is served on, `routers` further parts beside the API.

    Endpoints wait for the service on a thread pool; none blocks the event loop.
    """
    app = FastAPI(
        title="Overcurrent",
        version=version,
        description="Overcurrent protection for AI agents: what they do, what was found, what was done about it.",
        # The pages of FastAPI load scripts from elsewhere, which an on-call network may not reach and should not trust.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    version_1 = APIRouter(prefix="/api/v1")
    version_1.include_router(sessions_router(service, authority))
    version_1.include_router(alertmanager_router(service, authority, audit, clock_ns))
    version_1.include_router(rules_router(service, authority))
    app.include_router(version_1)
    app.include_router(_operations_router(service, authority, metrics))
    for router in routers:
        app.include_router(router)

    @cache
    def document() -> dict[str, Any]:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, separate_input_output_schemas=False
        )
        problems.describe(made)
        return made

    @app.get("/openapi.json", include_in_schema=False, dependencies=[Depends(needs(authority, "read"))])
    def openapi() -> Json:
        return Json(document())

    return HostGuard(EncodedSlashes(BoundedBody(app, limit=body_limit)), bound=bound, allowed=allowed_hosts)


def _operations_router(service: Service, authority: Authority, metrics: MetricsRenderer) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/metrics", dependencies=[Depends(needs(authority, "read"))], response_class=Response, responses=_METRICS)
    def show_metrics(request: Request) -> Response:
        """The service's metrics."""
        body, content_type = metrics(request.headers.get("accept"))
        return Response(body, headers={"content-type": content_type})

    @router.get("/healthz", response_model=dict[str, str])
    async def healthz() -> Json:
        """Whether the process answers. Needs no token."""
        return Json({"status": "ok"})

    @router.get("/readyz", response_model=dict[str, str])
    def readyz() -> Response:
        """Whether the service can do its work; 503 with `reasons` where not. Needs no token."""
        reasons = service.ready()
        if not reasons:
            return Json({"status": "ready"})
        details = {
            "type": "urn:overcurrent:error:not_ready",
            "title": "The service is not ready",
            "status": 503,
            "detail": "; ".join(reasons),
            "instance": "/readyz",
            "reasons": reasons,
        }
        return Json(details, 503, media_type=PROBLEM_JSON)

    return router
