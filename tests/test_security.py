import pytest
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope

from collector.config import Address, Token
from collector.errors import Unauthorised
from collector.security import ALL_SCOPES, ANONYMOUS, Authority, HostGuard


def token(name: str, text: str, scopes: list[str], tenant: str = "default") -> Token:
    return Token.model_validate({"name": name, "token": text, "scopes": scopes, "tenant": tenant})


AUTHORITY = Authority([token("sender", "s3nd", ["ingest"], "acme"), token("admin", "4dmin", ["read", "operate"])])


@pytest.mark.parametrize("header", ["Bearer s3nd", "bearer s3nd", "BEARER  s3nd "])
def test_a_token_names_its_principal(header: str) -> None:
    principal = AUTHORITY.authorise(header, "ingest")
    assert (principal.name, principal.tenant) == ("sender", "acme")
    assert principal.scopes == {"ingest"}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "s3nd",
        "Basic s3nd",
        "Bearer",
        "Bearer ",
        "Bearer s3n",
        "Bearer s3ndx",
        "Bearer S3ND",
        "Bearer é",
        "Bearer " + "x" * 10_000,
    ],
)
def test_anything_else_is_nobody(header: str | None) -> None:
    with pytest.raises(Unauthorised) as caught:
        AUTHORITY.authorise(header, "ingest")
    assert not caught.value.forbidden
    assert "s3n" not in caught.value.message


def test_a_token_without_the_scope_is_forbidden() -> None:
    with pytest.raises(Unauthorised, match="the token admin lacks the scope review") as caught:
        AUTHORITY.authorise("Bearer 4dmin", "review")
    assert caught.value.forbidden


def test_without_tokens_everyone_may_do_everything() -> None:
    authority = Authority()
    assert authority.open_to_all
    assert authority.authorise(None, "operate") is ANONYMOUS
    assert ANONYMOUS.scopes == ALL_SCOPES == {"ingest", "read", "operate", "gate", "review"}


def test_tokens_are_replaced_on_reload() -> None:
    authority = Authority([token("old", "old", ["read"])])
    authority.replace([token("new", "new", ["read"])])
    assert authority.authorise("Bearer new", "read").name == "new"
    with pytest.raises(Unauthorised):
        authority.authorise("Bearer old", "read")


def test_no_token_shows() -> None:
    assert "s3nd" not in repr(AUTHORITY)
    assert "s3nd" not in repr(vars(AUTHORITY))


async def status(
    host: str | list[str] | None,
    origin: str | None = None,
    *,
    bound: str = "127.0.0.1:4319",
    allowed: tuple[str, ...] = (),
    kind: str = "http",
) -> int:
    async def app(_scope: AsgiScope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    hosts = host if isinstance(host, list) else [] if host is None else [host]
    headers = [(b"host", value.encode()) for value in hosts]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    guard = HostGuard(app, bound=[Address.parse(bound)], allowed=allowed)
    await guard(
        {"type": kind, "method": "GET", "path": "/", "headers": headers, "extensions": {"websocket.http.response": {}}}, receive, send
    )
    return int(sent[0]["status"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:4319", "127.0.0.1:4319", "[::1]:4319", "[::1]", "localhost.", "127.0.0.1:9"])
async def test_loopback_hosts(host: str) -> None:
    assert await status(host) == 200


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "localhost.evil.example", "evil.example:4319", "10.0.0.1", "127.0.0.1@evil.example", "a b", "localhost:x"],
)
async def test_other_hosts(host: str | None) -> None:
    assert await status(host) == 403
    assert await status(host, kind="websocket") == 403


async def test_two_hosts_are_none() -> None:
    assert await status(["localhost", "localhost"]) == 403


async def test_the_bound_address_is_a_host_and_a_server_on_every_interface_has_any_address() -> None:
    assert await status("10.0.0.1:4319", bound="10.0.0.1:4319") == 200
    assert await status("box:4319", bound="box:4319") == 200
    assert await status("10.0.0.1:4319", bound="0.0.0.0:4319") == 200
    assert await status("[fe80::1]:4319", bound="[::]:4319") == 200
    assert await status("evil.example", bound="0.0.0.0:4319") == 403


@pytest.mark.parametrize(
    ("allowed", "host", "expected"),
    [
        ("over.example", "over.example", 200),
        ("Over.Example", "OVER.example:443", 200),
        ("over.example", "x.over.example", 403),
        ("over.example:8443", "over.example:8443", 200),
        ("over.example:8443", "over.example", 403),
        ("*.example", "a.b.example", 200),
        ("*.example", "example", 403),
        ("*.example", "badexample", 403),
        ("[2001:db8::1]", "[2001:db8::1]:4319", 200),
        ("*", "anything.at.all", 200),
    ],
)
async def test_allowed_hosts(allowed: str, host: str, expected: int) -> None:
    assert await status(host, allowed=(allowed,)) == expected


@pytest.mark.parametrize(
    ("host", "origin", "allowed", "expected"),
    [
        ("localhost:4319", "http://localhost:4319", (), 200),
        ("localhost", "http://localhost", (), 200),
        ("over.example", "https://over.example", ("over.example",), 200),
        ("localhost:4319", "http://localhost:3000", (), 403),
        ("localhost:4319", "http://localhost:3000", ("localhost:3000",), 200),
        ("localhost:4319", "http://127.0.0.1:4319", (), 403),
        ("localhost:4319", "https://console.example", ("console.example",), 200),
        ("localhost:4319", "https://console.example:8443", ("console.example",), 200),
        ("localhost:4319", "https://evil.example", (), 403),
        ("localhost:4319", "https://evil.example", ("*",), 403),
        ("over.example", "https://over.example", ("*",), 200),
        ("localhost:4319", "null", (), 403),
        ("localhost:4319", "", (), 403),
        ("localhost:4319", "chrome-extension://localhost:4319", (), 403),
        ("localhost:4319", "http://localhost:4319/path", (), 403),
        ("localhost:4319", "http://[::1", (), 403),
    ],
)
async def test_origins(host: str, origin: str, allowed: tuple[str, ...], expected: int) -> None:
    assert await status(host, origin, allowed=allowed) == expected
