"""Who is asking, what they may do, and whether their browser was sent here by somebody else."""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Final, get_args
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from collector.config import Address, Scope, Token
from collector.errors import Unauthorised
from collector.receiver.status import problem_response

ALL_SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))
MAX_HEADER_CHARS = 8192


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a request. `name` is the actor of the audit trail, `tenant` owns what the request sends."""

    name: str
    scopes: frozenset[Scope]
    tenant: str = "default"


ANONYMOUS: Final = Principal(name="anonymous", scopes=ALL_SCOPES)
"""Everyone, where no tokens are configured: on loopback or explicitly insecure, as the configuration sees to."""


class Authority:
    """Knows the tokens, as digests only. Thread-safe; `replace` swaps them while requests are under way."""

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self._key = secrets.token_bytes(32)
        self._known: tuple[tuple[bytes, Principal], ...] = ()
        self.replace(tokens)

    def replace(self, tokens: Sequence[Token]) -> None:
        """Takes the tokens of a newly loaded configuration. Without any, everyone is `ANONYMOUS` with all scopes."""
        self._known = tuple(
            (self._digest(token.token.get_secret_value()), Principal(name=token.name, scopes=token.scopes, tenant=token.tenant))
            for token in tokens
            if token.token is not None
        )

    @property
    def open_to_all(self) -> bool:
        """Whether no tokens are configured."""
        return not self._known

    def authorise(self, header: str | None, scope: Scope) -> Principal:
        """Who sent this Authorization header, if they may do `scope`.

        Raises Unauthorised: without a known bearer token, or (`forbidden`) with one that lacks the scope.
        """
        known = self._known
        if not known:
            return ANONYMOUS
        if not header:
            raise Unauthorised("a token is needed: send the header Authorization: Bearer <token>")
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or len(header) > MAX_HEADER_CHARS:
            raise Unauthorised("the Authorization header is not of the form Bearer <token>")
        digest = self._digest(token.strip())
        found: Principal | None = None
        # never stops early: neither which token matched nor how much of it may show in the time taken
        for candidate, principal in known:
            if hmac.compare_digest(candidate, digest):
                found = principal
        if found is None:
            raise Unauthorised("the token is not one of security.tokens")
        if scope not in found.scopes:
            raise Unauthorised(f"the token {found.name} lacks the scope {scope}", forbidden=True)
        return found

    def _digest(self, token: str) -> bytes:
        return hmac.new(self._key, token.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()

    def __repr__(self) -> str:
        return f"Authority({len(self._known)} tokens)"


_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>\d{1,5}))?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class HostGuard:
    """ASGI middleware that refuses requests a foreign web page or a re-bound DNS name made a browser send: 403.

    Host must be loopback, the bound address or one of `allowed` (`name`, `name:port`, `*.domain`, or `*` for any). A server
    bound to every interface takes any IP address as Host, because only names can be re-bound. Origin, when there is one, must
    be the Host itself or one of `allowed`; `*` does not open it, or every page a user opens could halt their agents.
    """

    def __init__(self, app: ASGIApp, *, bound: Iterable[Address], allowed: Iterable[str] = ()) -> None:
        self._app = app
        hosts = {address.host.lower() for address in bound}
        self._any_ip = any(_is_unspecified(host) for host in hosts)
        self._own = _LOOPBACK_NAMES | hosts
        names = {name.lower().strip("[]") if name.count(":") > 1 and name.endswith("]") else name.lower() for name in allowed}
        self._any_host = "*" in names
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self._names = frozenset(names - {"*"})

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answers 403 problem details itself, or hands the request on."""
        if scope["type"] in {"http", "websocket"}:
            refusal = self._refusal(scope["headers"])
            if refusal is not None:
                response = problem_response(Unauthorised(refusal, forbidden=True))
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        found = [(name, value.decode("latin-1").lower()) for name, value in headers if name in {b"host", b"origin"}]
        hosts = [value for name, value in found if name == b"host"]
        origins = [value for name, value in found if name == b"origin"]
        if len(hosts) != 1 or (host := _HOST.fullmatch(hosts[0])) is None:
            return "the Host header is missing or not a host"
        if not self._is_known_host(host):
            return f"the Host {hosts[0]} is not one of this service; add it to security.allowed_hosts"
        for origin in origins:
            if not self._is_known_origin(origin, hosts[0]):
                return f"the Origin {origin[:200]} is not allowed; add its host to security.allowed_hosts"
        return None

    def _is_known_host(self, match: re.Match[str]) -> bool:
        host = match["host"].strip("[]").rstrip(".")
        return self._any_host or host in self._own or self._is_allowed(host, match["port"]) or (self._any_ip and _is_ip(host))

    def _is_allowed(self, host: str, port: str | None) -> bool:
        return host in self._names or f"{host}:{port}" in self._names or host.endswith(self._suffixes)

    def _is_known_origin(self, origin: str, host_header: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        default = _DEFAULT_PORTS.get(parts.scheme)
        match = _HOST.fullmatch(parts.netloc)
        own = _HOST.fullmatch(host_header)
        if default is None or match is None or own is None or parts.path:
            return False
        host, port = match["host"].strip("[]"), match["port"] or default
        # the scheme of the Host is unknown behind a proxy, so an absent port stands for that of the origin's scheme
        if (match["host"], port) == (own["host"], own["port"] or default):
            return True
        return self._is_allowed(host, port)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_unspecified(host: str) -> bool:
    return _is_ip(host) and ipaddress.ip_address(host).is_unspecified
