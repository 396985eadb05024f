"""What holds for all routes: who may call them, the one shape of errors, the document that describes them."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp

from collector.config import Token
from collector.errors import Overloaded, StoreUnavailable
from collector.security import Authority
from collector.web.middleware import BoundedBody

from .conftest import METRICS, connected, serving
from .service import DETECTOR, FakeService

READ = [
    "/api/v1/sessions",
    "/api/v1/sessions/s1",
    "/api/v1/sessions/s1/steps",
    "/api/v1/findings",
    "/api/v1/rules",
    "/metrics",
    "/openapi.json",
]
OPERATE = [f"/api/v1/sessions/s1/{verb}" for verb in ("halt", "pause", "resume", "release")] + ["/api/v1/alertmanager"]
OPEN = ["/healthz", "/readyz"]
PATHS = {
    "/api/v1/sessions": {"get"},
    "/api/v1/sessions/{session_id}": {"get"},
    "/api/v1/sessions/{session_id}/steps": {"get"},
    "/api/v1/sessions/{session_id}/halt": {"post"},
    "/api/v1/sessions/{session_id}/pause": {"post"},
    "/api/v1/sessions/{session_id}/resume": {"post"},
    "/api/v1/sessions/{session_id}/release": {"post"},
    "/api/v1/halts/{halt_id}/ack": {"post"},
    "/api/v1/workflows/{workflow_id}": {"get"},
    "/api/v1/findings": {"get"},
    "/api/v1/alertmanager": {"post"},
    "/api/v1/rules": {"get"},
    "/api/v1/rules/{detector}": {"get"},
    "/metrics": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
}


def assert_problem(answer: httpx2.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"urn:overcurrent:error:{reason}"
    assert problem["status"] == status
    assert problem["title"]
    assert "\n" not in problem["detail"]
    return problem


@pytest.fixture
async def document(client: httpx2.AsyncClient) -> dict[str, Any]:
    content: dict[str, Any] = (await client.get("/openapi.json")).json()
    return content


# Who may call


def bearer(scope: str) -> dict[str, str]:
    return {"authorization": f"Bearer token-{scope}"}


@pytest.mark.parametrize("path", READ)
async def test_reading_needs_the_scope_read(client: httpx2.AsyncClient, authority: Authority, tokens: list[Token], path: str) -> None:
    authority.replace(tokens)
    nobody = await client.get(path)
    assert_problem(nobody, 401, "unauthenticated")
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    assert_problem(await client.get(path, headers=bearer("wrong")), 401, "unauthenticated")
    assert_problem(await client.get(path, headers=bearer("operate")), 403, "forbidden")
    assert (await client.get(path, headers=bearer("read"))).status_code == 200


@pytest.mark.parametrize("path", OPERATE)
async def test_operating_needs_the_scope_operate(
    *, client: httpx2.AsyncClient, authority: Authority, tokens: list[Token], service: FakeService, path: str
) -> None:
    authority.replace(tokens)
    body = {"version": "4", "alerts": []} if path.endswith("alertmanager") else {}
    assert_problem(await client.post(path, json=body), 401, "unauthenticated")
    assert_problem(await client.post(path, json=body, headers=bearer("read")), 403, "forbidden")
    assert service.requests() == []
    assert (await client.post(path, json=body, headers=bearer("operate"))).status_code in {200, 202, 409}


async def test_the_actor_is_the_name_of_the_token(
    client: httpx2.AsyncClient, authority: Authority, tokens: list[Token], service: FakeService
) -> None:
    authority.replace(tokens)
    await client.post("/api/v1/sessions/s1/halt", headers=bearer("operate"))
    assert service.requests()[0]["requested_by"] == "operate"


@pytest.mark.parametrize(("scope", "status"), [("gate", 200), ("operate", 200), ("read", 403), ("ingest", 403), ("wrong", 401)])
async def test_a_runtime_may_speak_with_the_token_of_its_gate(
    *, client: httpx2.AsyncClient, authority: Authority, tokens: list[Token], scope: str, status: int
) -> None:
    await client.post("/api/v1/sessions/s1/halt")
    authority.replace(tokens)
    answer = await client.post("/api/v1/halts/hlt_1/ack", json={"status": "stopped"}, headers=bearer(scope))
    assert answer.status_code == status


@pytest.mark.parametrize("path", OPEN)
async def test_health_needs_no_token(client: httpx2.AsyncClient, authority: Authority, tokens: list[Token], path: str) -> None:
    authority.replace(tokens)
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("headers", [{"host": "evil.test"}, {"origin": "http://evil.test"}])
async def test_a_page_from_elsewhere_cannot_use_a_browser_against_us(
    client: httpx2.AsyncClient, service: FakeService, headers: dict[str, str]
) -> None:
    assert_problem(await client.post("/api/v1/sessions/s1/halt", headers=headers), 403, "forbidden")
    assert service.calls == []


# Errors


async def test_what_is_not_there_is_a_problem(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/api/v1/nothing", "/api/v2/sessions", "/docs", "/redoc", "/api/v1/sessions/", "/api/v1/sessions/s1/steps/"):
        assert_problem(await client.get(path), 404, "not_found")
    problem = assert_problem(await client.get("/api/v1/sessions/no%2Fne"), 404, "not_found")
    assert problem["instance"] == "/api/v1/sessions/no%2Fne"


async def test_a_wrong_method_is_a_problem_on_every_route(client: httpx2.AsyncClient) -> None:
    for path in PATHS:
        answer = await client.request("DELETE", path)
        assert_problem(answer, 405, "wrong_method")
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{", {"content-type": "application/json"}),
        (b"\xff\xfe", {"content-type": "application/json"}),
        (b'{"note": "x"}', {"content-type": "text/plain"}),
        (b'{"note": {"secret": "hunter2"}}', {"content-type": "application/json"}),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_problem_without_its_content(
    client: httpx2.AsyncClient, service: FakeService, content: bytes, headers: dict[str, str]
) -> None:
    answer = await client.post("/api/v1/sessions/s1/halt", content=content, headers=headers)
    assert_problem(answer, 400, "malformed")
    assert "hunter2" not in answer.text
    assert service.requests() == []


async def test_a_body_above_the_limit_is_a_problem(client: httpx2.AsyncClient, service: FakeService) -> None:
    answer = await client.post("/api/v1/sessions/s1/halt", content=b" " * 100_001, headers={"content-type": "application/json"})
    assert_problem(answer, 413, "too_large")
    assert answer.headers["connection"] == "close"
    assert service.calls == []


async def test_an_error_of_our_own_is_a_problem_that_tells_nothing(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.error = ValueError("prompt of a customer")
    answer = await client.get("/api/v1/sessions/s1")
    assert_problem(answer, 500, "internal")
    assert "customer" not in answer.text


@pytest.mark.parametrize(
    ("error", "reason", "after"), [(StoreUnavailable("disk"), "unavailable", "1"), (Overloaded("full", retry_after_s=7), "overloaded", "7")]
)
async def test_what_may_pass_says_when_to_try_again(
    *, client: httpx2.AsyncClient, service: FakeService, error: Exception, reason: str, after: str
) -> None:
    service.error = error
    answer = await client.post("/api/v1/sessions/s1/halt")
    assert_problem(answer, 503, reason)
    assert answer.headers["retry-after"] == after


async def test_a_body_that_never_comes_is_cut_off() -> None:
    sent: list[Any] = []

    async def never(_: Any = None) -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def unreachable(*_: Any) -> None:
        raise AssertionError

    await BoundedBody(unreachable, timeout_s=0.01)({"type": "http", "method": "POST"}, never, send)
    assert sent[0]["status"] == 408


# Operation


async def test_metrics_are_delegated_with_the_accept_header(client: httpx2.AsyncClient) -> None:
    plain = await client.get("/metrics")
    assert plain.content == METRICS
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    rich = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert rich.headers["content-type"].startswith("application/openmetrics-text")


async def test_readiness_says_why_not(client: httpx2.AsyncClient, service: FakeService) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    service.reasons = ["the store refuses", "the outbox is not running"]
    problem = assert_problem(await client.get("/readyz"), 503, "not_ready")
    assert problem["reasons"] == service.reasons
    assert (await client.get("/healthz")).status_code == 200


async def test_rules_show_every_detector_and_how_far_it_may_go(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.modes[DETECTOR] = "halt"
    rules = (await client.get("/api/v1/rules", params={"agent_type": "research"})).json()["rules"]
    assert {rule["detector"]: rule["armed"] for rule in rules}[DETECTOR] is True
    assert sum(rule["armed"] for rule in rules) == 1
    assert all(rule["summary"] for rule in rules)
    shown = (await client.get(f"/api/v1/rules/{DETECTOR}")).json()
    assert (shown["mode"], shown["scope"]) == ("halt", "session")
    assert_problem(await client.get("/api/v1/rules/none"), 404, "not_found")


async def test_it_serves_over_a_real_socket(app: ASGIApp) -> None:
    async with serving(app) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.post("/api/v1/sessions/s1/halt", json={"note": "ok"})).status_code == 202
        answer = await client.post("/api/v1/sessions/s1/halt", content=b" " * 500_000)
        assert_problem(answer, 413, "too_large")


# The document


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_the_document_describes_what_is_there_and_nothing_else(document: dict[str, Any]) -> None:
    assert {path: set(operations) for path, operations in document["paths"].items()} == PATHS
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == "1.2.3"


async def test_the_document_is_whole(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas
    used = {reference.rsplit("/", 1)[1] for reference in references(document)}
    assert used == set(schemas), "a schema that nothing uses"
    ids = []
    for path, operations in document["paths"].items():
        for operation in operations.values():
            ids.append(operation["operationId"])
            declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert operation["description"]
            assert set(operation["responses"]) == {"202" if path.endswith(("halt", "pause", "resume", "release")) else "200", "4XX", "5XX"}
            assert operation["responses"]["4XX"]["content"].keys() == {"application/problem+json"}
    assert len(set(ids)) == len(ids)


async def test_the_document_says_where_a_token_is_needed(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert bool(operation.get("security")) is (path not in OPEN), path


async def test_no_page_pulls_anything_from_elsewhere(app: ASGIApp, document: dict[str, Any]) -> None:
    async with connected(app) as client:
        for path in document["paths"]:
            answer = await client.get(path)
            assert "<script" not in answer.text
