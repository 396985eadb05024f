"""Who may call an endpoint: FastAPI dependencies over `collector.security`."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from collector.config import Scope
from collector.errors import Unauthorised
from collector.security import Authority, Principal

_bearer = HTTPBearer(auto_error=False, description="A token of `security.tokens`. Without any configured, none is needed.")


def needs(authority: Authority, *scopes: Scope) -> Callable[..., Principal]:
    """Makes a dependency that answers who is asking, if they may do any of `scopes`.

    It raises Unauthorised otherwise. Give the narrowest scope last: its refusal is what the caller reads.
    """

    def principal(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
        header = request.headers.get("authorization")
        for scope in scopes[:-1]:
            try:
                return authority.authorise(header, scope)
            except Unauthorised as error:
                if not error.forbidden:
                    raise
        return authority.authorise(header, scopes[-1])

    return principal
