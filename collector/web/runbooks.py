"""Runbooks, where the alerts' links lead: readable as they are, so no page is rendered around them."""

from fastapi import APIRouter, Depends
from starlette.responses import PlainTextResponse

from collector import assets
from collector.security import Authority
from collector.web.access import needs


def runbooks_router(authority: Authority) -> APIRouter:
    """`GET /runbooks/{name}`."""
    router = APIRouter(tags=["operations"], dependencies=[Depends(needs(authority, "read"))])

    @router.get("/runbooks/{name}", response_class=PlainTextResponse)
    def show_runbook(name: str) -> PlainTextResponse:
        """Shows a runbook as Markdown."""
        return PlainTextResponse(assets.runbook(name), media_type="text/plain; charset=utf-8")

    return router
