from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import httpx2
import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp

from collector.config import Address, Token
from collector.receiver.serve import serve_asgi
from collector.security import Authority
from collector.web.api import create_app
from tests.plain import http_client

from .service import AT_NS, FakeService, session

METRICS = b"# HELP overcurrent_up Whether it is.\n"


class FakeAudit:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def note(self, actor: str, action: str, **rest: Any) -> None:
        self.lines.append({"actor": actor, "action": action, **rest})


@pytest.fixture
def service() -> FakeService:
    return FakeService(session("s1"), session("a/b c%2F?é"), session("twin"), session("twin", namespace="dev"))


@pytest.fixture
def audit() -> FakeAudit:
    return FakeAudit()


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tokens() -> list[Token]:
    return [
        Token(name=scope, token=SecretStr(f"token-{scope}"), scopes=frozenset({scope})) for scope in ("ingest", "read", "operate", "gate")
    ]


class Lent:
    """Stands for what each test brings: making an application takes longer than asking it."""

    def __init__(self) -> None:
        self.behind: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


class Lending(NamedTuple):
    """One application for all tests, and what stands behind it."""

    app: ASGIApp
    service: Lent
    authority: Lent
    audit: Lent


@pytest.fixture(scope="session")
def lending() -> Lending:
    def metrics(accept: str | None) -> tuple[bytes, str]:
        kind = "application/openmetrics-text" if "openmetrics" in (accept or "") else "text/plain"
        return METRICS, f"{kind}; charset=utf-8"

    service, authority, audit = Lent(), Lent(), Lent()
    made: Any = create_app(
        cast("Any", service),
        authority=cast("Any", authority),
        audit=cast("Any", audit),
        metrics=metrics,
        version="1.2.3",
        bound=[Address("127.0.0.1", 4319)],
        clock_ns=lambda: AT_NS,
        body_limit=100_000,
    )
    return Lending(made, service, authority, audit)


@pytest.fixture
def app(lending: Lending, service: FakeService, audit: FakeAudit, authority: Authority) -> ASGIApp:
    lending.service.behind, lending.audit.behind, lending.authority.behind = service, audit, authority
    return lending.app


@asynccontextmanager
async def connected(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319") as client:
        yield client


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    async with connected(app) as made:
        yield made


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of `app` behind the real server on a real socket."""
    server = await serve_asgi(app, "127.0.0.1", 0)
    try:
        async with http_client(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        await server.stop()
